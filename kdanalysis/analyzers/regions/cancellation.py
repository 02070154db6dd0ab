"""Cancellation: how much of the cells' gradients is left in their mean."""

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.by_region import Regional, RegionLoss, region_gradients, scale_slices
from kdanalysis.analyzers.regions.ambiguity import check_cells

SUMS = ("n", "ratio", "square", "norm", "no_gradient")


class RegionCancellation(Regional):
    """Norm of the mean gradient of an image's cells over the mean of their norms.

        ratio = || mean_r g_r ||  /  mean_r || g_r ||        in [0, 1]

    g_r is the gradient of the loss of cell r in that cell's student logits, T^2 included. 1 where
    all cells pull one way, 0 where they cancel; cells of unrelated directions and equal norms give
    about 1 / m at scale m. With a linear head the global logits are the mean of the cells', so the
    ratio says how much of the cells' pull a loss on the global logits alone could carry.

    Images are told apart by how many of their cells the teacher reads otherwise than the whole
    image: none for a clear image, more for an ambiguous one.

    Args:
        loss: of one region, such as the base of an SDD.
        num_classes: of the logits.
        scales: of the regions; one beyond the whole image at least.

    Raises:
        ValueError: there are no cells to compare.
    """

    kind = "regions"
    needs = ("student_regions", "teacher_regions", "target")

    def __init__(
        self, loss: RegionLoss, num_classes: int, scales: Sequence[int] = (1, 2, 4)
    ) -> None:
        super().__init__(num_classes, scales, loss)
        check_cells(self.scales)
        self.loss = loss
        self.add_sum("sums", sum(m * m + 1 for m in self.scales[1:]), len(SUMS))

    def update(
        self,
        student_regions: Float[Tensor, "n c r"],
        teacher_regions: Float[Tensor, "n c r"],
        target: Int[Tensor, " n"],
    ) -> None:
        """Add one batch; ValueError as :meth:`Regional.keep_regions`."""
        kept = self.keep_regions(teacher_regions, student_regions, target)
        sides = student_regions[kept].double(), teacher_regions[kept].double(), target[kept].long()
        gradients, classes = region_gradients(self.loss, *sides), sides[1].argmax(1)
        found = []
        for m, part in scale_slices(self.scales).items():
            if m > 1:
                differing = (classes[:, part] != classes[:, :1]).sum(-1)
                rows = _rows(gradients[:, part])
                found.append(rows.new_zeros(m * m + 1, len(SUMS)).index_add(0, differing, rows))
        self.accumulate(sums=torch.cat(found))

    def compute(self) -> dict[str, Tensor]:
        """Sums by (scale and number of differing cells, quantity) and non_finite."""
        return {"sums": self.sums.clone(), "non_finite": self.non_finite.clone()}

    def table(self) -> pd.DataFrame:
        """Columns scale, differing, clear, n, ratio, ratio_se, norm, no_gradient, non_finite.

        One row a scale and number of cells that differ from the whole image. ``ratio`` is the mean
        over the n images with a gradient, ``ratio_se`` its standard error, NaN for fewer than two;
        ``norm`` the mean over images of the cells' mean norm. ``no_gradient`` counts images whose
        cells all have none.
        """
        values = self.compute()
        n, ratio, square, norm, none = values["sums"].cpu().unbind(-1)
        mean = ratio / n
        spread = ((square / n - mean**2).clamp(min=0) / (n - 1)).sqrt()
        index = [(m, d, d == 0) for m in self.scales[1:] for d in range(m * m + 1)]
        frame = pd.DataFrame(index, columns=["scale", "differing", "clear"])
        return frame.assign(
            n=n.long().tolist(),
            ratio=mean.tolist(),
            ratio_se=spread.where(n > 1, torch.nan).tolist(),
            norm=(norm / n).tolist(),
            no_gradient=none.long().tolist(),
            non_finite=int(values["non_finite"]),
        )


def _rows(gradients: Float[Tensor, "n r c"]) -> Float[Tensor, "n q"]:
    """Return what an image adds to ``SUMS``."""
    norm = gradients.norm(dim=-1).mean(-1)
    there = norm > 0
    ratio = gradients.mean(1).norm(dim=-1) / norm.where(there, 1.0)
    return torch.stack([there.double(), ratio, ratio**2, norm, (~there).double()], -1)
