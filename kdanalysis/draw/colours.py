"""One colour a loss, on all figures."""

import re
from collections.abc import Iterable

from kdanalysis.draw.look import (
    BLUE,
    CYCLE,
    GREEN,
    GREY,
    OLIVE,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    WINE,
)

LOSSES = {"ce": GREY, "kd": ORANGE, "dkd": PURPLE, "gdkd": VERMILION, "trained": BLUE}


LOSSES |= {"gdkd3": WINE, "nkd": OLIVE, "sdd": GREEN, "blocks": SKY}


def loss_colours(names: Iterable[str]) -> dict[str, str]:
    """Colour of every loss, or run named by its loss, the same on all figures.

    A name begins with the loss it is of: ``gdkd 1/1/1``. Names of no known loss, and a second name
    of one, take the next free colour.
    """
    names = list(dict.fromkeys(names))
    found: dict[str, str] = {}
    for exact in (True, False):
        for name in names:
            kind = re.split(r"[^a-z0-9]", name.lower(), maxsplit=1)[0]
            colour = LOSSES.get(name.lower() if exact else kind)
            if name not in found and colour is not None and colour not in found.values():
                found[name] = colour
    free = [colour for colour in (*CYCLE, OLIVE, WINE) if colour not in found.values()]
    rest = [name for name in names if name not in found]
    cycle = free or list(CYCLE)
    found |= {name: cycle[place % len(cycle)] for place, name in enumerate(rest)}
    return {name: found[name] for name in names}
