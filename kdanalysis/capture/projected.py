"""Logits that are never made: hidden states and the head that would make them."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, distributed

from kdanalysis.capture.options import Options
from kdanalysis.capture.record import Record
from kdanalysis.capture.samples import (
    Rows,
    captured_labels,
    check_batch,
    kept,
    own_ids,
    sample_rows,
    soft_of,
    warn_of_repeated,
)
from kdanalysis.core.arguments import typed
from kdanalysis.core.logits import check_dense
from kdanalysis.losses.sides import is_soft

SHARDED = (
    "the head is sharded over ranks, each of which holds a part, and logits need all of it: give "
    "kd.Projected on every rank weight.full_tensor() and bias.full_tensor() (fully_shard), or "
    "observe inside FullyShardedDataParallel.summon_full_params(model, writeback=False)"
)


@typed
@dataclass(frozen=True)
class Projected:
    """Hidden states and the head's weight, in place of a side's logits.

        logits = cap tanh(scale (hidden W' + bias) / cap), without the tanh where ``cap`` is None

    ``observe`` makes the logits of the recorded rows alone and measures the residual in the hidden
    states: ``hidden`` must be the very tensor that your loss is made of. ``loss`` makes them all.
    Until a captured step is finished a copy of the student's weight is held. A head that is sharded
    over ranks must be whole on every rank for as long as ``observe`` takes.

    Args:
        hidden: (m, d), what goes into the head, every position a row.
        weight: (c, d), that of the head.
        bias: (c,), or None.
        rows: (n,) which of the m rows are the batch's; all if None.
        scale: factor on the logits.
        cap: bound that squeezes them, as of Gemma.

    Raises:
        ValueError: shapes that do not fit, a cap that is not above 0, or a sharded head.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None = None
    rows: Tensor | None = None
    scale: float | int = 1.0
    cap: float | int | None = None

    def __post_init__(self) -> None:
        sides = {"hidden states": self.hidden, "the head's weights": self.weight}
        sides |= {} if self.bias is None else {"the head's biases": self.bias}
        for name, values in sides.items():
            check_dense(name, values)
        if any(map(is_part, sides.values())) or is_flat(self.weight):
            raise ValueError(SHARDED)
        shapes = tuple(self.hidden.shape), tuple(self.weight.shape)
        if not (len(shapes[0]) == len(shapes[1]) == 2 and shapes[0][1] == shapes[1][1]):
            raise ValueError(
                f"need hidden states (m, d) and the head's weight (c, d), got {shapes[0]} and "
                f"{shapes[1]}: flatten batch and positions, and give your loss what you flattened"
            )
        if self.cap is not None and self.cap <= 0:
            raise ValueError(f"cap squeezes the logits between -cap and cap, got {self.cap}")

    def __len__(self) -> int:
        return len(self.hidden) if self.rows is None else len(self.rows)

    def at(self, rows: Int[Tensor, " r"]) -> Int[Tensor, " r"]:
        """Return which of the hidden states rows of the batch are."""
        rows = rows.to(self.hidden.device)
        return rows if self.rows is None else self.rows.to(self.hidden.device)[rows]

    def logits(self, rows: Int[Tensor, " r"] | None = None) -> Float[Tensor, "r c"]:
        """Return the logits of some rows of the batch, all if None, in the hidden states' dtype."""
        places = self.at(torch.arange(len(self)) if rows is None else rows)
        made = torch.nn.functional.linear(self.hidden[places], self.weight, self.bias) * self.scale
        return made if self.cap is None else self.cap * torch.tanh(made / self.cap)


def is_part(side: Tensor) -> bool:
    """Whether a tensor is a rank's part of one, or a view of what FSDP frees between its passes."""
    if hasattr(side, "full_tensor"):
        return True
    return side.numel() > 0 and side.untyped_storage().nbytes() == 0


def is_flat(weight: Tensor) -> bool:
    """Whether a weight lies flat, as FSDP leaves a rank's part of an original parameter."""
    return weight.dim() == 1 and distributed.is_available() and distributed.is_initialized()


@dataclass(frozen=True)
class HiddenPull:
    """Brings gradients in logits to hidden states; ``slope`` is that of what follows the head.

    ``weight`` is a copy: the optimizer's step changes the head's before the record is finished.
    """

    weight: Tensor
    slope: Tensor | float | int

    def __call__(self, gradients: Float[Tensor, "r c"]) -> Float[Tensor, "r d"]:
        """Return the closed-form gradient in the hidden states."""
        return (gradients * self.slope) @ self.weight.to(gradients)


def whole(given: Any) -> Any:
    """Return the logits of hidden states, anything else as it is."""
    return given.logits() if isinstance(given, Projected) else given


def check_projected(student: Projected, teacher: Any, options: Options) -> Tensor:
    """Refuse what hidden states of a student cannot serve; return what the teacher gives.

    Raises:
        ValueError: the teacher gives nothing or another number of rows, regions or layers are kept,
            or the loss is on regions.
    """
    if options.regions or options.layers or getattr(options.loss, "scales", None) is not None:
        raise ValueError("of hidden states no regions and no layers can be made: leave them out")
    if not isinstance(teacher, Projected | Tensor) or len(teacher) != len(student):
        found = len(teacher) if isinstance(teacher, Projected | Tensor) else type(teacher).__name__
        raise ValueError(f"the student gives {len(student)} rows, and the teacher {found}")
    return teacher.hidden if isinstance(teacher, Projected) else teacher


def begin_projected(
    student: Projected,
    teacher: Projected | Tensor,
    target: Tensor,
    sample_id: Tensor | None,
    options: Options,
    **facts: Any,
) -> Record:
    """Copy what is captured of a batch, as :func:`begin`, whose student gives hidden states.

    Raises:
        ValueError: numbers of rows or classes differ, or a target that is no class.
    """
    rows = sample_rows(len(student), options.max_rows, options.seed, facts["step"])
    with torch.no_grad():
        logits = student.logits(rows)
        known = teacher.logits(rows) if isinstance(teacher, Projected) else kept(teacher, rows)
    sample_id = own_ids(len(student), options.rank) if sample_id is None else sample_id
    check_batch(logits, known, kept(target, rows), kept(sample_id, rows))
    warn_of_repeated(sample_id)
    factor = options.scaling.factor
    given = kept(target, rows)
    label = captured_labels(given, logits.shape[-1], options.loss)
    finite = torch.stack([x.isfinite().all(-1) for x in (logits, known)]).all(0)
    capped = None if student.cap is None else 1 - (logits[finite].double() / student.cap) ** 2
    slope = student.scale if capped is None else student.scale * capped
    return Record(
        rows=student.at(rows),
        target=given if is_soft(given) else label,
        samples=Rows(kept(sample_id, rows), label, known, logits, soft=soft_of(given, label)),
        sides=(logits, known),
        pull=HiddenPull(student.weight.detach().clone(), slope),
        known=None,
        scale=len(student) * options.scaling.accumulate / (1.0 if factor is None else factor),
        factor=factor,
        **facts,
    )
