"""Connectors after the fact: ridge regression from a student's features to its teacher's.

Nothing is trained: both networks stay as they are, their features are read once, batch by batch,
and the connectors follow in closed form, so that a ladder can be looked at for any pair. Every
position of a map, and every token, is a row. Index legend: x student's channels (d), y teacher's
(e), both less their means over all rows; l the strength.

    W = (X'X + l mean(diag X'X) I)^-1 X'Y        R^2 = 1 - ||Y - X W||^2 / ||Y||^2
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kdanalysis.core.arguments import typed
from kdanalysis.losses.blocks import choose_stones
from kdanalysis.networks.mode import evaluating
from kdanalysis.stones.connectors import Resize, linear_map
from kdanalysis.stones.pair import both_outputs, find_both, inputs_of


class FittedConnectors(NamedTuple):
    """Connectors for a ``Ladder``, and how much of the teacher's features each explains."""

    connectors: list[nn.Module]
    r2: list[float]  # share of the variance over all rows and channels, at most 1
    rows: list[int]


class Regression:
    """One stone's: sums of products of rows of x and y, in float64, are all that it needs."""

    def __init__(self, stone: int) -> None:
        self.stone, self.count = stone, 0
        self.connector: nn.Sequential | None = None
        self.origin: tuple[Tensor, ...] = ()  # near the means, so that sums of squares lose nothing
        self.sums: tuple[Tensor, ...] = ()

    def add(self, ours: Tensor, theirs: Tensor) -> None:
        """Add what the blocks of both sides gave for a batch."""
        if self.connector is None:
            with torch.random.fork_rng(devices=[]):  # the weights it is made with do not count
                layers = linear_map(ours.shape, theirs.shape, self.stone, bias=True)
            self.connector = nn.Sequential(*layers).to(ours.device, ours.dtype)
        alike = ours.dim() < 4 or ours.shape[2:] == theirs.shape[2:]
        x = rows_of(ours if alike else Resize(theirs.shape[2:])(ours)).double()
        y = rows_of(theirs).double()
        self.origin = self.origin or (x.mean(0), y.mean(0))
        x, y = (rows - origin for rows, origin in zip((x, y), self.origin, strict=True))
        found = x.sum(0), y.sum(0), x.T @ x, x.T @ y, y.square().sum()
        if self.count:
            found = tuple(old + new for old, new in zip(self.sums, found, strict=True))
        self.sums, self.count = found, self.count + len(x)

    def solve(
        self, strength: float | int
    ) -> tuple[Float[Tensor, "d e"], Float[Tensor, " e"], float]:
        """Return weights, bias and R^2 of the rows themselves; NaN where y does not vary.

        Raises:
            ValueError: there are fewer than two rows, or a row holds NaN or an infinite value.
        """
        if self.count < 2:
            raise ValueError(f"a regression needs at least 2 rows, got {self.count}")
        if not all(value.isfinite().all() for value in self.sums):
            raise ValueError(
                f"the features of stone {self.stone} hold NaN or infinite values: a regression "
                f"needs finite ones"
            )
        x, y, xx, xy, yy = (value.cpu() for value in self.sums)
        zeros = tuple(value.cpu() for value in self.origin)
        x, y = x / self.count, y / self.count
        xx = xx - self.count * torch.outer(x, x)
        xy = xy - self.count * torch.outer(x, y)
        total = yy - self.count * y.square().sum()
        # channels may be dead, or add up to a constant after a norm: such directions weigh nothing
        alive = xx.diagonal() > self.count * (1e-12 * zeros[0]).square()
        ridged = xx + strength * xx.diagonal().mean() * torch.eye(len(x), dtype=torch.float64)
        unit = torch.where(alive, ridged.diagonal().rsqrt(), 0.0).unsqueeze(1)
        values, vectors = torch.linalg.eigh(unit * ridged * unit.T)
        kept = values > 1e-10 * values.max()
        span, rest = unit * vectors[:, kept], unit * vectors[:, ~kept]
        weight = span / values[kept] @ (span.T @ xy)
        weight = weight - rest @ (torch.linalg.pinv(rest) @ weight)  # the smallest such weight
        left = total - 2 * (weight * xy).sum() + (weight * (xx @ weight)).sum()
        x, y = x + zeros[0], y + zeros[1]
        known = total > 1e-12 * self.count * y.square().sum()
        return weight, y - x @ weight, float(1 - left / total) if known else float("nan")

    def finish(self, strength: float | int) -> tuple[nn.Module, float, int]:
        """Return the fitted connector, its R^2 and the number of rows."""
        weight, bias, r2 = self.solve(strength)
        layer = next(one for one in self.connector if not isinstance(one, Resize))
        layer.weight.copy_(weight.T.reshape(layer.weight.shape))
        layer.bias.copy_(bias)
        return self.connector, r2, self.count


@torch.no_grad()
@typed
def fit_connectors(
    student: nn.Module,
    teacher: nn.Module,
    batches: Iterable[Tensor | tuple],
    student_blocks: Sequence[str] | None = None,
    teacher_blocks: Sequence[str] | None = None,
    *,
    stones: Iterable[int] | None = None,
    light: bool = False,
    strength: float | int = 1e-3,
) -> FittedConnectors:
    """Fit a connector for every stone, streaming over batches of images.

    The memory is that of the sums, (d + e) d numbers a stone, and of one batch.

    Args:
        student: run in evaluation mode, and left in its own.
        teacher: in evaluation mode, on the same device.
        batches: images, or tuples of a model's inputs.
        student_blocks: as for ``Ladder``.
        teacher_blocks: likewise.
        stones: likewise.
        light: likewise.
        strength: l, relative to the mean variance of the student's channels; 0 for least squares.

    Raises:
        ValueError: as for ``Ladder``, there are no images, their features are not finite, a batch
            is neither a tensor nor a tuple, or the strength is negative.
    """
    if not 0 <= strength < float("inf"):
        raise ValueError(f"strength must be a finite number from 0, got {strength!r}")
    ours, theirs = find_both(student, teacher, student_blocks, teacher_blocks)
    numbers = choose_stones(len(ours), stones, light)
    found = [Regression(number) for number in numbers]
    with evaluating(student):
        for batch in batches:
            seen = both_outputs(student, teacher, ours, theirs, inputs_of(batch))
            pairs = list(zip(seen.ours, seen.theirs.values(), strict=True))
            for one in found:
                one.add(*pairs[one.stone - 1])
    if not found[0].count:
        raise ValueError("there are no images to fit connectors on")
    return FittedConnectors(*map(list, zip(*(one.finish(strength) for one in found), strict=True)))


def rows_of(values: Tensor) -> Float[Tensor, "p d"]:
    """Return every position of maps (n, d, h, w), every token or every vector as a row."""
    last = values.movedim(1, -1) if values.dim() == 4 else values
    return last.reshape(-1, last.shape[-1])
