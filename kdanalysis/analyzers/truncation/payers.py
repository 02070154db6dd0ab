"""Who pays (the fourth figure of truncation): by entropy, position, correctness, token class."""

from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from kdanalysis.analyzers.evidence import Interval, with_ends
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.truncation.lost import NOTHING
from kdanalysis.analyzers.truncation.part import (
    LOOKS,
    Looked,
    Truncation,
    at_first,
    paid_of,
    share_of,
)
from kdanalysis.core.truncation.algebra import CONVENTIONS
from kdanalysis.core.wording import percent, ranged
from kdanalysis.draw.colours import FAINT
from kdanalysis.draw.look import PAGE, Figure, new_panels, plain_log, shared_legend, slant_ticks
from kdanalysis.draw.tables import state_left_out

ENTROPIES = (0.0, 0.1, 0.5, 1.0, 2.0, 4.0)  # nats; the last group is open
POSITIONS = (0, 1, 4, 16, 64, 256, 1024, 4096)
MOST_CLASSES = 32  # of tokens
FEW = 20  # rows of a group that a mark needs
KINDS = {
    "entropy": [f"{a:g}-{b:g}" for a, b in pairwise(ENTROPIES)] + [f"{ENTROPIES[-1]:g}+"],
    "position": ["0", *(f"{a}-{b - 1}" for a, b in pairwise(POSITIONS[1:])), f"{POSITIONS[-1]}+"],
    "teacher is": ["right", "wrong"],
    "token class": [str(number) for number in range(MOST_CLASSES)],
}
NAMES = [(kind, name) for kind, names in KINDS.items() for name in names]


class Payers(Truncation):
    """Share of full KD's gradient that is lost in groups of rows, in L1, by T, K and convention.

    Groups are of the teacher's entropy at T in nats; of the position in the text, where rows have
    a ``position``; of whether the teacher is right, where there are labels; of the ``token_class``,
    a number from 0 to 31, below 0 where a row has none. In a group:

    - ``share``: mean L1 norm of the lost gradient over that of full KD, with its interval of 95
      percent, ``low`` and ``high``.
    - ``paid``: the group's part of all that is lost, with ``paid_half``, half of its interval of 95
      percent; ``of_rows`` its part of the rows, which number ``n``.
    """

    noun, title = "truncation_payers", "Who pays for truncation"

    def __init__(self, *settings: object, **more: object) -> None:
        super().__init__(*settings, **more)
        shape = len(self.temperatures), len(CONVENTIONS), len(self.ks), len(NAMES)
        for name in ("lost", "squares", "products"):
            self.add_sum(name, *shape)
        for name in ("full", "full_squares", "count"):
            self.add_sum(name, shape[0], shape[3])

    def add_rows(self, looked: Looked) -> None:
        """Add rows at one temperature."""
        found, place = looked.found, looked.place
        member = members(looked).to(torch.float64)
        full = found.full_l1
        sums = {"lost": found.lost_l1, "squares": found.lost_l1**2}
        sums["products"] = found.lost_l1 * full[:, None]
        for name, values in sums.items():
            getattr(self, name)[place] += torch.einsum("vnk,ng->vkg", values, member).to(self.lost)
        self.full[place] += (full @ member).to(self.lost)
        self.full_squares[place] += (full**2 @ member).to(self.lost)
        self.count[place] += member.sum(0).to(self.lost)

    def compute(self) -> dict[str, Tensor]:
        """Shares with their intervals, ``of_rows``, ``n`` by (T, convention, K, group)."""
        full, squares, n = (
            x[:, None, None].expand_as(self.lost)
            for x in (self.full, self.full_squares, self.count)
        )
        share, half = share_of(self.lost, self.squares, self.products, full, squares, n)
        sizes = [len(names) for names in KINDS.values()]
        kinds = zip(*(x.split(sizes, -1) for x in (self.lost, self.squares, n)), strict=True)
        of_kinds = zip(*(paid_of(*kind) for kind in kinds), strict=True)
        paid, paid_half, of_rows = (torch.cat(found, -1) for found in of_kinds)
        found = {"share": share, "low": share - half, "high": share + half}
        counts = {"n": n.clone(), "non_finite": self.non_finite.clone()}
        return found | {"paid": paid, "paid_half": paid_half, "of_rows": of_rows} | counts

    def table(self) -> pd.DataFrame:
        """Columns temperature, convention, k, kind, group, share, low, high, paid, paid_half, ...

        And of_rows, n, non_finite. Groups without rows have no line.
        """
        index = [
            (t, v, k, *name)
            for t, v, k, name in product(self.temperatures, CONVENTIONS, self.ks, NAMES)
        ]
        frame = self.frame(index, ["temperature", "convention", "k", "kind", "group"])
        frame = frame[frame.n > 0]
        return frame.reset_index(drop=True)


def members(looked: Looked) -> Bool[Tensor, "n g"]:
    """Which of the groups every row is in; of a kind that is not known, in none."""
    entropy, position = looked.found.entropy, looked.about["position"]
    groups = [ranges(entropy, ENTROPIES)]
    target = looked.about["target"]
    nobody = torch.zeros(len(entropy), len(POSITIONS), dtype=torch.bool)
    groups.append(nobody if position is None else ranges(position, POSITIONS))
    right = None if target is None else (looked.rows.known.classes[:, :1] == target[:, None])
    groups.append(nobody[:, :2] if right is None else torch.cat((right, ~right), -1))
    groups.append(of_class(looked.about["token_class"], len(entropy)))
    return torch.cat(groups, -1)


def of_class(numbers: Shaped[Tensor, " n"] | None, rows: int) -> Bool[Tensor, "n g"]:
    """Which token class every row is of; none where it is below 0, or no classes are known."""
    if numbers is None:
        return torch.zeros(rows, MOST_CLASSES, dtype=torch.bool)
    if (high := numbers >= MOST_CLASSES).any():
        raise ValueError(
            f"token_class {int(numbers[high][0])} is too large: classes are numbers from 0 to "
            f"{MOST_CLASSES - 1}, below 0 where a row has none"
        )
    return numbers[:, None] == torch.arange(MOST_CLASSES)


def ranges(values: Shaped[Tensor, " n"], starts: Sequence[float | int]) -> Bool[Tensor, "n g"]:
    """Which range every value is in; each reaches from its start to the next one."""
    edges = torch.tensor(starts[1:], dtype=torch.float64)
    place = torch.bucketize(values.double(), edges, right=True)
    return place[:, None] == torch.arange(len(starts))


@Payers.reads()
def payers_reading(table: pd.DataFrame) -> Reading:
    """Whether unsure or sure rows lose more of their gradient, and who pays most of the loss."""
    if "paid_half" not in table:  # written before it was known
        table = table.assign(paid_half=np.nan)
    rows, temperature, k = at_middle(table)
    of = rows[(rows.kind == "entropy") & (rows.convention == "bucket") & (rows.n >= FEW)]
    if of.empty:
        return Reading(f"No group has {FEW} rows: who pays cannot be said.")
    if of.paid.isna().all() or of.share.max() <= NOTHING:
        return Reading(f'With K = {k} "bucket" loses nothing, so nobody pays.')
    most = of.loc[of.paid.idxmax()]
    paid = f'{_paid(most)} of all that "bucket" loses, with {percent(most.of_rows)} of the rows'
    group = f"{ranged(most.group)} nats"
    heaviest = f"rows of {group} pay {paid}" if most.of_rows < 1 else f"all rows are of {group}"
    low, high = of.iloc[0], of.iloc[-1]
    claim = f"Only one group of entropy has {FEW} rows"
    if len(of) > 1:
        other = of.loc[of.paid.drop(most.name).idxmax()]
        lead = Interval(most.paid - other.paid, most.paid_half + other.paid_half)
        if np.isfinite(lead.half):
            heaviest = f"that rows of {group} pay most, of groups of {FEW} rows or more, "
            heaviest += f"{lead.claim}: {paid}"
        heaviest += f" (next {ranged(other.group)} nats, {_paid(other)})"
        apart = "an unsure" if high.low > low.high else "a sure" if low.low > high.high else ""
        claim = (
            f"{'Rows of ' + apart + ' teacher lose' if apart else 'No side of entropy loses'} "
            f"more of their gradient: {with_ends(low.share, low.low, low.high)} at "
            f"{ranged(low.group)} nats, {with_ends(high.share, high.low, high.high)} at "
            f"{ranged(high.group)}"
        )
    drawn = rows[(rows.convention == "bucket") & (rows.n >= FEW)]
    number = "; ".join(
        f"{kind} "
        + ", ".join(f"{ranged(row.group)}: {percent(row.share)}" for row in part.itertuples())
        for kind, part in drawn.groupby("kind", sort=False)
    )
    head = f'T = {temperature:g}, K = {k}, "bucket", L1 lost: '
    return Reading(f'{claim} (K = {k}, "bucket", L1); {heaviest}.', head + number)


def _paid(row: pd.Series) -> str:
    return Interval(row.paid, row.paid_half).percent()


def at_middle(table: pd.DataFrame, k: int | None = None) -> tuple[pd.DataFrame, float, int]:
    """Rows of the first temperature and of one K, the middle one if not said, and which they are.

    Raises:
        ValueError: the table lacks the K.
    """
    rows, temperature = at_first(table, "kind", "group", "k", "share")
    there = sorted(rows.k.unique().tolist())
    chosen = there[len(there) // 2] if k is None else k
    if chosen not in there:
        raise ValueError(f"the table has no K = {k}, it has {there}")
    return rows[rows.k == chosen], temperature, int(chosen)


@Payers.picture("Lost gradient by kind of row", panels=True)
def payers_by_group(table: pd.DataFrame, k: int | None = None) -> Figure:
    """A panel a kind of groups: share of the gradient lost in L1, a mark a convention.

    Bars are intervals of 95 percent; beside a group stands its part of the rows. Groups of fewer
    than 20 rows have no mark.

    Args:
        table: as ``Payers.table`` gives it.
        k: which K to draw; the middle one if None.

    Raises:
        ValueError: no group has a mark, or the table lacks the K.
    """
    rows, temperature, chosen = at_middle(table, k)
    if not ((rows.n >= FEW) & (rows.share > NOTHING)).any():
        raise ValueError(f"no group has {FEW} rows, of which something is lost")
    kinds = [kind for kind in KINDS if kind in set(rows.kind)]
    size = {kind: rows.group[rows.kind == kind].nunique() for kind in kinds}
    figure, axes = new_panels(
        1,
        len(kinds),
        figsize=(PAGE, 3.6),
        sharey=True,
        squeeze=False,
        width_ratios=[1 + size[kind] for kind in kinds],
    )
    for ax, kind in zip(axes[0], kinds, strict=True):
        of_kind = rows[rows.kind == kind]
        names = of_kind.group.unique().tolist()
        parts = of_kind.groupby("group").of_rows.first()[names]
        for place, (convention, shown) in enumerate(LOOKS.items()):
            line = of_kind[of_kind.convention == convention].set_index("group").loc[names]
            line = line.where(line.n >= FEW)
            x = [i + 0.16 * (place - 1.5) for i in range(len(names))]
            ends = 100 * line[["share", "low", "high"]].astype(float)
            error = [ends.share - ends.low, ends.high - ends.share]
            look = {"fmt": shown["marker"], "color": shown["color"], "elinewidth": 1.2}
            ax.errorbar(x, ends.share, error, label=convention, **look)
        ax.set_xticks(
            range(len(names)), labels=[f"{ranged(n)}: {percent(p, 0)}" for n, p in parts.items()]
        )
        ax.set_title({"entropy": "teacher's entropy\n(nats)"}.get(kind, kind), loc="left")
        slant_ticks(ax)
        ax.grid(axis="y", color=FAINT, linewidth=0.6)
        ax.set_xlim(-0.6, len(names) - 0.4)
    plain_log(axes[0, 0])
    axes[0, 0].set_ylabel("gradient lost, L1 (%)")
    few = f"; no mark: below {FEW} rows" if (rows.n < FEW).any() else ""
    said = f"group: its part of the rows (K = {chosen}, T = {temperature:g}; bars: 95 %{few})"
    figure.supxlabel(said + state_left_out(table), fontsize=10)
    shared_legend(figure, axes[0, 0], "upper center", ncols=4)
    return figure
