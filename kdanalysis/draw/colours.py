"""Colours, dashes and marks: one colour a term and a loss, on all figures."""

import re
from collections.abc import Callable, Iterable

GREY = "#7f7f7f"
FAINT = "#bdbdbd"
INK = "#14213d"  # on what is coloured
BLACK = "#000000"  # on paper: a dark page turns it into white
ORANGE, SKY, GREEN, BLUE = "#e69f00", "#56b4e9", "#009e73", "#0072b2"
VERMILION, PURPLE = "#d55e00", "#cc79a7"
OLIVE, WINE = "#999933", "#882255"

# Okabe and Ito's colours, which the colour-blind tell apart; its yellow and black are left out,
# as they vanish on white and on dark pages. Olive and wine are from Paul Tol's muted scheme.
PALETTE = {
    "grey": GREY,
    "orange": ORANGE,
    "blue": BLUE,
    "green": GREEN,
    "vermilion": VERMILION,
    "sky": SKY,
    "purple": PURPLE,
    "olive": OLIVE,
    "wine": WINE,
}
CYCLE = (ORANGE, BLUE, VERMILION, GREEN, PURPLE, SKY, GREY)
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
VIOLET, CRIMSON, AZURE, LAVENDER = "#7755ff", "#dd1155", "#3888f8", "#aa77ee"
PINE, SLATE, MAGENTA = "#227755", "#666688", "#cc22cc"

# No loss has the colour of a term, but for ce and kd, which are their only one. The others have a
# contrast of 3 to white and dark pages, and lie 0.09 or more from every term and from each other in
# OKLab; with second names' colours all lie 0.08 or more from each other.
LOSSES = {"ce": GREY, "kd": ORANGE, "dkd": VIOLET, "gdkd": CRIMSON, "nkd": AZURE}
LOSSES |= {"gdkd3": LAVENDER, "sdd": PINE, "blocks": SLATE, "trained": MAGENTA}
TEACHER, STUDENT = BLACK, MAGENTA  # one alone


def _second(colour: str) -> str:
    """Colour of a second name of a loss: a bright one darker, a dark one lighter."""
    parts = bytes.fromhex(colour[1:])
    to = 0 if sum(parts[i] * share for i, share in enumerate((0.3, 0.59, 0.11))) > 120 else 255
    return "#" + "".join(f"{round(0.6 * part + 0.4 * to):02x}" for part in parts)


SECOND = {loss: _second(colour) for loss, colour in LOSSES.items()}
STONE_PARTS = ("task", "distill", "cross")
STONE_COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, OLIVE)  # the student's first

_asked: list[Callable[[str], str | None]] = []  # who knows the colours of terms


def let_name_colours(of_term: Callable[[str], str | None]) -> None:
    """Let a function say which colour a term has: a name of the palette or any of matplotlib's."""
    _asked[:] = [of_term]


def term_colour(term: str) -> str:
    """Colour of a term; terms of other names (``low_3``, ``gdkd:high``) take one by their name."""
    bare = term.rsplit(":", 1)[-1]
    named = next((colour for ask in _asked if (colour := ask(bare))), None)
    return PALETTE.get(named, named) or CYCLE[sum(bare.encode()) % len(CYCLE)]


def ink_on(colour: str) -> str:
    """Colour of a number written on ``colour``: white on the dark ones."""
    return INK if colour in (ORANGE, SKY, PURPLE, OLIVE, FAINT) else "white"


def ladder_colours(values: Iterable[float | int]) -> dict[float | int, tuple]:
    """Colours of an ordered series such as temperatures, dark to light, seen on any paper."""
    import matplotlib as mpl

    ordered = sorted(set(values))
    scale = mpl.colormaps["viridis"]
    return {v: scale(0.3 + 0.5 * i / max(len(ordered) - 1, 1)) for i, v in enumerate(ordered)}


def loss_colours(names: Iterable[str]) -> dict[str, str]:
    """Colour of every loss, or run named by its loss, the same on all figures.

    A name begins with the loss it is of, as ``gdkd 1/1/1`` does, or ``run kd`` behind what it is. A
    second name of a loss has a shade of its colour; further ones, and names of no known loss, take
    the free colours of the losses, those that are met most often last, and then the free shades.
    """
    names = list(dict.fromkeys(names))
    itself = {name: re.sub(r"^(run|student) ", "", name.lower()) for name in names}
    kinds = {name: re.split(r"[^a-z0-9]", called, maxsplit=1)[0] for name, called in itself.items()}
    found: dict[str, str] = {}
    for called, colours in ((itself, LOSSES), (kinds, LOSSES), (kinds, SECOND)):
        for name in names:
            colour = colours.get(called[name])
            if name not in found and colour is not None and colour not in found.values():
                found[name] = colour
    colours = [*LOSSES.values()][::-1] + [*SECOND.values()][::-1]
    rest = [name for name in names if name not in found]
    cycle = [colour for colour in colours if colour not in found.values()] or colours
    found |= {name: cycle[place % len(cycle)] for place, name in enumerate(rest)}
    return {name: found[name] for name in names}


def side_look(term: str) -> tuple[str, object] | None:
    """Colour and dashes of a term of a student with stones (stone_1/distill); None for others."""
    side, _, part = term.partition("/")
    if part not in STONE_PARTS or not (side == "student" or side.startswith("stone_")):
        return None
    number = 0 if side == "student" else int(side.removeprefix("stone_"))
    return STONE_COLOURS[number % len(STONE_COLOURS)], DASHES[STONE_PARTS.index(part)]
