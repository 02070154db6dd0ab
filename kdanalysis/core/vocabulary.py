"""When classes are tokens."""

VOCABULARY = 5000  # beyond so many classes no table has a row for each of them, or for each pair
POSITIONS = 1 << 20  # sample id of a token: that of its row times this, plus its position
