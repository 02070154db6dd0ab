"""Losses of rows of which few classes are kept: exact terms, and gradients of exact inner products.

A loss that sets apart kept classes alone sees of the others O only their masses P_O, Q_O and
D = KL(p|O || q|O), and its gradient there is a e + b p, e = q - p. Two classes stand for O,

    p|O = (1/2, 1/2)     q|O = (y, 1 - y)     y (1 - y) = exp(-2 D) / 4,

which have these masses and this D; the loss itself, called on the kept classes and these two, gives
its terms exactly, and a and b. The inner products of p and e over O, which were kept, then give the
gradient coordinates: other ones than the logits', with the same norms and cosines.
"""

from collections.abc import Sequence
from math import log

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.core.partition import Groups, Partition, Target, Top1, Top1TopK, TopK
from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.core.truncation.algebra import Group, is_near
from kdanalysis.core.truncation.kept import SUMS, Kept, logs
from kdanalysis.losses.around import Sum, merged
from kdanalysis.losses.base import Loss
from kdanalysis.losses.parts import Decoupled, KDParts
from kdanalysis.losses.plain import KD, CrossEntropy
from kdanalysis.losses.tokens import OverTokens
from kdanalysis.losses.truncated import Truncated

PAIR = 2  # classes that stand for the others


class OverKept:
    """A loss that looks at rows which were kept without all logits.

    It has the loss's terms, weights and whatever else is asked of it; ``values`` and ``gradients``
    are of the rows.

    Args:
        loss: to look with.
        k: K of the rows.
        temperatures: at which sums over the others were kept.

    Raises:
        ValueError: the loss looks into the others, or at another temperature.
    """

    def __init__(self, loss: Loss, k: int, temperatures: Sequence[float]) -> None:
        self.loss, self._temperatures = loss, tuple(temperatures)
        parts = leaves(loss)
        self._parts = [(one, _seen_as(one, k)) for one in parts]
        for one in parts:
            if _temperature(one) not in self._temperatures:
                known = ", ".join(f"{t:g}" for t in self._temperatures)
                raise ValueError(
                    f"{one!r} is at T = {_temperature(one):g}, and the sums over the other classes "
                    f"were kept at T = {known}: a recorder keeps those of its loss, and T = 1"
                )

    def __getattr__(self, name: str) -> object:
        return getattr(self.loss, name)

    def values(self, kept: Kept, target: Int[Tensor, " n"]) -> dict[str, Float[Tensor, " n"]]:
        """Return the terms; ``target`` is the place of the label among the kept classes."""
        return merged(
            loss(*stand_in(kept, self._place(one), _temperature(one), dense), target)
            for one, (loss, dense) in self._parts
        )

    def gradients(self, kept: Kept, target: Int[Tensor, " n"]) -> dict[str, Float[Tensor, "n d"]]:
        """Return the gradients of the terms in coordinates of the same inner products."""
        frame = frame_of(kept)
        found = []
        for one, (loss, dense) in self._parts:
            place, temperature = self._place(one), _temperature(one)
            sides = stand_in(kept, place, temperature, dense)
            slopes = loss.gradients(*sides, target)
            found.append({n: _laid(s, kept, place, frame) for n, s in slopes.items()})
        return merged(found)

    def _place(self, loss: Loss) -> int:
        return self._temperatures.index(_temperature(loss))


def leaves(loss: Loss) -> list[Loss]:
    """Return the losses that a loss adds up."""
    return [x for one in loss.losses for x in leaves(one)] if isinstance(loss, Sum) else [loss]


def temperatures_of(loss: Loss | None) -> tuple[float, ...]:
    """Return T = 1 and every temperature of the losses that a loss adds up, ascending."""
    parts = [] if loss is None else leaves(loss)
    return tuple(sorted({1.0, *(float(t) for one in parts if (t := one.temperature) is not None)}))


def _temperature(loss: Loss) -> float:
    return 1.0 if loss.temperature is None else loss.temperature


def _seen_as(loss: Loss, k: int) -> tuple[Loss, bool]:
    """Return the loss as it looks at what stands for a row, and whether it needs all of that.

    Raises:
        ValueError: it looks into the others.
    """
    if isinstance(loss, CrossEntropy):  # labels are places here; one that is ignored is -1
        return CrossEntropy(loss.weight, None if loss.ignore_index is None else -1), True
    if isinstance(loss, KD):
        return loss, True
    if isinstance(loss, Decoupled) and loss.divergence == "forward":
        groups = _groups(loss.partition, k)
        if isinstance(loss, KDParts):
            return KDParts(groups, loss.temperature, loss.names, loss.weight), True
        options = loss.weights, loss.temperature, loss.names
        return Decoupled(groups, *options), True
    outside = isinstance(loss, Truncated) and (
        loss.support == "student" or (loss.tail == "teacher" and loss.divergence == "reverse")
    )
    if isinstance(loss, OverTokens) and loss.k is not None and loss.k <= k and not outside:
        return loss, False
    raise ValueError(
        f"{loss!r} looks into the classes outside the {k} largest, of which only sums were kept: "
        f"keep all logits for it"
    )


def _groups(partition: Partition, k: int) -> Partition:
    """Return the partition of the kept classes, the one more, and the pair."""
    ends = {Top1: lambda: [1], Top1TopK: lambda: [1, partition.k], TopK: lambda: [partition.k]}
    if isinstance(partition, Target):
        return partition
    kind = type(partition)
    if kind not in ends or getattr(partition, "strategy", "best") != "best":
        raise ValueError(f"{partition} looks at every class to group them: keep all logits for it")
    found = ends[kind]()
    if found[-1] > k:
        raise ValueError(f"{partition} sets apart more classes than the {k} that were kept")
    return Groups(tuple(sum(place >= end for end in found) for place in range(k + 1 + PAIR)))


def stand_in(
    kept: Kept, place: int, temperature: float, dense: bool
) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n c"] | SparseTeacher]:
    """Return logits of both sides over the kept classes and the pair; else a sparse teacher.

    Args:
        kept: finite rows.
        place: of the temperature among those kept.
        temperature: T.
        dense: whether the teacher's logits are needed; else only its K largest and their rest.
    """
    log_p, log_q = logs(kept, place, temperature)
    other, parts = _pair(kept, place)
    student = temperature * torch.cat((log_q, other.q.log().unsqueeze(-1) + parts), -1)
    if dense:
        of_p = (other.p.log() - log(PAIR)).unsqueeze(-1).expand(-1, PAIR)
        return student, temperature * torch.cat((log_p, of_p), -1)
    top = log_p[:, :-1]
    ids = torch.arange(top.shape[1], dtype=torch.int32).expand(len(top), -1)
    rest = other.p.log().logaddexp(log_p[:, -1])
    return student, SparseTeacher(ids, top, rest, temperature)  # no vocabulary: the pair is many


def _pair(kept: Kept, place: int) -> tuple[Group, Float[Tensor, "n 2"]]:
    """Return the sums over the others, and log y and log(1 - y)."""
    other = Group(*kept.facts[:, place, :SUMS].unbind(-1))
    ratio = torch.where(is_near(other), torch.log1p(other.e / other.p), (other.q / other.p).log())
    inside = ((other.h - other.e) / other.p + ratio).clamp(min=0.0)  # D
    least = -2 * inside - (2 * (1 + (-torch.expm1(-2 * inside)).sqrt())).log()
    return other, torch.stack((least, torch.log1p(-least.exp())), -1)


def frame_of(kept: Kept) -> Float[Tensor, "n b b"]:
    """Return F with F' F the inner products of p and e over O, its columns their coordinates."""
    square = kept.products
    length = square.diagonal(dim1=1, dim2=2).sqrt()
    scale = torch.where(length > 0, length, 1.0)
    values, vectors = torch.linalg.eigh(square / scale.unsqueeze(1) / scale.unsqueeze(2))
    root = values.clamp(min=0.0).sqrt()
    return root.unsqueeze(-1) * vectors.transpose(1, 2) * length.unsqueeze(1)


def _laid(
    slope: Float[Tensor, "n c"], kept: Kept, place: int, frame: Float[Tensor, "n b b"]
) -> Float[Tensor, "n d"]:
    """Return a gradient over the kept classes and the pair in the coordinates of the frame.

    On the pair it is a e + b p. Where q|O = p|O, e is a multiple of p, and one factor will do.
    """
    other, parts = _pair(kept, place)
    one, two = slope[:, -PAIR:].unbind(-1)
    apart = other.q * (parts[:, 0].exp() - parts[:, 1].exp())
    of_e = torch.where(apart != 0, (one - two) / apart, 0.0)
    of_p = (one + two - of_e * other.e) / other.p
    basis = 2 * place
    along = of_p.unsqueeze(-1) * frame[..., basis] + of_e.unsqueeze(-1) * frame[..., basis + 1]
    return torch.cat((slope[:, :-PAIR], along), -1)
