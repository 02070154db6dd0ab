"""Teachers: several models that teach as one."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kdanalysis.core.arguments import typed
from kdanalysis.core.logits import check_logits
from kdanalysis.core.mixture import Real, check_mixture, mix
from kdanalysis.networks.hook import logits_of


@typed
class Teachers(nn.Module):
    """One teacher made of several: each sees the batch, and their logits are mixed by ``mix``.

        teacher = Teachers(one, two, weights=(2, 1), temperature=4)
        with Recorder("runs/both", loss, student=student, teacher=teacher) as recorder: ...

    A recorder keeps the mixture, which is what the student learns from; ``mixture`` says how each
    teacher lies to it. The models' modes and gradients stay as they are: ``eval()`` reaches them.

    Args:
        *teachers: models that give logits (n, c), as a tensor or in an output.
        weights: one a teacher, above 0, taken as parts of their sum; equal if None.
        of: "probabilities" or "logits".
        temperature: T at which probabilities are mixed: that of the loss.

    Raises:
        ValueError: no model, one that is none, or as ``mix``.
    """

    def __init__(
        self,
        *teachers: Any,
        weights: Iterable[Real] | None = None,
        of: str = "probabilities",
        temperature: Real = 4.0,
    ) -> None:
        super().__init__()
        if not teachers or not all(isinstance(one, nn.Module) for one in teachers):
            kinds = ", ".join(type(one).__name__ for one in teachers) or "nothing"
            raise ValueError(f"Teachers takes one or more modules, got {kinds}")
        self.weights = check_mixture(len(teachers), weights, of, temperature)
        self.of, self.temperature = of, temperature
        self.teachers = nn.ModuleList(teachers)
        self._looked = False  # whether outputs are known to be logits: mixed, they do not show it

    def forward(self, *inputs: Any, **named: Any) -> Float[Tensor, "n c"]:
        """Return the mixed logits of a batch, given to every teacher.

        Raises:
            ValueError: a teacher gives no logits (n, c), in the first batch probabilities, or
                others than the first in shape.
        """
        given = [
            logits_of(one(*inputs, **named), f"teacher {place}")
            for place, one in enumerate(self.teachers)
        ]
        if not (self._looked or torch.compiler.is_compiling()):
            with suppress(RuntimeError):  # under vmap there are no numbers to look at
                for place, one in enumerate(given):
                    check_logits(
                        f"teacher {place}'s outputs", one.detach(), "give models of logits"
                    )
                self._looked = True
        return mix(given, self.weights, self.of, self.temperature)
