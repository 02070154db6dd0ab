"""A captured batch: what is held until its backward pass, and what it then says of the loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int, Shaped
from torch import Tensor
from torch.amp import GradScaler

from kdanalysis.capture.arrival import Arrival, fitted, term_ramps
from kdanalysis.capture.layers import LayerGrams, LayerProbe
from kdanalysis.capture.options import Options
from kdanalysis.capture.passes import Pass, Seen
from kdanalysis.capture.regions import region_rows
from kdanalysis.capture.samples import (
    Rows,
    captured_labels,
    kept,
    own_ids,
    sample_rows,
    soft_of,
    warn_of_repeated,
)
from kdanalysis.capture.sent import SentGradient
from kdanalysis.core.gram import HasGradients, residual
from kdanalysis.core.warn import warn
from kdanalysis.losses.sides import Labels, is_soft


@dataclass
class Record:
    """A captured batch that waits for its backward pass. Rows are the sampled ones.

    ``sides`` are student and teacher and ``target`` the labels, as the loss sees them; for ``pull``
    and ``known`` see ``Seen``. ``scale`` is what the sent gradient has to be multiplied by to be
    the gradient of the sum over samples: n for a mean over n, less ``factor``, that of a
    GradScaler, which skipped the optimizer's step where ``skipped``.
    """

    step: int
    epoch: int
    ramp: float
    rows: Int[Tensor, " r"]
    target: Labels
    samples: Rows
    sides: tuple[Tensor, Tensor]
    pull: Callable[[Tensor], Tensor] | None
    known: Bool[Tensor, " r"] | None
    scale: float
    factor: float | None = None
    sent: SentGradient | None = None
    layers: LayerGrams | None = None
    regions: Rows | None = None
    skipped: bool = False

    def finish(self, scaler: Any) -> None:
        """End the watch; a GradScaler's factor falls where it skips the optimizer's step."""
        if self.sent is not None:
            self.sent.remove()
            self.sent.warn_of_none()
        self.skipped = isinstance(scaler, GradScaler) and scaler.get_scale() < self.factor


def begin(
    student: Pass,
    teacher: Pass,
    seen: Seen,
    target: Tensor,
    sample_id: Tensor | None,
    options: Options,
    probe: LayerProbe | None = None,
    **facts: Any,
) -> Record:
    """Copy what is captured of a batch; ``facts`` are step, epoch and ramp.

    ``probe`` takes the gradients in layers.

    Raises:
        ValueError: a target that is no class.
    """
    count, draw = len(target), (options.seed, facts["step"])
    sample_id = own_ids(count, options.rank) if sample_id is None else sample_id
    label = captured_labels(target, student.logits.shape[-1], options.loss)
    target = target if is_soft(target) else label
    warn_of_repeated(sample_id)
    rows = sample_rows(count, options.max_rows, *draw)
    held, labels = kept(target, rows), kept(label, rows)
    soft = soft_of(held, labels)
    logits = [kept(one.logits, rows, one.copy) for one in (student, teacher)]
    regions, layers, factor = None, None, options.scaling.factor
    scaled = 1.0 if factor is None else factor
    if options.regions is not None and len(rows):
        some = rows[sample_rows(len(rows), options.regions.rows, *draw)]
        scales = options.regions.scales
        regions = region_rows(student, teacher, seen, some, sample_id, label, scales, options.loss)
    if probe is not None:
        layers = probe.take(student, teacher, seen, target, scaled, **facts)
    on_regions = seen.student.dim() == 3
    return Record(
        rows=rows,
        target=held,
        samples=Rows(kept(sample_id, rows), labels, logits[1], logits[0], soft=soft),
        sides=tuple(kept(x, rows) for x in (seen.student, seen.teacher))
        if on_regions
        else tuple(logits),
        pull=seen.pull,
        known=None if seen.known is None else kept(seen.known, rows),
        scale=count * options.scaling.accumulate / scaled,
        factor=factor,
        layers=layers,
        regions=regions,
        **facts,
    )


@dataclass(frozen=True)
class Captured:
    """One captured batch, an entry a sampled row; NaN where there is nothing to say.

    The residual is infinite where the gradient overflowed: of a row where what was sent for it is
    not finite, with a GradScaler of all rows, whose step it skips.

    ``norms`` holds for every term the L2 norm of its gradient in the row's student logits (region
    logits for a loss on regions), weight, T^2 and ramp included; it is empty without a loss.
    ``residual`` is the column of that name in the store; see ``Recorder``. ``arrival`` says how
    much of each term is in what was sent; None without a loss.
    """

    step: int
    epoch: int
    norms: dict[str, Float64[Tensor, " r"]]
    residual: Float64[Tensor, " r"]
    arrival: Arrival | None = None


def measure(record: Record, loss: HasGradients | None, norms: bool) -> Captured:
    """Hold a record against the closed forms of its loss, in float64, after its backward pass.

    Args:
        record: the batch.
        loss: what trained, or None.
        norms: whether norms are asked for; they are empty if not.
    """
    finite = _Finite.of(record.sides)
    sent = None if record.sent is None else record.sent.value
    closed, ramps = {}, {}
    if loss is not None:
        sides = [finite.some(side).double() for side in record.sides]
        target = finite.some(record.target.to(finite.rows.device))
        if norms or sent is not None or record.ramp != 1:
            closed = loss.gradients(*sides, target, ramp=record.ramp)
        ramps = term_ramps(loss, closed, record.ramp, *sides, target)
    known, arrival = _against(record, closed, sent, finite, ramps)
    return Captured(
        step=record.step,
        epoch=record.epoch,
        norms={t: finite.spread(g.flatten(1).norm(dim=-1)) for t, g in closed.items() if norms},
        residual=known,
        arrival=arrival if ramps else None,
    )


class _Finite(NamedTuple):
    """The rows where both sides are finite; as a rule that is every row, and none is copied."""

    rows: Bool[Tensor, " r"]
    all: bool

    @classmethod
    def of(cls, sides: tuple[Tensor, Tensor]) -> "_Finite":
        """Look at both sides."""
        rows = torch.stack([x.isfinite().flatten(1).all(-1) for x in sides]).all(0)
        return cls(rows, bool(rows.all()))

    def some(self, values: Shaped[Tensor, "r ..."]) -> Shaped[Tensor, "v ..."]:
        """Return the values of these rows."""
        return values if self.all else values[self.rows]

    def spread(self, values: Shaped[Tensor, " v"]) -> Float64[Tensor, " r"]:
        """Put values at the rows they belong to, NaN at the others."""
        if self.all:
            return values.double()
        spread = values.new_full(self.rows.shape, torch.nan, dtype=torch.float64)
        spread[self.rows] = values.double()
        return spread


def _against(
    record: Record,
    closed: dict[str, Tensor],
    sent: Tensor | None,
    finite: _Finite,
    ramps: dict[str, float],
) -> tuple[Float64[Tensor, " r"], Arrival]:
    """Hold what was sent against the closed forms: the residual, and how much of each arrived."""
    if not closed or sent is None:
        return torch.full_like(finite.rows, torch.nan, dtype=torch.float64), Arrival(ramps, {})
    pulled = closed if record.pull is None else {t: record.pull(g) for t, g in closed.items()}
    pulled = {term: gradient.flatten(1) for term, gradient in pulled.items()}
    total = sum(pulled.values())
    lost = record.factor is not None and (record.skipped or not sent.isfinite().all())
    sent = finite.some(sent[record.rows.to(sent.device)]).double().flatten(1) * record.scale
    values = residual(total, sent)
    _warn_of_repeats(record.sent.passes, total, sent, values)
    values = finite.spread(values.masked_fill(~sent.isfinite().all(-1) | lost, torch.inf))
    if record.known is not None:
        values, held = values.where(record.known, torch.nan), finite.some(record.known)
        pulled, sent = {term: gradient[held] for term, gradient in pulled.items()}, sent[held]
    return values, Arrival(ramps, {}) if lost else fitted(pulled, sent, ramps)


def _warn_of_repeats(
    passes: int, closed: Float[Tensor, "v _"], sent: Float[Tensor, "v _"], found: Tensor
) -> None:
    """Warn where each of several backward passes sent all of the loss's gradient.

    Passes of parts of a loss, one after another, are as good as one of their sum.
    """
    if passes < 2 or not len(found) or not found.median() > 0.1:
        return
    if residual(passes * closed, sent).median() < 0.05:
        warn(
            f"one loss went backward {passes} times in a step, as with retain_graph=True: the "
            f"student's logits got {passes} times the gradient of the loss, so the residual is "
            f"{found.median():.2g}; call backward() once, and weigh the loss where you mean more"
        )
