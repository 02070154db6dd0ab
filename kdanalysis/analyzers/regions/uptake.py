"""Uptake: whether the student's region says what its teacher's region says, by case."""

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.by_region import Regional, cells
from kdanalysis.analyzers.by_step import check_steps, place_steps
from kdanalysis.core.cases import COMPLEMENTARY, KINDS, region_kinds

SHARES = ("local", "whole", "own", "label")


class RegionUptake(Regional):
    """What the student names in a cell, by epoch, scale and the teacher's case there.

    Shares of (sample, cell) pairs in which the student's class of the cell is

    - ``local``: the teacher's class of that cell: what the loss on the cell asks for;
    - ``whole``: the teacher's class of the whole image: equal to ``local`` in the cases that are
      consistent by class, its rival in the others;
    - ``own``: the student's own class of the whole image;
    - ``label``: the label.

    Args:
        num_classes: of the logits.
        scales: of the regions.
        epochs: every epoch; a single one for regions that come from no training.
    """

    kind = "regions"
    needs = ("student_regions", "teacher_regions", "target")
    takes = ("epoch",)

    def __init__(
        self, num_classes: int, scales: Sequence[int] = (1, 2, 4), epochs: Sequence[int] = (0,)
    ) -> None:
        ordered = check_steps(epochs)
        super().__init__(num_classes, scales, ordered)
        self.epochs = ordered
        shape = len(ordered), len(self.scales), len(KINDS), 1 + len(SHARES)
        self.add_sum("sums", *shape)

    def update(
        self,
        student_regions: Float[Tensor, "n c r"],
        teacher_regions: Float[Tensor, "n c r"],
        target: Int[Tensor, " n"],
        epoch: Int[Tensor, " n"] | None = None,
    ) -> None:
        """Add one batch; ValueError as :meth:`Regional.keep_regions`, or an epoch not announced."""
        kept = self.keep_regions(teacher_regions, student_regions, target)
        place = place_steps(self.epochs, epoch, target)[kept].unsqueeze(-1)
        label = target[kept].long().unsqueeze(-1)
        kind = region_kinds(teacher_regions[kept], label.squeeze(-1))
        student, teacher = (x[kept].argmax(1) for x in (student_regions, teacher_regions))
        rivals = teacher, teacher[:, :1], student[:, :1], label
        same = [torch.ones_like(student), *(student == rival for rival in rivals)]
        rows = torch.stack([x.double() for x in same], -1).flatten(0, 1)
        scale = torch.tensor([self.scales.index(m) for m, _, _ in cells(self.scales)]).to(kind)
        key = (place * len(self.scales) + scale) * len(KINDS) + kind
        flat = rows.new_zeros(self.sums[..., 0].numel(), rows.shape[-1])
        self.accumulate(sums=flat.index_add(0, key.flatten(), rows).view(self.sums.shape))

    def compute(self) -> dict[str, Tensor]:
        """Sums (epoch, scale, kind, [n, *SHARES]) and non_finite."""
        return {"sums": self.sums.clone(), "non_finite": self.non_finite.clone()}

    def table(self) -> pd.DataFrame:
        """Columns epoch, scale, case, by_class, by_correctness, n, local, whole, own, label, ...

        ``by_class`` and ``by_correctness`` tell whether the case is complementary; n counts
        (sample, cell) pairs, and a share of none is NaN. The last column is non_finite.
        """
        values = self.compute()
        rows = values["sums"].cpu().flatten(0, 2)
        index = [(e, m, kind) for e in self.epochs for m in self.scales for kind in KINDS]
        frame = pd.DataFrame(index, columns=["epoch", "scale", "case"])
        for split, kinds in COMPLEMENTARY.items():
            frame[f"by_{split}"] = frame.case.isin(kinds)
        frame["n"] = rows[:, 0].long().tolist()
        for place, name in enumerate(SHARES, start=1):
            frame[name] = (rows[:, place] / rows[:, 0]).tolist()
        return frame.assign(non_finite=int(values["non_finite"]))
