"""What every stepping stone sends into every block of the student: one backward walk a stone."""

import torch
from jaxtyping import Float64, Int
from torch import Tensor

from kdanalysis.losses.blocks import Blockwise
from kdanalysis.stones.ladder import Ladder, LadderLogits

PIECE = 100  # samples walked together where batches do not matter


class StoneGradients:
    """Sums of every side's gradient in the student's parameters, block by block, over batches.

    The gradient of side j is that of all of its terms together, weighted as the loss weighs them:
    the vector-Jacobian product of column j of the ladder's logits with their closed-form gradient
    there. Summed over batches and divided by the number of samples it is the gradient of the mean
    over all of them, whatever the batches. The parameters' own ``grad`` stays as it is.

    The memory is that of one gradient of the student's blocks a side, in float64. In evaluation
    mode, in which batches do not matter, they are walked in pieces of 100 samples: what every side
    makes of the step of a piece says how far chance moves it.

    Args:
        ladder: the ladder; in evaluation mode the batches do not matter, in training mode batch
            norm takes its statistics from each.
        loss: on the same stones.

    Raises:
        ValueError: the loss is on other stones than the ladder has, or nothing learns in a block.
    """

    def __init__(self, ladder: Ladder, loss: Blockwise) -> None:
        if (loss.blocks, loss.numbers) != (ladder.blocks, ladder.numbers):
            raise ValueError(
                f"the loss is on the stones {loss.numbers} of {loss.blocks} blocks, the ladder has "
                f"the stones {ladder.numbers} of {ladder.blocks}: make both with the same"
            )
        self.ladder, self.loss, self.count = ladder, loss, 0
        self.sides = tuple(loss.sides)
        self._blocks = {
            name: [p for p in ladder.student.get_submodule(name).parameters() if p.requires_grad]
            for name in ladder.student_blocks
        }
        for name, parameters in self._blocks.items():
            if not parameters:
                raise ValueError(f"the student's block {name!r} has no parameter that learns")
        self._sums: dict[str, Tensor] = {}
        self._shares: dict[str, list[Tensor]] = {name: [] for name in self._blocks}

    def add(
        self, *inputs: Tensor, target: Int[Tensor, " n"], ramp: float | int = 1.0
    ) -> LadderLogits:
        """Run the ladder on a batch, add its gradients, and return its logits without a graph.

        Raises:
            ValueError: as the ladder, or a logit is NaN or infinite.
        """
        size = len(target) if self.ladder.training else PIECE
        pieces = zip(*(one.split(size) for one in (*inputs, target)), strict=True)
        found = [self._add(*piece, ramp=ramp) for piece in pieces]
        return LadderLogits(*(torch.cat(side) for side in zip(*found, strict=True)))

    @torch.enable_grad()
    def _add(self, *batch: Tensor, ramp: float | int) -> LadderLogits:
        *inputs, target = batch
        logits, taught = self.ladder(*inputs)
        slopes = self.loss.gradients(logits.detach(), taught, target, ramp)
        total = sum(slopes.values()).to(logits.dtype)
        parameters = [p for block in self._blocks.values() for p in block]
        sizes = [sum(p.numel() for p in block) for block in self._blocks.values()]
        walks = [
            torch.autograd.grad(
                logits[..., place],
                parameters,
                total[..., place],
                retain_graph=place + 1 < len(self.sides),
                materialize_grads=True,
            )
            for place in range(len(self.sides))
        ]
        rows = torch.stack([torch.cat([g.flatten().double() for g in walk]) for walk in walks])
        for name, found in zip(self._blocks, rows.split(sizes, dim=1), strict=True):
            self._sums[name] = self._sums[name] + found if name in self._sums else found
            along, square = found @ found.sum(0), found.sum(0).square().sum()
            self._shares[name].append((along / square.where(square > 0, torch.nan)).cpu())
        self.count += len(target)
        return LadderLogits(logits.detach(), taught)

    def shares(self) -> dict[str, Float64[Tensor, "pieces sides"]]:
        """What part of its step every side makes of each piece of samples, by block."""
        return {name: torch.stack(shares) for name, shares in self._shares.items()}

    def grams(self) -> dict[str, Float64[Tensor, "sides sides"]]:
        """Inner products of the sides' mean gradients in each block; the student's side first.

        Raises:
            ValueError: no batch was added.
        """
        if not self.count:
            raise ValueError("no batch was added, so there are no gradients")
        means = {name: sums / self.count for name, sums in self._sums.items()}
        return {name: (rows @ rows.T).cpu() for name, rows in means.items()}
