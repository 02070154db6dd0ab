"""Fixed histograms: quantiles of a stream whose memory does not grow and whose parts add up."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


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
        """Counter of every value: 0 below, 1 to ``count`` inside, ``count + 1`` above."""
        inside = ((values.double() - self.low) / self.width).floor().clamp(-1, self.count)
        inside = torch.where(values == self.high, self.count - 1, inside)
        return inside.long() + 1

    def counts(
        self, values: Float[Tensor, "*s"], group: Int[Tensor, "*s"], num_groups: int
    ) -> Int[Tensor, "g b"]:
        """Count the values of every group, shape (num_groups, count + 2)."""
        flat = (group * self.size + self.index(values)).flatten()
        return flat.bincount(minlength=num_groups * self.size).view(num_groups, self.size)

    def quantile(self, counts: Float[Tensor, "*s b"], q: float) -> Float[Tensor, "*s"]:
        """Value below which the share q lies, at most one bin width from the sample's own.

        The bin is the one that holds the inverted empirical distribution at q; inside it the
        values are taken as even. -inf where that bin is the one below ``low``, inf where it is the
        one above ``high``, NaN where nothing was counted.
        """
        total = counts.cumsum(-1)
        goal = q * total[..., -1:]
        place = (total < goal).sum(-1, keepdim=True)
        here = counts.gather(-1, place)
        inside = (goal - (total.gather(-1, place) - here)) / here
        value = self.low + self.width * (place - 1 + inside)
        value = value.masked_fill(place == 0, -torch.inf)
        value = value.masked_fill(place == self.size - 1, torch.inf)
        return value.masked_fill(total[..., -1:] == 0, torch.nan).squeeze(-1)


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
