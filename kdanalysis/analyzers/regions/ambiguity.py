"""Ambiguity: how many things a teacher sees in the cells of one image."""

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.by_region import Regional, scale_slices

MEANS = ("entropy", "differing", "divergence", "clear")
TEACHER = ("right", "wrong")


class RegionAmbiguity(Regional):
    """How much the teacher's cells disagree with each other and with the whole image.

    Per image and scale m > 1, with the classes of the largest logits in its m^2 cells:

    - ``entropy``: of the distribution of these classes, in nats: 0 where all cells name one class,
      at most log of m^2 where each names another;
    - ``differing``: share of cells that name another class than the whole image;
    - ``divergence``: mean over cells of KL(cell || whole image) at T = 1, in nats;
    - ``clear``: whether no cell names another class.

    Args:
        num_classes: of the logits.
        scales: of the regions; one beyond the whole image at least.

    Raises:
        ValueError: there are no cells to compare.
    """

    kind = "regions"
    needs = ("teacher_regions", "target")

    def __init__(self, num_classes: int, scales: Sequence[int] = (1, 2, 4)) -> None:
        super().__init__(num_classes, scales)
        check_cells(self.scales)
        self.add_sum("sums", num_classes, 2, len(self.scales) - 1, 1 + len(MEANS))

    def update(self, teacher_regions: Float[Tensor, "n c r"], target: Int[Tensor, " n"]) -> None:
        """Add one batch; ValueError as :meth:`Regional.keep_regions`."""
        kept = self.keep_regions(teacher_regions, None, target)
        teacher, label = teacher_regions[kept].double(), target[kept].long()
        parts = [s for m, s in scale_slices(self.scales).items() if m > 1]
        found = torch.stack([measures(teacher, part) for part in parts], 1)  # (n, scales, means)
        rows = torch.cat([torch.ones_like(found[..., :1]), found], -1)
        wrong = teacher[..., 0].argmax(1) != label
        flat = rows.new_zeros(2 * self.num_classes, *rows.shape[1:])
        self.accumulate(sums=flat.index_add(0, 2 * label + wrong, rows).view(self.sums.shape))

    def compute(self) -> dict[str, Tensor]:
        """Sums (class, teacher right/wrong, scale, [n, *MEANS]) and non_finite."""
        return {"sums": self.sums.clone(), "non_finite": self.non_finite.clone()}

    def table(self) -> pd.DataFrame:
        """Columns part, teacher, class, scale, n, entropy, differing, divergence, clear, ...

        ``part`` is "teacher", over all classes by whether the teacher is right, wrong, or "all",
        or "class", by true class over all images. Means over images, NaN where there is none; the
        last column is non_finite.
        """
        values = self.compute()
        sums = values["sums"].cpu()
        scales = self.scales[1:]
        of_teacher = torch.cat([sums.sum(0), sums.sum((0, 1)).unsqueeze(0)])
        index = [("teacher", t, pd.NA, m) for t in (*TEACHER, "all") for m in scales]
        index += [("class", "all", c, m) for c in range(self.num_classes) for m in scales]
        rows = torch.cat([of_teacher.flatten(0, 1), sums.sum(1).flatten(0, 1)])
        frame = pd.DataFrame(index, columns=["part", "teacher", "class", "scale"])
        frame = frame.astype({"class": "Int64"}).assign(n=rows[:, 0].long().tolist())
        for place, name in enumerate(MEANS, start=1):
            frame[name] = (rows[:, place] / rows[:, 0]).tolist()
        return frame.assign(non_finite=int(values["non_finite"]))


def measures(teacher: Float[Tensor, "n c r"], part: slice) -> Float[Tensor, "n q"]:
    """Return ``MEANS`` of every image for the cells of one scale."""
    classes = teacher.argmax(1)
    local, whole = classes[:, part], classes[:, :1]
    alike = (local.unsqueeze(-1) == local.unsqueeze(-2)).double().mean(-1)
    differing = (local != whole).double()
    log_p = teacher.log_softmax(1)
    cell, image = log_p[..., part], log_p[..., :1]
    return torch.stack(
        [
            -alike.log().mean(-1),
            differing.mean(-1),
            (cell.exp() * (cell - image)).sum(1).mean(-1),
            (differing.sum(-1) == 0).double(),
        ],
        -1,
    )


def check_cells(scales: tuple[int, ...]) -> None:
    """Raise a ValueError where there is nothing but the whole image."""
    if len(scales) < 2:
        raise ValueError(f"need a scale of more than one cell to compare cells, got {scales}")
