"""Values sorted into equal bins: counted, added up, and their quantiles read from that."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, sqrt

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.core.compiled import loops_serve

ROUNDING = 1e-6  # of the width of a bin: values that lie no farther apart are equal
QUARTILES = {"q25": 0.25, "median": 0.5, "q75": 0.75}

MEDIAN_ENDS = ("median_low", "median_high")


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
        if loops_serve(values) and values.dtype == torch.float64 and counts.device == values.device:
            from kdanalysis.core.binned import add  # numba takes a while to load

            given = (x.detach().flatten().numpy() for x in torch.broadcast_tensors(values, group))
            sums = (counts, *moments, counts[:0], counts[:0])[:3]
            ends = self.low, self.width, self.high, self.count
            add(*given, *ends, *(one.view(-1).numpy() for one in sums))
            return
        own = self.index(values)
        place = group * self.size + own
        flat = place.flatten().to(counts.device)
        known = values.eq(values).to(counts).expand_as(place)
        counts.view(-1).scatter_add_(0, flat, known.flatten())
        if moments:
            added = above = (values - self._edge(own)).nan_to_num_(0.0, 0.0, 0.0).expand_as(place)
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
        loops = sys.modules.get("kdanalysis.core.binned")  # to load them takes longer than it saves
        wide = {one.dtype for one in (counts, *moments)} == {torch.float64}
        if loops and wide and loops_serve(counts):
            found = counts.new_empty(len(qs), counts[..., 0].numel())
            given = (one.reshape(-1, self.size).numpy() for one in (counts, *moments))
            none = np.empty((0, self.size))
            sums = (*given, none, none)[:3]
            ends = self.low, self.width, ROUNDING * self.width
            loops.quantiles(*sums, np.array([*qs.values()]), *ends, found.numpy())
            return dict(zip(qs, found.view(len(qs), *counts.shape[:-1]), strict=True))
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

    def median_ends(
        self, counts: Float[Tensor, "*s b"], moments: Sequence[Float[Tensor, "*s b"]] = ()
    ) -> dict[str, Float[Tensor, "*s"]]:
        """Ends of the median's 95 % interval: median_low, median_high; NaN of fewer than six.

        Values as far from either end of n as half of them are but 0.98 root n: whatever they are
        drawn from, two modes or one, the true median lies between (Conover, sign test). As
        :meth:`quantiles` reads them.
        """
        n = counts.sum(-1)
        found = {name: torch.full_like(n, torch.nan) for name in MEDIAN_ENDS}
        for size in n.unique().tolist():
            rank = floor(size / 2 + 0.5 - 0.98 * sqrt(size))
            if rank > 0:
                here = n == size
                places = (rank - 0.5) / size, (size + 0.5 - rank) / size
                ends = dict(zip(MEDIAN_ENDS, places, strict=True))
                parts = self.quantiles(counts[here], ends, [one[here] for one in moments])
                for name, values in parts.items():
                    found[name][here] = values
        return found


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
