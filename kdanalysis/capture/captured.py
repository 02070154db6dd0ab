"""What a captured batch says of its loss: the norm of every term's gradient, and the residual."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64, Shaped
from torch import Tensor

from kdanalysis.capture.record import Record
from kdanalysis.core.gram import HasGradients, residual


@dataclass(frozen=True)
class Captured:
    """One captured batch, an entry a sampled row; NaN where there is nothing to say.

    The residual is infinite where the gradient overflowed: of a row where what was sent for it is
    not finite, with a GradScaler of all rows, whose step it skips.

    ``norms`` holds for every term the L2 norm of its gradient in the row's student logits (region
    logits for a loss on regions), weight, T^2 and ramp included; it is empty without a loss.
    ``residual`` is the column of that name in the store; see ``Recorder``.
    """

    step: int
    epoch: int
    norms: dict[str, Float64[Tensor, " r"]]
    residual: Float64[Tensor, " r"]


def measure(record: Record, loss: HasGradients | None, norms: bool) -> Captured:
    """Hold a record against the closed forms of its loss, in float64, after its backward pass.

    Args:
        record: the batch.
        loss: what trained, or None.
        norms: whether norms are asked for; they are empty if not.
    """
    student, teacher = record.sides
    finite = torch.stack([x.isfinite().flatten(1).all(-1) for x in (student, teacher)]).all(0)
    sent = None if record.sent is None else record.sent.value
    closed = {}
    if loss is not None and (norms or sent is not None):
        sides = student[finite].double(), teacher[finite].double()
        target = record.target.to(student.device)[finite]
        closed = loss.gradients(*sides, target, ramp=record.ramp)
    return Captured(
        step=record.step,
        epoch=record.epoch,
        norms={t: _spread(g.flatten(1).norm(dim=-1), finite) for t, g in closed.items() if norms},
        residual=_residual(record, closed, sent, finite),
    )


def _residual(
    record: Record, closed: dict[str, Tensor], sent: Tensor | None, finite: Bool[Tensor, " r"]
) -> Float64[Tensor, " r"]:
    if not closed or sent is None:
        return _spread(finite.new_zeros(0), torch.zeros_like(finite))
    total = sum(closed.values())
    total = total if record.pull is None else record.pull(total)
    lost = record.factor is not None and (record.skipped or not sent.isfinite().all())
    sent = sent[record.rows.to(sent.device)][finite].double().flatten(1) * record.scale
    values = residual(total.flatten(1), sent)
    values = values.masked_fill(~sent.isfinite().all(-1) | lost, torch.inf)
    values = _spread(values, finite)
    return values if record.known is None else values.where(record.known, torch.nan)


def _spread(values: Shaped[Tensor, " v"], rows: Bool[Tensor, " r"]) -> Float64[Tensor, " r"]:
    """Put values at the rows they belong to, NaN at the others."""
    spread = torch.full(rows.shape, torch.nan, dtype=torch.float64, device=rows.device)
    spread[rows] = values.double()
    return spread
