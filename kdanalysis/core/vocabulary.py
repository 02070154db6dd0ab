"""When classes are tokens."""

VOCABULARY = 5000  # beyond so many classes no table has a row for each of them, or for each pair
