"""Alignment of features: how alike a student's blocks and its teacher's arrange the samples."""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer
from kdanalysis.analyzers.noun import Reading
from kdanalysis.draw.look import Axes, new_axes, require
from kdanalysis.draw.marks import block_map

BLOCKS = ["student_block", "teacher_block"]


class FeatureAlignment(Analyzer):
    """Linear CKA of every student block with every teacher block (Kornblith et al., 1905.00414).

        CKA = ||X'Y||_F^2 / (||X'X||_F ||Y'Y||_F)

    X (n, d) and Y (n, e) are the features of the samples less their means; from 0 to 1, and blind
    to rotations and to one scale of all channels. Maps and tokens count by their mean over the
    positions. Streamed exactly: what is kept are sums of products of channels.

    Args:
        student: channels of each of its blocks, by name.
        teacher: likewise.
    """

    noun, title = "alignment", "Alignment of the features"
    of_runs = False
    needs = ("student_features", "teacher_features")

    def __init__(self, student: Mapping[str, int], teacher: Mapping[str, int]) -> None:
        super().__init__(student=dict(student), teacher=dict(teacher))
        self.add_sum("n")
        for side, blocks in (("x", self.student), ("y", self.teacher)):
            for place, width in enumerate(blocks.values()):
                self.add_sum(f"{side}{place}", width)
                self.add_sum(f"{side}{side}{place}", width, width)
        for i, d in enumerate(self.student.values()):
            for j, e in enumerate(self.teacher.values()):
                self.add_sum(f"xy{i}_{j}", d, e)

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
        self.accumulate(n=kept.sum(), non_finite=(~kept).sum())
        for side, values in (("x", x), ("y", y)):
            for place, value in enumerate(values):
                sums = {f"{side}{place}": value.sum(0), f"{side}{side}{place}": value.T @ value}
                self.accumulate(**sums)
        for i, a in enumerate(x):
            self.accumulate(**{f"xy{i}_{j}": a.T @ b for j, b in enumerate(y)})

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

    def compute(self) -> dict[str, Tensor]:
        """CKA (student blocks, teacher blocks), n and non_finite; NaN where a block is constant."""
        own = {
            f"{side}{i}": self._centred(f"{side}{side}{i}", f"{side}{i}", f"{side}{i}").norm()
            for side, blocks in (("x", self.student), ("y", self.teacher))
            for i in range(len(blocks))
        }
        cka = [
            [
                self._centred(f"xy{i}_{j}", f"x{i}", f"y{j}").square().sum()
                / (own[f"x{i}"] * own[f"y{j}"])
                for j in range(len(self.teacher))
            ]
            for i in range(len(self.student))
        ]
        return {
            "cka": torch.stack([torch.stack(row) for row in cka]),
            "n": self.n.clone(),
            "non_finite": self.non_finite.clone(),
        }

    def _centred(self, products: str, left: str, right: str) -> Tensor:
        """Sum of products less that of the means; what is left of rounding alone is zero."""
        raw = getattr(self, products)
        centred = raw - torch.outer(getattr(self, left), getattr(self, right)) / self.n
        return centred if centred.norm() > 1e-12 * raw.norm() else torch.zeros_like(centred)

    def table(self) -> pd.DataFrame:
        """Columns student_block, teacher_block, cka, n, non_finite; one row a pair of blocks."""
        pairs = [(a, b) for a in self.student for b in self.teacher]
        return self.frame(pairs, BLOCKS)


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

    The number is the CKA of every student block with its nearest teacher block.
    """
    require(table, *BLOCKS, "cka", number="cka")
    known = table[table.cka.notna()]
    best = known.loc[known.groupby("student_block", sort=False).cka.idxmax()]
    number = "; ".join(
        f"{r.student_block} and {r.teacher_block} {r.cka:.2f}" for r in best.itertuples()
    )
    ours = list(dict.fromkeys(table.student_block))
    theirs = list(dict.fromkeys(table.teacher_block))
    own = [ours.index(a) == theirs.index(b) for a, b in best[BLOCKS].to_numpy()]
    if all(own):
        told = "Every block of the student is most alike the teacher's block of its own place."
        return Reading(told, number)
    told = (
        f"{sum(own)} of {len(own)} blocks of the student are most alike the teacher's block of "
        f"their own place; the others are nearer to another."
    )
    return Reading(told, number)


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
