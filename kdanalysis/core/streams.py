"""What analyzers do with a stream of batches: refuse, leave rows out, sort into bins, add up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kdanalysis.core.arguments import fitted
from kdanalysis.core.largest import top
from kdanalysis.core.logits import check_dense
from kdanalysis.core.partition import check_target

CACHED = 2**17  # numbers of 4 bytes that stay in a processor's cache
ROUNDING = 1e-6  # of the width of a bin: values that lie no farther apart are equal
QUARTILES = {"q25": 0.25, "median": 0.5, "q75": 0.75}


def check_batch(
    teacher: Float[Tensor, "n c"],
    student: Float[Tensor, "n c"] | None = None,
    target: Int[Tensor, " n"] | None = None,
    num_classes: int | None = None,
) -> None:
    """Refuse a batch that no analyzer can read.

    Raises:
        ValueError: no dense floating numbers, other dimensions, no samples, fewer than two classes,
            another class count than ``num_classes``, sides of different shapes, or targets that are
            no class indices.
    """
    check_dense("teacher logits", teacher)
    if student is not None:
        check_dense("student logits", student)
    if teacher.dim() != 2:
        raise ValueError(f"logits have shape {tuple(teacher.shape)}, need (samples, classes)")
    samples, classes = teacher.shape
    check_classes(classes)
    if num_classes is not None and classes != num_classes:
        raise ValueError(f"the logits have {classes} classes, the analyzer expects {num_classes}")
    if not samples:
        raise ValueError("the batch holds no samples, need at least one row of logits")
    if student is not None and student.shape != teacher.shape:
        raise ValueError(
            f"student logits {tuple(student.shape)} and teacher logits {tuple(teacher.shape)} "
            f"must have the same shape"
        )
    if target is not None:
        if target.shape != (samples,):
            raise ValueError(
                f"target has shape {tuple(target.shape)} for {samples} samples: need one each"
            )
        check_target(target, classes)


def check_classes(num_classes: int) -> int:
    """Return the number of classes; a ValueError unless there are two to compare."""
    if num_classes < 2:
        raise ValueError(f"need at least 2 classes, got {num_classes}: one class is always certain")
    return num_classes


def check_temperatures(temperatures: Sequence[float | int]) -> tuple[float, ...]:
    """Return the temperatures as floats.

    Raises:
        ValueError: there is none, one appears twice, or one is no number from 0.001 to 10 000.
    """
    given = fitted("temperatures", temperatures, Sequence[float])
    values = tuple(check_temperature(t) for t in given)
    if not values:
        raise ValueError("need at least one temperature, got none")
    if len(set(values)) != len(values):
        raise ValueError(f"temperatures must differ from each other, got {values}")
    return values


def check_temperature(temperature: float | int) -> float:
    """Return it as a float; a ValueError where it is no number from 0.001 to 10 000.

    Beyond that float32 holds no digit of logits / T that matters; from about 100 upwards float64
    logits are the better input, since the terms are differences that shrink as T grows.
    """
    number = fitted("temperature", temperature, float)
    if not 1e-3 <= number <= 1e4:
        raise ValueError(f"temperature must lie between 0.001 and 10000, got {number:g}")
    return number


def finite_rows(*logits: Float[Tensor, "n c"] | None) -> Bool[Tensor, " n"]:
    """Return True for the samples without NaN or inf on any side."""
    sides = [side for side in logits if side is not None]
    kept = torch.stack([side.sum(-1).isfinite() for side in sides]).all(0)
    if kept.all():
        return kept
    ends = [end(side, -1) for side in sides for end in (torch.amin, torch.amax)]
    return torch.stack([end.isfinite() for end in ends]).all(0)  # a sum may overflow


def nothing_finite(what: object, *sides: Float[Tensor, "n c"]) -> str:
    """Say that every row holds NaN or inf, and what cuts off padding where that is why."""
    said = f"every row of {what} holds NaN or inf: there is nothing to look at"
    size = min((int((~side.isneginf().all(0)).sum()) for side in sides), default=0)
    padded = size > 1 and all(side[:, size:].isneginf().all() for side in sides)
    if padded and finite_rows(*(side[:, :size] for side in sides)).any():
        said += f"; vocabulary={size} cuts off padding, which is -inf in all of them"
    return said


def top_of_finite(logits: Float[Tensor, "n c"]) -> tuple[Int[Tensor, " n"], Bool[Tensor, " n"]]:
    """Return the class of the largest logit, as ``top`` does, and True for rows without NaN or inf.

    On a processor some rows at a time, which are made wider and looked at twice while they are in
    the cache.
    """
    several = max(1, CACHED // logits.shape[1]) if logits.device.type == "cpu" else len(logits)
    parts = [(top(rows), rows.sum(-1)) for rows in map(single, logits.split(several))]
    tops, sums = map(torch.cat, zip(*parts, strict=True)) if len(parts) > 1 else parts[0]
    finite = sums.isfinite()
    return tops, finite if finite.all() else finite_rows(logits)


def single(column: Tensor) -> Tensor:
    """Return float16 as float32, with which a processor is several times faster."""
    return column.float() if column.dtype == torch.float16 else column


@dataclass(frozen=True)
class Bins:
    """Equal bins from ``low`` to ``high``, with one more below and one more above.

    A value belongs to the bin whose lower edge it reaches; ``high`` itself is in the last bin.
    Infinite values are legal and fall below or above. Counts have ``count + 2`` entries.
    """

    low: float
    high: float
    count: int

    @property
    def width(self) -> float:
        """Width of a bin: the resolution of every quantile read from the counts."""
        return (self.high - self.low) / self.count

    @property
    def size(self) -> int:
        """Number of counters."""
        return self.count + 2

    def index(self, values: Float[Tensor, "*s"]) -> Int[Tensor, "*s"]:
        """Counter of every value: 0 below or NaN, 1 to ``count`` inside, ``count + 1`` above."""
        inside = (values.double() - self.low).div_(self.width).floor_()
        # A value a rounding below ``high`` may be divided up to the end of the last bin.
        inside = inside.clamp_(-1, self.count - 1).nan_to_num_(-1.0)
        return inside.long().add_(1).add_(values > self.high)

    def add(
        self,
        counts: Float[Tensor, "*g b"],
        values: Float[Tensor, "*s"],
        group: Int[Tensor, "*#s"],
        moments: Sequence[Float[Tensor, "*g b"]] = (),
    ) -> None:
        """Add the values to the contiguous ``counts`` of their groups, numbered over ``*g``.

        NaN is in no bin. It takes as long as there are values, however many counters there are.
        ``moments`` get what the values of each bin lie above its lower edge, added up, then the
        squares of that.
        """
        own = self.index(values)
        place = group * self.size + own
        flat = place.flatten().to(counts.device)
        known = values.eq(values).to(counts).expand_as(place)
        counts.view(-1).scatter_add_(0, flat, known.flatten())
        if moments:
            added = above = (values - self._edge(own)).expand_as(place)
        for sums in moments:
            sums.view(-1).scatter_add_(0, flat, added.flatten().to(sums))
            added = added * above

    def _edge(self, place: Int[Tensor, "*s"]) -> Float[Tensor, "*s"]:
        """Lower edge of the bins with these counters."""
        return place.double().sub_(1).mul_(self.width).add_(self.low)

    def quantile(self, counts: Float[Tensor, "*s b"], q: float) -> Float[Tensor, "*s"]:
        """Value below which the share q lies, at most one bin width from the sample's own.

        The bin is the one that holds the inverted empirical distribution at q; inside it the
        values are taken as even. -inf where that bin is the one below ``low``, inf where it is the
        one above ``high``, NaN where nothing was counted.
        """
        return self.quantiles(counts, {"": q})[""]

    def quantiles(
        self,
        counts: Float[Tensor, "*s b"],
        qs: Mapping[str, float],
        moments: Sequence[Float[Tensor, "*s b"]] = (),
    ) -> dict[str, Float[Tensor, "*s"]]:
        """Several quantiles by name, as :meth:`quantile` reads each.

        With the sums of each bin its values are taken as even around their mean, as far as the
        nearer edge: exact where all of them stand at one, such as the end of a range. With those of
        their squares no farther than their deviation says: to rounding where all of them are equal.
        """
        total = counts.cumsum(-1)
        whole = total[..., -1:]
        goals = whole * whole.new_tensor(list(qs.values()))
        place = torch.searchsorted(total, goals)
        here = counts.gather(-1, place)
        inside = (goals - (total.gather(-1, place) - here)) / here
        value = self.low + self.width * (place - 1 + inside)
        if moments:
            mean, *square = (sums.gather(-1, place) / here for sums in moments)
            reach = torch.minimum(mean, self.width - mean)
            for one in square:
                reach = torch.minimum(reach, (3 * (one - mean.square()).clamp(min=0)).sqrt())
            reach = reach.where(reach > ROUNDING * self.width, 0.0)
            value = self._edge(place) + mean + (2 * inside - 1) * reach
        value = value.masked_fill(place == 0, -torch.inf)
        value = value.masked_fill(place == self.size - 1, torch.inf)
        value = value.masked_fill(whole == 0, torch.nan).movedim(-1, 0)
        return dict(zip(qs, value.contiguous(), strict=True))

    def quartiles(
        self, counts: Float[Tensor, "*s b"], moments: Sequence[Float[Tensor, "*s b"]] = ()
    ) -> dict[str, Float[Tensor, "*s"]]:
        """The three quartiles, as :meth:`quantiles` reads them: q25, median, q75."""
        return self.quantiles(counts, QUARTILES, moments)


def sum_by_part(
    values: Float[Tensor, "*t b"], samples: Float[Tensor, " b"], parts: int
) -> Float[Tensor, "*t p"]:
    """Sum the bins of equal parts of the samples, such as tenths, those of the lowest bins first.

    A bin goes as a whole to the part of its middle sample.

    Args:
        values: what to sum, by bin.
        samples: number of samples of every bin.
        parts: how many.
    """
    middle = samples.cumsum(0) - samples / 2
    place = (parts * middle / samples.sum().clamp(min=1)).long().clamp(max=parts - 1)
    return values.new_zeros(*values.shape[:-1], parts).index_add(-1, place, values)
