"""Alignment of features: how alike a student's blocks and its teacher's arrange the samples."""

from collections.abc import Mapping, Sequence
from math import isfinite, nan
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer
from kdanalysis.analyzers.evidence import OPPOSITE, SEEN, UNTESTED, Interval, ended, jackknife
from kdanalysis.analyzers.noun import Reading
from kdanalysis.core.wording import UNKNOWN
from kdanalysis.draw.look import Axes, new_axes
from kdanalysis.draw.marks import block_map
from kdanalysis.draw.tables import require

BLOCKS = ["student_block", "teacher_block"]
GROUPS, FEWER, WIDE = 8, 4, 512  # groups of the jackknife; of more channels fewer, for the memory
MIX = -7046029254386353131  # an odd number of 64 bits, the golden ratio's


class FeatureAlignment(Analyzer):
    """Linear CKA of every student block with every teacher block (Kornblith et al., 1905.00414).

        CKA = ||X'Y||_F^2 / (||X'X||_F ||Y'Y||_F)

    X (n, d) and Y (n, e) are the features of the samples less their means; from 0 to 1, and blind
    to rotations and to one scale of all channels. Maps and tokens count by their mean over the
    positions. Streamed exactly: what is kept are sums of products of channels, in groups of samples
    told apart by their features, whatever the batches.

    - ``cka_half``: half of the 95 % interval over samples, by the jackknife over the groups. Few
      samples make CKA larger, of many channels most: what normal ones would is added.
    - ``lead``, ``lead_half``: CKA less the highest with another block of the teacher, likewise;
      where it is behind at a level for all others.

    Args:
        student: channels of each of its blocks, by name.
        teacher: likewise.
    """

    noun, title = "alignment", "Alignment of the features"
    of_runs = False
    needs = ("student_features", "teacher_features")

    def __init__(self, student: Mapping[str, int], teacher: Mapping[str, int]) -> None:
        super().__init__(student=dict(student), teacher=dict(teacher))
        widest = max((*self.student.values(), *self.teacher.values()))
        self.groups = GROUPS if widest <= WIDE else FEWER
        self.add_sum("n", self.groups)
        for side, blocks in self._sides():
            for place, width in enumerate(blocks.values()):
                self.add_sum(f"{side}{place}", self.groups, width)
                self.add_sum(f"{side}{side}{place}", self.groups, width, width)
        for i, d in enumerate(self.student.values()):
            for j, e in enumerate(self.teacher.values()):
                self.add_sum(f"xy{i}_{j}", self.groups, d, e)

    def _sides(self) -> tuple[tuple[str, dict[str, int]], ...]:
        return ("x", self.student), ("y", self.teacher)

    def update(
        self,
        student_features: Sequence[Float[Tensor, "n ..."]],
        teacher_features: Sequence[Float[Tensor, "n ..."]],
    ) -> None:
        """Add one batch: what every block of both sides gave.

        Raises:
            ValueError: another number of blocks or channels than announced.
        """
        x = self._pooled(student_features, self.student, "student")
        y = self._pooled(teacher_features, self.teacher, "teacher")
        kept = _finite([*x, *y])
        x, y = [side[kept] for side in x], [side[kept] for side in y]
        self.accumulate(non_finite=(~kept).sum())
        place = groups_of(x[0], self.groups)
        for group in place.unique().tolist():
            self._add(group, *([side[place == group] for side in sides] for sides in (x, y)))

    def _add(self, group: int, x: Sequence[Tensor], y: Sequence[Tensor]) -> None:
        """Add the samples of one group."""
        sums = {"n": torch.tensor(len(x[0]))}
        for side, values in (("x", x), ("y", y)):
            for place, value in enumerate(values):
                sums |= {f"{side}{place}": value.sum(0), f"{side}{side}{place}": value.T @ value}
        for i, a in enumerate(x):
            sums |= {f"xy{i}_{j}": a.T @ b for j, b in enumerate(y)}
        for name, value in sums.items():
            getattr(self, name)[group] += value.to(self.n)

    def _pooled(
        self, features: Sequence[Tensor], blocks: Mapping[str, int], side: str
    ) -> list[Float[Tensor, "n d"]]:
        means = [pooled(values).double() for values in features]
        if [value.shape[-1] for value in means] != list(blocks.values()):
            raise ValueError(
                f"the {side}'s features have {[value.shape[-1] for value in means]} channels, "
                f"announced were {list(blocks.values())}"
            )
        return means

    def measures(self) -> dict[str, Tensor]:
        """The measures (student blocks, teacher blocks), and n.

        NaN where a block is constant, and an interval where fewer than three groups have samples.
        """
        there = [g for g in range(self.groups) if self.n[g] > 0]
        whole = self._cka()
        left = [self._cka(without=g) for g in there]
        measures = {"cka": (whole, left), "lead": (_lead(whole), [_lead(one) for one in left])}
        found, rivals, cka = {}, len(self.teacher) - 1, self._cka(even=True)
        even = {"cka": cka, "lead": _lead(cka)}
        for name, (of_all, others) in measures.items():
            halves = [
                _reach(
                    value,
                    [float(one.flatten()[place]) for one in others],
                    rivals * (name == "lead"),
                )
                for place, value in enumerate(of_all.flatten().tolist())
            ]
            bias = even[name] - of_all
            half = of_all.new_tensor(halves).view_as(of_all) + bias.abs()
            found |= {name: of_all, f"{name}_half": half}
        return found | {"n": self.n.sum()}

    def _cka(self, without: int | None = None, even: bool = False) -> Float[Tensor, "a b"]:
        """CKA of all samples or those outside a group; ``even`` less what chance gives, or NaN."""
        chosen = [g for g in range(self.groups) if g != without]
        ours, theirs = ([f"{s}{i}" for i in range(len(b))] for s, b in self._sides())
        own = {x: self._centred(f"{x[0]}{x}", x, x, chosen) for x in (*ours, *theirs)}
        freedom = self.n[chosen].sum() - 1

        def square(products: Tensor, a: str, b: str) -> Tensor:
            chance = own[a].trace() * own[b].trace() / freedom
            found = products.square().sum() - (chance if even else 0)
            return found.where(found > 0, torch.nan) if a == b and even else found

        length = {name: square(products, name, name).sqrt() for name, products in own.items()}
        cka = [
            [
                square(self._centred(f"xy{x[1:]}_{y[1:]}", x, y, chosen), x, y)
                / (length[x] * length[y])
                for y in theirs
            ]
            for x in ours
        ]
        return torch.stack([torch.stack(row) for row in cka])

    def _centred(self, products: str, left: str, right: str, groups: Sequence[int]) -> Tensor:
        """Sum of products less that of the means; what is left of rounding alone is zero."""
        names = (products, left, right, "n")
        raw, a, b, n = (getattr(self, name)[list(groups)].sum(0) for name in names)
        centred = raw - torch.outer(a, b) / n
        return centred if centred.norm() > 1e-12 * raw.norm() else torch.zeros_like(centred)

    def table(self) -> pd.DataFrame:
        """Columns student_block, teacher_block, cka, cka_half, lead, lead_half, n, non_finite.

        One row a pair of blocks.
        """
        pairs = [(a, b) for a in self.student for b in self.teacher]
        return self.frame(pairs, BLOCKS)


def groups_of(features: Float[Tensor, "n d"], count: int) -> Int[Tensor, " n"]:
    """Tell samples apart into groups by the bits of their features, as chance would."""
    bits = features.sum(-1).double().view(torch.int64) * MIX  # overflows, and may
    return (bits >> 40).remainder(count)


def _reach(value: float, left: Sequence[float], rivals: int) -> float:
    """Half of the interval by the jackknife, of one that is behind the first of rivals."""
    found = jackknife(value, left)
    return (found.chosen_of(rivals, len(left)) if value < 0 and rivals > 1 else found).half


def _lead(cka: Float[Tensor, "a b"]) -> Float[Tensor, "a b"]:
    """CKA less the highest of the same row in another column; NaN where there is none."""
    if cka.shape[1] < 2:
        return torch.full_like(cka, torch.nan)
    high, place = cka.nan_to_num(-1.0).topk(2, dim=1)
    best = torch.arange(cka.shape[1]) == place[:, :1]
    return cka - torch.where(best, high[:, 1:], high[:, :1])


def pooled(values: Float[Tensor, "n ..."]) -> Float[Tensor, "n d"]:
    """Average maps (n, d, h, w) or tokens (n, p, d) over their positions."""
    if values.dim() == 4:
        return values.mean((2, 3))
    return values.mean(1) if values.dim() == 3 else values


def _finite(features: Sequence[Tensor]) -> Bool[Tensor, " n"]:
    return torch.stack([value.isfinite().all(-1) for value in features]).all(0)


@FeatureAlignment.reads()
def alignment_reading(table: pd.DataFrame) -> Reading:
    """Whether each block of the student is most alike the teacher's block of its own place.

    With the 95 % interval over samples of how far its CKA leads. The number is the CKA of every
    student block with its nearest teacher block.
    """
    require(table, *BLOCKS, "cka", number="cka")
    known = table[table.cka.notna()]
    best = known.loc[known.groupby("student_block", sort=False).cka.idxmax()]
    number = "; ".join(
        f"{r.student_block} and {r.teacher_block} {_half(r, 'cka').text('.2f')}"
        for r in best.itertuples()
    )
    ours = list(dict.fromkeys(table.student_block))
    theirs = list(dict.fromkeys(table.teacher_block))
    own = known[[ours.index(a) == theirs.index(b) for a, b in known[BLOCKS].to_numpy()]]
    leads = {row.student_block: _half(row, "lead") for row in own.itertuples()}
    told = ", ".join(f"{block} {lead.text('+.2f')}" for block, lead in leads.items())
    question = "That a block of the student is most alike the teacher's block of its own place"
    if not any(isfinite(lead.half) for lead in leads.values()):
        return Reading(f"{question} {ended(UNTESTED)}: CKA leads by {told or UNKNOWN}.", number)
    verdicts = [lead.verdict for lead in leads.values()]
    seen = f"is seen for {verdicts.count(SEEN)} of {len(ours)}"
    if verdicts.count(OPPOSITE):
        seen += f", the opposite for {verdicts.count(OPPOSITE)}"
    return Reading(f"{question} {seen}: CKA leads by {told}.", number)


def _half(row: Any, name: str) -> Interval:
    """A measure of a row with its interval; NaN in tables made before there was one."""
    value, half = (float(getattr(row, n, nan)) for n in (name, f"{name}_half"))
    return Interval(value, half)


@FeatureAlignment.picture("Linear CKA of the blocks")
def alignment_by_block(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Heat map: linear CKA of every student block with every teacher block."""
    require(table, *BLOCKS, "cka", "n", number="cka")
    cells = table.pivot(index="student_block", columns="teacher_block", values="cka")
    cells = cells.loc[list(dict.fromkeys(table.student_block))]
    cells = cells[list(dict.fromkeys(table.teacher_block))]
    ax = ax or new_axes(2.6 + 0.9 * cells.shape[1], 1.3 + 0.55 * len(cells))
    texts = [[f"{value:.2f}" for value in row] for row in cells.to_numpy()]
    block_map(ax, cells, texts, "linear CKA", 1.0)
    ax.set_xlabel(f"block of the teacher ({table.n.iloc[0]:,} samples)")
    ax.set_ylabel("block of the student")
    return ax
