"""Cards are put in the order in which two columns of a page come out about equally long."""

import pytest

from kdanalysis.pages.html.columns import height, in_columns
from kdanalysis.pages.html.picture import Picture


def card(name: str, high: int, wide: bool = False) -> dict:
    picture = Picture("caption", width=493, height=high)
    return {"name": name, "wide": wide, "pictures": [picture], "lines": [("", "A reading.")]}


def names(cards) -> str:
    return "".join(one["name"] for one in cards)


def longer_column(cards) -> float:
    """What a browser makes of cards in this order: the best place to go on in the other column."""
    heights = [height(one) for one in cards]
    return min(max(sum(heights[:i]), sum(heights[i:])) for i in range(len(heights) + 1))


def test_columns_are_evened_out_and_the_first_card_stays_first():
    highs = {"a": 500, "b": 1100, "c": 600, "d": 300, "e": 200}
    cards = [card(*one) for one in highs.items()]
    placed = in_columns(cards)
    assert placed[0]["name"] == "a"
    assert sorted(names(placed)) == [*highs]
    assert longer_column(placed) < longer_column(cards) - 100
    assert longer_column(placed) - sum(height(one) for one in cards) / 2 < 100


def test_even_columns_keep_their_order():
    cards = [card(name, 300) for name in "abcd"]
    assert names(in_columns(cards)) == "abcd"


def test_wide_cards_stand_where_they_are():
    cards = [card("a", 500), card("b", 900), card("c", 500), card("W", 500, wide=True)]
    placed = in_columns([*cards, card("d", 100), card("e", 400)])
    assert names(placed) == "acbWde"


def test_many_cards_are_left_as_they_are():
    cards = [card(chr(97 + i), 100 + 900 * (i % 2)) for i in range(13)]
    assert in_columns(cards) == cards


@pytest.mark.parametrize(
    ("run", "line", "more"),
    [("", "x" * 600, 198), ("kd", "x" * 600, 20)],  # ten lines for one; two lines of a run are seen
)
def test_a_card_is_as_high_as_what_is_seen_of_it(run, line, more):
    plain = card("a", 100)
    assert height(plain | {"lines": [(run, line)]}) - height(plain) == more
    assert height(card("a", 300)) - height(plain) == 200
