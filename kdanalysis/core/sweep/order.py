"""The teacher's order of the classes, which no temperature changes."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

NARROW = (torch.float16, torch.bfloat16, torch.float32)


class Ranked(NamedTuple):
    """Logits with the classes in the teacher's order, largest first; one column a sample."""

    student: Float[Tensor, "c n"]  # less its largest logit
    teacher: Float[Tensor, "c n"]  # less its largest logit
    gap: Float[Tensor, "c n"]  # student less teacher, with the digits of a small difference
    span: Float[Tensor, " n"]  # largest less smallest logit, of the side where that is larger


def rank(
    student: Float[Tensor, "n c"],
    teacher: Float[Tensor, "n c"],
    dtype: torch.dtype = torch.float64,
) -> Ranked:
    """Sort the classes of every sample by the teacher; ties keep the order of their classes."""
    order = class_order(teacher)
    student, teacher = (x.gather(-1, order).t().to(dtype).contiguous() for x in (student, teacher))
    gap = student - teacher
    student, teacher = student - student.amax(0), teacher - teacher[0]
    return Ranked(student, teacher, gap, torch.maximum(-student.amin(0), -teacher[-1]))


def class_order(logits: Float[Tensor, "n c"]) -> Int[Tensor, "n c"]:
    """Return the classes by descending logit, ties by ascending class.

    Up to 32 bits the logit and the class fit into one integer, which numpy sorts several times as
    fast as a stable sort finds the order.
    """
    if logits.device.type != "cpu" or logits.dtype not in NARROW:
        return logits.sort(stable=True, dim=-1, descending=True).indices
    bits = (logits.float() + 0.0).view(torch.int32).long()  # + 0.0 makes -0.0 equal to 0.0
    ascending = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    classes = torch.arange(logits.shape[-1], device=logits.device)
    keys = ascending.mul_(-(2**32)).add_(classes)
    keys.numpy().sort(-1)
    return keys.bitwise_and_(0xFFFFFFFF)


def split(ranked: Ranked, first: Bool[Tensor, " n"]) -> tuple[Ranked, Ranked]:
    """Return the samples of ``first``, and the others."""
    if first.all():
        return ranked, Ranked(*(side[..., :0] for side in ranked))
    return tuple(Ranked(*(side[..., rows] for side in ranked)) for rows in (first, ~first))


def unsplit(
    first: Bool[Tensor, " n"], one: Float[Tensor, "*s m"], other: Float[Tensor, "*s o"]
) -> Float[Tensor, "*s n"]:
    """Lay what belongs to the two of a ``split`` side by side, in the order of the samples."""
    places = (~first).sort(stable=True).indices.argsort()
    return torch.cat((one, other), -1)[..., places]
