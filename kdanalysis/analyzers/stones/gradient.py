"""What the stones of a ladder send into the student's blocks, from inner products of gradients."""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor


def gradient_table(
    grams: Mapping[str, Float[Tensor, "s s"]], sides: Sequence[str], count: int
) -> pd.DataFrame:
    """Columns block, side, norm, cosine, cosine_student, share, n; one row a (block, side).

    - ``norm``: L2 norm of the side's gradient in the block's parameters, of the mean over the n
      samples, weighted as the loss weighs it.
    - ``cosine``: with the gradient of all sides together, ``cosine_student`` with that of the
      student's own terms; NaN where one of the two is zero.
    - ``share``: <g_side, g_total> / ||g_total||^2, the part of the step along the total that the
      side makes; the shares of a block add up to 1, and a side that pulls back has one below 0.

    Args:
        grams: inner products of the sides' gradients, by block.
        sides: names, the student's own first.
        count: n.

    Raises:
        ValueError: a matrix of another size than there are sides.
    """
    frames = []
    for block, gram in grams.items():
        if gram.shape != (len(sides), len(sides)):
            raise ValueError(
                f"the matrix of block {block!r} is {tuple(gram.shape)}, there are {len(sides)} "
                f"sides"
            )
        norm, along, total = gram.diagonal().sqrt(), gram.sum(1), gram.sum()
        values = {
            "norm": norm,
            "cosine": _cosine(along, norm * total.sqrt()),
            "cosine_student": _cosine(gram[0], norm * norm[0]),
            "share": along / total.where(total > 0, torch.nan),
        }
        columns = {name: value.tolist() for name, value in values.items()}
        frames.append(pd.DataFrame({"block": block, "side": list(sides), **columns, "n": count}))
    return pd.concat(frames, ignore_index=True)


def _cosine(product: Tensor, norms: Tensor) -> Tensor:
    return (product / norms.where(norms > 0, torch.nan)).clamp(-1, 1)
