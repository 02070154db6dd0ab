"""What is known of the targets of a batch, and which of its rows a loss can be called with."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from kdanalysis.core.wording import counted
from kdanalysis.losses.sides import are_distributions

Rows = Bool[Tensor, " n"] | None  # of a batch; None for all


class Targets:
    """The target of every row: a class, a number for each class, or nothing.

    A loss that needs no label sees all rows, one that needs a class index those with one; others,
    such as cross-entropy, see these and the rows whose target is a distribution (of a loss that
    takes several classes at once, numbers from 0 to 1).

    Args:
        label: class indices, -1 for a row without one; None where no row has any.
        soft: targets over the classes, used where a row has no index; NaN, or None, for nothing.
        samples: any tensor with one entry a row, for their number and the device.
    """

    def __init__(
        self,
        label: Int[Tensor, " n"] | None,
        soft: Float[Tensor, "n c"] | None,
        samples: Tensor,
    ) -> None:
        nothing = torch.full((len(samples),), -1, dtype=torch.long, device=samples.device)
        self.label = nothing if label is None else label.long()
        self._soft = soft

    def of_rows(self, rows: Int[Tensor, " m"]) -> "Targets":
        """Return the targets of some rows."""
        soft = None if self._soft is None else self._soft[rows]
        return Targets(self.label[rows], soft, rows)

    @cached_property
    def labelled(self) -> Bool[Tensor, " n"]:
        """Rows with a class index."""
        return self.label >= 0

    @cached_property
    def indices(self) -> Int[Tensor, " n"]:
        """A class index for every row, 0 where it has none: for what does not look at them."""
        return self.label.clamp(min=0)

    def seen_by(self, loss: Any) -> tuple[Rows, Tensor]:
        """Return the rows that a loss can be called with, and their targets."""
        if not getattr(loss, "needs_target", True):
            return None, self.indices
        if self.labelled.all():
            return None, self.label
        if self._soft is None or getattr(loss, "needs_index", "a label"):
            return self.labelled, self.label[self.labelled]
        known = self._known_to(loss)
        return (None, self._wide) if known.all() else (known, self._wide[known])

    def _known_to(self, loss: Any) -> Bool[Tensor, " n"]:
        if getattr(loss, "distributions", True):
            return are_distributions(self._wide)
        return ((self._wide >= 0) & (self._wide <= 1)).all(-1)

    @cached_property
    def _wide(self) -> Float[Tensor, "n c"]:
        """All targets over the classes, one-hot where there is an index."""
        hot = one_hot(self.indices, self._soft.shape[1]).double()
        return torch.where(self.labelled.unsqueeze(-1), hot, self._soft.double())

    def apply(
        self,
        loss: Any,
        work: Callable[..., Float[Tensor, "t k *s"]],
        student: Float[Tensor, "n c"],
        teacher: Float[Tensor, "n c"],
        shape: tuple[int, ...],
    ) -> Float[Tensor, "t n *s"]:
        """Return ``work(student, teacher, target)`` of the rows that a loss sees, NaN in others.

        Args:
            loss: says which rows.
            work: what to make of them, rows second.
            student: logits.
            teacher: logits.
            shape: of the whole result.

        Raises:
            ValueError: the loss makes NaN or infinity of finite logits.
        """
        rows, target = self.seen_by(loss)
        if rows is None:
            return finite_of(loss, work(student, teacher, target))
        found = student.new_full(shape, torch.nan, dtype=torch.float64)
        if rows.any():
            found[:, rows] = finite_of(loss, work(student[rows], teacher[rows], target)).double()
        return found

    def known(self, losses: Mapping[str, Any]) -> Bool[Tensor, "n l"] | None:
        """Return which rows every loss sees, a loss a column; None where all see all."""
        seen = [self.seen_by(loss)[0] for loss in losses.values()]
        if all(rows is None for rows in seen):
            return None
        every = torch.ones_like(self.labelled)
        return torch.stack([every if rows is None else rows for rows in seen], -1)


def finite_of(loss: Any, found: Float[Tensor, "t k *s"]) -> Float[Tensor, "t k *s"]:
    """Return what was made of the rows that a loss sees, all of which are of finite logits.

    Raises:
        ValueError: there is NaN or infinity in it, so that sums over the rows would be, too.
    """
    if not found.sum().isfinite():
        known = found.isfinite().movedim(1, 0).flatten(1).all(-1)
        if lost := int((~known).sum()):
            seen, first = counted(len(known), "row"), int((~known).nonzero()[0])
            raise ValueError(
                f"{loss} gives NaN or infinity in {lost:,} of the {seen} that it sees, first in "
                f"row {first} of them, though their logits are finite: its values and slopes must "
                f"be numbers, which those of a group without classes are not"
            )
    return found


def label_columns(losses: Mapping[str, Any]) -> tuple[str, ...]:
    """Return ("target",) where a loss uses the labels, else nothing."""
    needing = any(getattr(loss, "needs_target", True) for loss in losses.values())
    return ("target",) if needing else ()


def targets_for(
    losses: Mapping[str, Any],
    target: Int[Tensor, " n"] | None,
    soft: Float[Tensor, "n c"] | None,
    samples: Tensor,
) -> Targets:
    """Return the targets of a batch.

    Raises:
        ValueError: there are none, and a loss needs them.
    """
    check_labelled(losses, target is not None, soft is not None, "in this batch")
    return Targets(target, soft, samples)


def check_labelled(losses: Mapping[str, Any], labelled: bool, soft: bool, where: str) -> None:
    """Refuse losses that need labels where there are none for them.

    Args:
        losses: by name.
        labelled: whether there are rows with a class index.
        soft: whether there are rows with a distribution over the classes alone.
        where: the rows are, for the message.

    Raises:
        ValueError: a loss needs labels, and no row has one that it takes.
    """
    for name, loss in losses.items():
        served = labelled or (soft and not getattr(loss, "needs_index", "a label"))
        if getattr(loss, "needs_target", True) and not served:
            raise ValueError(f"the loss {name!r} needs labels (target), and there are none {where}")
