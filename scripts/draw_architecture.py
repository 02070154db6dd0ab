"""Draw docs/architecture.svg from the code: rooms on their floors, and who imports whom.

    python scripts/draw_architecture.py
    python scripts/draw_architecture.py --check

A room stands one floor above the highest room that it imports. An arrow is an import, inside
functions too; one that a longer way of arrows implies is left out. ``--check`` draws nothing: it
says what the picture shows otherwise than the code, and ends with 1. Lines of code are not checked.
"""

import argparse
import ast
import re
import sys
from functools import cache
from itertools import combinations, permutations, product
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "kdanalysis"
PICTURE = ROOT / "docs" / "architecture.svg"
WIDTH, HEIGHT, STEP = 7.0, 0.5, 1.05  # of the page, of a box, from floor to floor; inches
BOX, LEFT = 1.36, 0.7  # width of a box, and of the margin that holds the floors' names
INK, GREY, BAND, LINE = "#14213d", "#6b6b6b", "#f3f4f6", "#5b6b8c"
Arrow = tuple[str, str]
Point = tuple[float, float]


@cache
def rooms() -> dict[str, frozenset[str]]:
    """Every room of the package, and the rooms that its files import."""
    names = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
    return {name: frozenset(imported(name) & set(names) - {name}) for name in names}


def imported(room: str) -> set[str]:
    """Second parts of all dotted names of the package that a room's files import."""
    found: set[str] = set()
    for path in (PACKAGE / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in found if name.startswith(f"{PACKAGE.name}.")}


def lines(room: str) -> int:
    """Lines of a room's Python files."""
    return sum(p.read_text(encoding="utf-8").count("\n") for p in (PACKAGE / room).rglob("*.py"))


@cache
def below(room: str) -> frozenset[str]:
    """All rooms that a room rests on, in one step or more."""
    return rooms()[room].union(*map(below, rooms()[room]))


def floor(room: str) -> int:
    """One above the highest room that it imports."""
    return 1 + max(map(floor, rooms()[room]), default=0)


def floors() -> list[list[str]]:
    """The rooms of every floor, the lowest floor first."""
    found = {room: floor(room) for room in rooms()}
    return [[r for r in found if found[r] == n] for n in range(1, max(found.values()) + 1)]


@cache
def arrows() -> tuple[Arrow, ...]:
    """Imports between rooms, but those that a longer way implies."""
    return tuple(
        (room, one)
        for room, there in rooms().items()
        for one in sorted(there)
        if not any(one in below(other) for other in there - {one})
    )


def facts() -> set[str]:
    """What the picture says, as the ids of its parts."""
    stand = {f"floor-{n}-{room}" for n, there in enumerate(floors(), 1) for room in there}
    return stand | {f"arrow-{upper}-{lower}" for upper, lower in arrows()}


def drawn(picture: Path) -> set[str]:
    """What a picture says."""
    return set(re.findall(r'id="((?:floor|arrow)-[a-z0-9_-]+)"', picture.read_text()))


def place() -> dict[str, Point]:
    """Middle of every room's box; of all orders on the floors the one with the least tangle."""
    orders = product(*(permutations(there) for there in floors()))
    return min((spread(order) for order in orders), key=tangle)


def spread(order: tuple[tuple[str, ...], ...]) -> dict[str, Point]:
    """Middles of the boxes; every other floor is wider, so that long arrows find a way past."""
    room, found = (WIDTH - LEFT) / max(map(len, order)), {}
    for number, there in enumerate(order):
        gap = room * {2: 1.55, 3: 1.3}.get(len(there) if number % 2 else 0, 1)
        start = LEFT + (WIDTH - LEFT - gap * (len(there) - 1)) / 2
        found |= {r: (start + gap * i, STEP * (number + 0.5)) for i, r in enumerate(there)}
    return found


def tangle(places: dict[str, Point]) -> tuple[int, float]:
    """How many arrows run through boxes (counted ten times) or cross, then how long all are."""
    ends = joined(places)
    through = sum(hits(line, box) for line in ends.values() for box in places.values())
    crossings = sum(cross(one, other) for one, other in combinations(ends.values(), 2))
    length = sum(abs(a[0] - b[0]) for a, b in ends.values())
    return 10 * through + crossings, round(length, 6)


def joined(places: dict[str, Point]) -> dict[Arrow, tuple[Point, Point]]:
    """Both ends of every arrow, side by side along the edges of its boxes."""
    pairs, ends = arrows(), {}
    for room, (x, y) in places.items():
        for side, sign in ((0, -1), (1, 1)):
            mine = [pair for pair in pairs if pair[side] == room]
            mine.sort(key=lambda pair: places[pair[1 - side]][0])
            for i, pair in enumerate(mine):
                port = x + 0.27 * (i - (len(mine) - 1) / 2)
                ends[pair, side] = (port, y + sign * HEIGHT / 2)
    return {pair: (ends[pair, 0], ends[pair, 1]) for pair in pairs}


def hits(line: tuple[Point, Point], box: Point) -> bool:
    """Whether a line runs through a box, a little room around it."""
    (x1, y1), (x2, y2) = line
    for y in (box[1] - HEIGHT / 2, box[1], box[1] + HEIGHT / 2):
        if min(y1, y2) + 1e-6 < y < max(y1, y2) - 1e-6:
            x = x1 + (x2 - x1) * (y - y1) / (y2 - y1)
            if abs(x - box[0]) < BOX / 2 + 0.03:
                return True
    return False


def cross(one: tuple[Point, Point], other: tuple[Point, Point]) -> bool:
    """Whether two lines cross."""

    def side(a: Point, b: Point, c: Point) -> float:
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    apart = side(*one, other[0]) * side(*one, other[1])
    return apart < 0 and side(*other, one[0]) * side(*other, one[1]) < 0


def draw() -> Figure:
    """Boxes on bands, arrows between them."""
    levels, places = floors(), place()
    figure = Figure((WIDTH, STEP * len(levels)))
    ax: Axes = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, WIDTH), ylim=(0, STEP * len(levels)))
    ax.axis("off")
    for number in range(len(levels)):
        ax.axhspan(
            STEP * number + 0.12, STEP * (number + 1) - 0.12, color=BAND, linewidth=0, zorder=0
        )
        ax.text(
            0.12, STEP * (number + 0.5), f"floor {number + 1}", color=GREY, size=10, va="center"
        )
    for (upper, lower), (start, end) in joined(places).items():
        line = {"arrowstyle": "-|>", "color": LINE, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 1}
        arrow = ax.annotate("", end, start, arrowprops=line | {"mutation_scale": 10})
        arrow.arrow_patch.set_gid(f"arrow-{upper}-{lower}")
    for number, there in enumerate(levels, start=1):
        for room in there:
            x, y = places[room]
            frame = (x - BOX / 2, y - HEIGHT / 2)
            box = mpl.patches.Rectangle(frame, BOX, HEIGHT, facecolor="white", edgecolor=INK)
            box.set_gid(f"floor-{number}-{room}")
            box.set_zorder(3)
            ax.add_patch(box)
            text = {"ha": "center", "va": "center", "color": INK, "zorder": 4}
            ax.text(x, y + 0.09, room, size=11.5, weight="bold", **text)
            ax.text(x, y - 0.12, f"{lines(room):,} lines", size=9.5, **text | {"color": GREY})
    return figure


def main() -> None:
    """Draw the picture, or say in what it is behind the code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare the picture with the code")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="an SVG file")
    options = parser.parse_args()
    if not options.check:
        with mpl.rc_context({"svg.hashsalt": "kdanalysis", "svg.fonttype": "none"}):
            draw().savefig(options.picture, metadata={"Date": None, "Creator": None})
        return
    code, picture = facts(), drawn(options.picture)
    for what, only in (("the code alone", code - picture), ("the picture alone", picture - code)):
        for fact in sorted(only):
            print(f"{what} has {fact}", file=sys.stderr)
    if code != picture:
        sys.exit("run python scripts/draw_architecture.py")


if __name__ == "__main__":
    main()
