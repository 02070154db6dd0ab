"""Names of points in a column beside the axes, where none can lie on another or on a point."""

from collections.abc import Sequence

import numpy as np

from kdanalysis.draw.colours import BLACK, FAINT
from kdanalysis.draw.look import Axes, fine

GAP = 1.45  # heights of the letters from one name to the next


def names_beside(ax: Axes, names: Sequence[str], places: Sequence[tuple[float, float]]) -> None:
    """Write names right of the axes in the order of their points, each tied to its own by a line.

    In black: the colours of some points are too faint to read. The limits and scales of the axes
    must be final. Names that would touch move apart; more than fill the height stand as far apart
    as it allows.

    Args:
        ax: axes to draw on.
        names: shown as they are.
        places: of the points, in data.
    """
    if not names:
        return
    shown = ax.transData + ax.transAxes.inverted()
    heights = [float(shown.transform(place)[1]) for place in places]
    size = ax.get_position().height * ax.figure.get_figheight() * 72
    spread = apart(heights, GAP * fine() / size)
    line = {"arrowstyle": "-", "color": FAINT, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 4}
    for name, place, height in zip(names, places, spread, strict=True):
        ax.annotate(name, place, (1.03, height), textcoords="axes fraction", va="center",
                    color=BLACK, weight="bold", fontsize=fine(), parse_math=False,
                    arrowprops=line, zorder=1)  # fmt: skip


def apart(heights: Sequence[float], gap: float) -> list[float]:
    """Move heights in [0, 1] so that none is nearer than the gap to the next, their order kept.

    By as little as the sum of squares allows (isotonic regression, by pooling neighbours). The gap
    shrinks where so many do not fit.
    """
    order = np.argsort(heights, kind="stable")
    gap = min(gap, 1 / max(len(order) - 1, 1))
    steps = gap * np.arange(len(order))
    pools: list[list[float]] = []
    for height in np.asarray(heights, float)[order] - steps:
        pools.append([float(height)])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    level = np.concatenate([np.full(len(pool), np.mean(pool)) for pool in pools])
    found = np.empty(len(order))
    found[order] = np.clip(level, 0, 1 - steps[-1]) + steps
    return found.tolist()
