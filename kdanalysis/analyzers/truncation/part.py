"""What the tables of truncation share: settings, rows laid out once, intervals of a share."""

from collections.abc import Sequence
from math import isfinite
from typing import Any, NamedTuple

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, Logits
from kdanalysis.analyzers.chunks import chunks, in_parallel, keep_freed_memory
from kdanalysis.analyzers.sweep.checks import check_ks
from kdanalysis.core.streams import check_classes
from kdanalysis.core.truncation.algebra import Rows, known_of, on_processor, rows_of
from kdanalysis.core.truncation.statistics import Statistics, of_rows
from kdanalysis.draw.colours import BLUE, DASHES, GREEN, ORANGE, VERMILION
from kdanalysis.draw.tables import require

KS = (1, 8, 32, 64, 128)
ENTRIES = 2**19  # rows x classes of a chunk where its distributions are kept
ROWS = 64  # of a chunk otherwise
NORMAL = 1.96  # standard errors of an interval of 95 percent
LOOKS = {  # of a convention, in every picture; teacher lets none be seen where they agree
    "renormalise": {"color": ORANGE, "marker": "s"},
    "bucket": {"color": BLUE, "marker": "o"},
    "none": {"color": VERMILION, "marker": "v", "linewidth": 2.6},
    "teacher": {"color": GREEN, "marker": "D", "linestyle": DASHES[1], "linewidth": 1.4},
}


class Looked(NamedTuple):
    """Some rows at one of the temperatures, by its place among them."""

    place: int
    rows: Rows
    found: Statistics
    about: dict[str, Int[Tensor, " n"] | None]  # target, position, token_class
    first: tuple[Rows, Statistics]  # the same rows at the first temperature
    unknown: Float[Tensor, "3 n"] | None = None  # how far L2, L1 and value may be off; None: not


class Truncation(Analyzer):
    """An analyzer of every row's truncated gradients, by K, convention and T; asked for by itself.

    Args:
        num_classes: c, at least 2.
        ks: how many of the teacher's most probable classes are known, each from 1 to c - 1.
        temperatures: every T > 0.
        settings: what else tells it from another of its class, by name.
    """

    of_runs = False
    whole = False  # whether it looks at the probabilities of all classes, at the first temperature
    needs = ("student_logits", "teacher_logits")
    takes = ("target", "position", "token_class")

    def __init__(
        self,
        num_classes: int,
        ks: Sequence[int] = KS,
        temperatures: Sequence[float | int] = (1,),
        **settings: Any,
    ) -> None:
        given = {"num_classes": check_classes(num_classes), "temperatures": temperatures}
        super().__init__(**given, ks=check_ks(ks, num_classes), **settings)

    def add(self, student: Logits, teacher: Logits, *about: Tensor | None) -> None:
        """Add the finite rows of a batch."""
        keep_freed_memory()
        known = dict(zip(self.takes, about, strict=True))
        there = {name: column.cpu() for name, column in known.items() if column is not None}
        entries = ENTRIES if self.whole else ROWS * self.num_classes
        split = chunks(student, teacher, *there.values(), entries=entries)
        parts = [
            (s, t, dict.fromkeys(self.takes) | dict(zip(there, more, strict=True)))
            for s, t, *more in split
        ]
        for looked in in_parallel(self._look, parts, torch.device("cpu")):
            for one in looked:
                self.add_rows(one)

    @torch.no_grad()
    def _look(self, part: tuple[Tensor, Tensor, dict]) -> list[Looked]:
        """Lay out the rows of a chunk at every temperature."""
        sides, about = on_processor(*part[:2]), part[2]
        known = known_of(*sides, self.ks[-1])
        looked: list[Looked] = []
        for place, temperature in enumerate(self.temperatures):
            rows = rows_of(*sides, temperature, known, self.ks, self.whole and place == 0)
            found = of_rows(rows, self.ks, temperature)
            first = looked[0].first if looked else (rows, found)
            looked.append(Looked(place, rows, found, about, first))
        return looked

    def add_rows(self, looked: Looked) -> None:
        """Add rows at one temperature."""
        raise NotImplementedError(f"{type(self).__name__} lacks add_rows")


def share_of(
    lost: Float[Tensor, "*#s"],
    squares: Float[Tensor, "*#s"],
    products: Float[Tensor, "*#s"],
    full: Float[Tensor, "*#s"],
    full_squares: Float[Tensor, "*#s"],
    n: Float[Tensor, "*#s"],
) -> tuple[Float[Tensor, "*#s"], Float[Tensor, "*#s"]]:
    """Return sum(lost) / sum(full), and half its interval of 95 percent by the delta method.

    Rows count as independent; those of one text are not quite, which would widen it. Of nothing
    there is no share, of one row no interval: NaN.

    Args:
        lost: sum over rows.
        squares: sum of its squares.
        products: sum of its products with full.
        full: sum over rows.
        full_squares: sum of its squares.
        n: rows.
    """
    share = lost / full.where(full > 0, torch.nan)
    spread = (squares - 2 * share * products + share**2 * full_squares).clamp(min=0)
    half = NORMAL * spread.sqrt() / full.abs() * (n / (n - 1)).sqrt()
    return share, half.where(n > 1, torch.nan)


def share_with_ends(row: pd.Series) -> str:
    """Write the share of a table's row with the ends of its interval."""
    if not (isfinite(row.low) and isfinite(row.high)):
        return f"{percent(row.share)} (interval unknown)"
    return f"{percent(row.share)} ({percent(row.low)} to {percent(row.high)})"


def percent(share: float, digits: int = 1) -> str:
    """Write a share in percent with so many decimals, or two digits where they would all be 0."""
    small = 0 < abs(share) < 0.5 * 10.0 ** -(digits + 2) * 10
    return f"{100 * share:.2g}%" if small else f"{share:.{digits}%}"


def listed(names: Sequence[str]) -> str:
    """Write names as a sentence has them: a, b and c."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def named(convention: str) -> str:
    """Return a convention's name as a sentence has it: "none" is one of them."""
    return f'"{convention}"'


def at_first(table: pd.DataFrame, *columns: str) -> tuple[pd.DataFrame, float]:
    """Rows of the table's first temperature, and which it is.

    Raises:
        ValueError: a column is missing, or there are no rows.
    """
    require(table, "temperature", *columns, number=columns[-1])
    first = float(table.temperature.iloc[0])
    return table[table.temperature == first], first
