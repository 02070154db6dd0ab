"""What a cache that was written at one temperature knows of the tail at another."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def tail_bounds(
    top: Float[Tensor, "n m"],
    tail: Float[Tensor, "n k"],
    ks: Sequence[int],
    ratio: float,
    classes: int,
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
    """Return the least and the largest mass outside the top K at another temperature.

    Known at the stored T_0 are the K largest p and the mass P_O of the others, none of which is
    above the K-th. With a = T_0 / T and B = sum over the others of p^a, the mass is B / (A + B),
    A the same sum over the top K, and for a < 1

        P_O p_K^(a - 1) <= B <= (c - K)^(1 - a) P_O^a

    the other way round for a > 1. Both ends can be reached but for the whole number of classes.

    Args:
        top: the m largest probabilities of every row at T_0, in descending order.
        tail: P_O for every K.
        ks: each at most m.
        ratio: a = T_0 / T.
        classes: c.
    """
    at = torch.tensor(ks) - 1
    inside = (top**ratio).cumsum(-1)[:, at]
    others = classes - 1.0 - at
    peaked = tail * top[:, at] ** (ratio - 1)
    even = others ** (1 - ratio) * tail**ratio
    masses = [outside / (inside + outside) for outside in (peaked, even)]
    return torch.minimum(*masses), torch.maximum(*masses)
