"""The cases of a region: whether the teacher reads it as it reads the whole image.

The global region is region 0. G and L stand for global and local, T and W for right (true) and
wrong under the label.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kdanalysis.core.arguments import typed
from kdanalysis.core.partition import check_target

CASES = ("GT-LT", "GW-LW", "GT-LW", "GW-LT")  # two consistent, two complementary ones
SPLITS = ("class", "correctness")
# GW-LW in two, as the definitions of a complementary region disagree where the classes differ
KINDS = ("GT-LT", "GW-LW same", "GW-LW other", "GT-LW", "GW-LT")
COMPLEMENTARY = {"class": KINDS[2:], "correctness": KINDS[3:]}


@typed
def region_cases(teacher: Float[Tensor, "n c r"], target: Int[Tensor, " n"]) -> Int[Tensor, "n r"]:
    """Return the case of every region as its place in ``CASES``.

    Raises:
        ValueError: a target that is no class index.
    """
    check_target(target, teacher.shape[1])
    right = teacher.argmax(1) == target.unsqueeze(-1)
    whole = right[:, :1]
    return torch.where(whole, torch.where(right, 0, 2), torch.where(right, 3, 1))


def region_kinds(teacher: Float[Tensor, "n c r"], target: Int[Tensor, " n"]) -> Int[Tensor, "n r"]:
    """Return the kind of every region as its place in ``KINDS``: its case, GW-LW told apart.

    "GW-LW same" names the class of the whole image again, "GW-LW other" another wrong one.

    Raises:
        ValueError: a target that is no class index.
    """
    cases = region_cases(teacher, target)
    later = (cases >= CASES.index("GT-LW")) | complementary(teacher, target, "class")
    return cases + later.long()


def complementary(
    teacher: Float[Tensor, "n c r"], target: Int[Tensor, " n"], split: str
) -> Bool[Tensor, "n r"]:
    """Return which regions are complementary; the others are consistent.

    The two definitions differ only in GW-LW, where both are wrong: "class" asks whether they are
    wrong in the same way.

    Args:
        teacher: region logits.
        target: class indices; "class" does not use them.
        split: "class", where the region's class is another than the global one (the text of arXiv
            2403.13512), or "correctness", where one is right and the other wrong (its code).
    """
    if split == "class":
        classes = teacher.argmax(1)
        return classes != classes[:, :1]
    return region_cases(teacher, target) >= CASES.index("GT-LW")


def region_pairs(
    student: Float[Tensor, "n c r"], teacher: Float[Tensor, "n c r"], target: Int[Tensor, " n"]
) -> tuple[Float[Tensor, "m c"], Float[Tensor, "m c"], Int[Tensor, " m"]]:
    """Make every (region, sample) pair a row: all samples of region 0, then those of region 1."""
    rows = (x.permute(2, 0, 1).flatten(0, 1) for x in (student, teacher))
    return *rows, target.repeat(student.shape[-1])
