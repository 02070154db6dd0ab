"""Which cards stand in which of a page's two columns, so that both come out about equally long."""

from collections.abc import Sequence
from math import ceil
from typing import Any

MOST = 12  # cards of which every way to part them is looked at
COLUMN = 493  # CSS pixels of a figure in one of two columns, at 1440
ALIKE = 40  # pixels: a difference that nobody sees
CARD, FIGURE, CAPTION = 92, 22, 22  # of paper around a card, around a figure, a line of a caption
LINE, LETTERS = 22, 62  # of a reading
SMALL, SMALL_LETTERS = 18, 74  # of what is said of one run, of which two lines are seen
CAPTIONED = 46


def in_columns(sections: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Order the cards so that a browser, which fills one column and then the other, evens them out.

    Those of a column keep their order and the first stays first. Cards that are wide stand where
    they are, and so do more than 12 between them.
    """
    found: list[dict[str, Any]] = []
    cards: list[dict[str, Any]] = []
    for section in sections:
        if section["wide"]:
            found += [*_even(cards), section]
            cards = []
        else:
            cards.append(section)
    return [*found, *_even(cards)]


def _even(cards: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    if not 2 < len(cards) <= MOST:
        return list(cards)
    heights = [height(card) for card in cards]
    whole, rest = sum(heights), range(1, len(cards))
    ways = (
        (0, *(place for place in rest if chosen >> (place - 1) & 1))
        for chosen in range(2 ** len(rest))
    )

    def uneven(left: Sequence[int]) -> tuple[float, int]:
        """How long the longer column is; then how far the left one's cards come from."""
        one = sum(heights[place] for place in left)
        return round(max(one, whole - one) / ALIKE), sum(left)

    left = min(ways, key=uneven)
    right = [place for place in range(len(cards)) if place not in left]
    return [cards[place] for place in (*left, *right)]


def height(card: dict[str, Any]) -> float:
    """Return about how many CSS pixels a card is high in one of two columns."""
    total = float(CARD)
    for run, line in card["lines"]:
        if run:
            total += 6 + SMALL * min(2, ceil(len(line) / SMALL_LETTERS))
        else:
            total += LINE * ceil(len(line) / LETTERS)
    for picture in card["pictures"]:
        drawn = picture.height * min(1.0, COLUMN / picture.width)
        total += FIGURE + drawn + CAPTION * ceil(len(picture.caption) / CAPTIONED)
    return total
