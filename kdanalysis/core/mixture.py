"""Several teachers as one: their logits, or what they say at a temperature, mixed by weights."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.core.arguments import typed
from kdanalysis.core.streams import check_temperature

Real = int | float
OF = ("probabilities", "logits")


@typed
def mix(
    logits: Sequence[Float[Tensor, "*n c"]],
    weights: Iterable[Real] | None = None,
    of: str = "probabilities",
    temperature: Real = 4.0,
) -> Float[Tensor, "*n c"]:
    """Return the logits z of one teacher in place of several, z_1 to z_m, with weights w_i.

        "probabilities":  z = T log sum_i w_i softmax(z_i / T)
        "logits":         z = sum_i w_i z_i

    At the temperature T of the mixture a loss so sees the mean of the teachers' softened
    distributions, and the gradient of KD is the weighted sum of its gradients for each teacher; at
    another T it is not. Mean logits are the teachers' geometric mean at every T. Half precision is
    computed in float32.

    Args:
        logits: of every teacher, for the same samples and classes.
        weights: one a teacher, above 0, taken as parts of their sum; equal if None.
        of: what is mixed.
        temperature: T > 0 of "probabilities": that of the loss.

    Raises:
        ValueError: no teacher, shapes that differ, weights or a temperature that cannot be used.
    """
    if not len(logits) or any(one.shape != logits[0].shape for one in logits):
        shapes = ", ".join(str(tuple(one.shape)) for one in logits) or "none"
        raise ValueError(f"need the logits of one or more teachers in one shape, got {shapes}")
    parts = check_mixture(len(logits), weights, of, temperature)
    stacked = torch.stack([one.to(torch.promote_types(one.dtype, torch.float32)) for one in logits])
    share = stacked.new_tensor(parts).view(-1, *[1] * logits[0].dim())
    if of == "logits":
        return (share * stacked).sum(0)
    return temperature * ((stacked / temperature).log_softmax(-1) + share.log()).logsumexp(0)


def check_mixture(
    count: int, weights: Iterable[Real] | None, of: str, temperature: Real
) -> tuple[float, ...]:
    """Return the weights as parts of 1.

    Raises:
        ValueError: one a teacher is needed, above 0; ``of`` is unknown; T is none of the losses.
    """
    if of not in OF:
        raise ValueError(f"of is one of {OF}, got {of!r}")
    check_temperature(temperature)
    given = (1.0,) * count if weights is None else tuple(float(w) for w in weights)
    if len(given) != count or any(w <= 0 for w in given):
        raise ValueError(f"need a weight above 0 for each of {count} teachers, got {given}")
    return tuple(w / sum(given) for w in given)
