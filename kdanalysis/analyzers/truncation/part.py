"""What the tables of truncation share: settings, rows laid out once, intervals of a share."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, Logits
from kdanalysis.analyzers.chunks import chunks, in_parallel
from kdanalysis.analyzers.student_t import wide
from kdanalysis.analyzers.sweep.checks import check_ks
from kdanalysis.core.garbage import keep_freed_memory
from kdanalysis.core.streams import check_classes
from kdanalysis.core.truncation.algebra import Rows, joined, known_of, on_processor, rows_of
from kdanalysis.core.truncation.statistics import Statistics, of_rows
from kdanalysis.core.wording import percent
from kdanalysis.draw.colours import BLUE, DASHES, GREEN, ORANGE, VERMILION
from kdanalysis.draw.tables import require

KS = (1, 8, 32, 64, 128)
ROWS = 64  # whose numbers are worked out together
WHOLE = 2**21  # rows x classes of these, where all their distributions are kept
ENTRIES = 2**19  # rows x classes that one thread lays out at a time; they stay in the cache
ROUNDING = 1e-13  # of sums of squares: rows whose shares differ by less do not differ
WANTED = 0.05  # of the gradient that may be lost, or of rows that say nothing of it
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
    held: Int[Tensor, " n"] | None = None  # tokens that are stored of a row; None: all


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
        entries = ROWS * self.num_classes
        entries = min(entries, WHOLE) if self.whole else entries
        split = chunks(student, teacher, *there.values(), entries=entries)
        kept = ()
        if self.whole:
            kept = torch.empty(2, len(split[0][0]), self.num_classes, dtype=torch.float64).unbind()
        for one, other, *columns in split:
            more = dict.fromkeys(self.takes) | dict(zip(there, columns, strict=True))
            self._add_chunk(one, other, more, *(side[: len(one)] for side in kept))

    def _add_chunk(
        self, student: Tensor, teacher: Tensor, about: dict[str, Tensor | None], *kept: Tensor
    ) -> None:
        """Add rows whose numbers are worked out together; ``kept`` gets their distributions."""
        parts = chunks(student, teacher, *kept, entries=ENTRIES)
        laid = in_parallel(self._lay_out, parts, torch.device("cpu"))
        first: tuple[Rows, Statistics] | None = None
        for place, some in enumerate(zip(*laid, strict=True)):
            rows = joined([one._replace(p=None, q=None) for one in some])
            if kept and place == 0:
                rows = rows._replace(p=kept[0], q=kept[1])
            found = of_rows(rows, self.ks, self.temperatures[place])
            first = first or (rows, found)
            self.add_rows(Looked(place, rows, found, about, first))

    @torch.no_grad()
    def _lay_out(self, part: tuple[Tensor, ...]) -> list[Rows]:
        """Lay out some rows at every temperature."""
        student, teacher, *kept = part
        sides = on_processor(student, teacher)
        known = known_of(*sides, self.ks[-1])
        into = [(kept[0], kept[1]) if kept else None, *[None] * (len(self.temperatures) - 1)]
        each = zip(self.temperatures, into, strict=True)
        return [rows_of(*sides, t, known, self.ks, one) for t, one in each]

    def add_rows(self, looked: Looked) -> None:
        """Add rows at one temperature."""
        raise NotImplementedError(f"{type(self).__name__} lacks add_rows")


def stored_alone(looked: Looked, ks: Sequence[int]) -> Int[Tensor, " k"]:
    """Count the rows, at the first temperature, of which K tokens are all that is stored.

    In these "bucket" is the very teacher that completes the tail, and loses nothing by definition.
    """
    if looked.held is None or looked.place > 0:
        return torch.zeros(len(ks), dtype=torch.long)
    return (looked.held[:, None] == looked.held.new_tensor(ks)).sum(0)


def state_definition(part: float) -> str:
    """Say in which part of the rows "bucket" loses nothing by definition; "" of few."""
    if part <= WANTED:
        return ""
    return f'; in {percent(part)} of the rows no more is stored, and "bucket" is full KD itself'


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
    of_full = share**2 * full_squares
    spread = squares - 2 * share * products + of_full
    spread = spread.where(spread > ROUNDING * (squares + of_full), 0.0)
    half = _reach(n) * spread.sqrt() / full.abs() * (n / (n - 1)).sqrt()
    return share, half


def _reach(n: Tensor) -> Tensor:
    return n.new_tensor([wide(one) for one in n.flatten().tolist()]).view_as(n)


def paid_of(
    lost: Float[Tensor, "*s g"], squares: Float[Tensor, "*s g"], n: Float[Tensor, "*s g"]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return each group's part of all that is lost, half its interval, and its part of the rows.

    The interval is by the delta method, as of independent rows; NaN of one row.

    Args:
        lost: sums over the rows of every group of a kind.
        squares: sums of its squares.
        n: rows.
    """
    whole, rows = lost.sum(-1, keepdim=True), n.sum(-1, keepdim=True)
    paid = lost / whole
    spread = squares * (1 - paid) ** 2 + (squares.sum(-1, keepdim=True) - squares) * paid**2
    half = _reach(rows) * spread.sqrt() / whole * (rows / (rows - 1)).sqrt()
    return paid, half, n / rows


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
    table = table if "by_definition" in table else table.assign(by_definition=0.0)  # of all logits
    require(table, "temperature", *columns, number=columns[-1])
    first = float(table.temperature.iloc[0])
    return table[table.temperature == first], first
