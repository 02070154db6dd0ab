"""How the terms of a student with stepping stones look."""

from kdanalysis.draw.look import BLUE, DASHES, GREEN, OLIVE, ORANGE, PURPLE, SKY, VERMILION

STONE_PARTS = ("task", "distill", "cross")


STONE_COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, OLIVE)  # the student's first


def side_look(term: str) -> tuple[str, object] | None:
    """Colour and dashes of a term of a student with stones (stone_1/distill); None for others."""
    side, _, part = term.partition("/")
    if part not in STONE_PARTS or not (side == "student" or side.startswith("stone_")):
        return None
    number = 0 if side == "student" else int(side.removeprefix("stone_"))
    return STONE_COLOURS[number % len(STONE_COLOURS)], DASHES[STONE_PARTS.index(part)]
