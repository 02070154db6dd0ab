"""Gradients of all samples laid end to end: norms, shares and cosines from a Gram matrix.

With G_st = mean_i <g_i^s, g_i^t> over samples i, any weights w of the terms have

    root mean square norm   sqrt(w' G w)
    cosine to kd            w' G_kd / sqrt(w' G w  G_kd,kd)
    share of a term         w_t sqrt(G_tt) / sum_s w_s sqrt(G_ss)

exactly, where a mean of the samples' own norms or cosines would need every sample again.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.core.compiled import loops_serve
from kdanalysis.core.divergence import slopes
from kdanalysis.core.octaves import exponentials
from kdanalysis.core.sweep.algebra import REACH
from kdanalysis.core.sweep.order import class_order

TERMS = ("high", "low_top", "low_other")
SQUARES = ("square_high", "square_low_top", "square_low_other", "square_kd")
INNER = ("inner_high_low_top", "inner_high_low_other")
WITH_KD = ("inner_high_kd", "inner_low_top_kd", "inner_low_other_kd")
STACKED = (
    *("rms_high", "rms_low_top", "rms_low_other", "rms_kd", "rms_total"),
    "cosine_batch_total_kd",
    *("share_batch_high", "share_batch_low_top", "share_batch_low_other"),
)


def stacked(
    means: Mapping[str, Float[Tensor, "*s"]], weights: Sequence[float | int]
) -> dict[str, Float[Tensor, "*s"]]:
    """Return STACKED by name; NaN where a cosine or a share would be 0 over 0.

    Args:
        means: SQUARES, INNER and WITH_KD over samples, T^2 included. low_top and low_other share
            no class: their product is 0.
        weights: of high, low_top and low_other.
    """
    w_high, w_top, w_other = weights
    squares = [means[name] for name in SQUARES]
    total = sum(w * w * square for w, square in zip(weights, squares, strict=False))
    crossed = [w * means[name] for w, name in zip((w_top, w_other), INNER, strict=True)]
    total = (total + 2 * w_high * (crossed[0] + crossed[1])).clamp(min=0).sqrt()
    *norms, kd = (square.sqrt() for square in squares)
    along = sum(w * means[name] for w, name in zip(weights, WITH_KD, strict=True))
    weighted = [w * norm for w, norm in zip(weights, norms, strict=True)]
    shares = [part / (weighted[0] + weighted[1] + weighted[2]) for part in weighted]
    return dict(zip(STACKED, (*norms, kd, total, along / total / kd, *shares), strict=True))


def with_cross_entropy(
    student: Float[Tensor, "n c"],
    teacher: Float[Tensor, "n c"],
    target: Int[Tensor, " n"] | Float[Tensor, "n c"],
    temperatures: Sequence[float | int],
    ks: Sequence[int],
) -> tuple[Float[Tensor, "t 4 k"], Float[Tensor, ""]]:
    """Return sums over samples of <ce, term> for high, low_top, low_other and kd, and of <ce, ce>.

    With u = softmax(student) - label, or - y of a distribution y (of a sum s: s softmax(student) -
    y), and in a group A = sum u q, B = sum u p,

        <u, high> = D (A_top/Q_top - A_other/Q_other)
        <u, low> = A/Q - B/P
        <u, kd> = sum u (q - p)

    times T; D = Q - P of the top group. Samples whose (max - min logit) / T is beyond 300 are
    computed one k after the other.
    """
    order = class_order(teacher)
    student, teacher = student.double(), teacher.double()
    spans = [side.amax(-1) - side.amin(-1) for side in (student, teacher)]
    ce = student.softmax(-1)
    if target.dim() == 2:
        ce = ce * target.sum(-1, keepdim=True) - target
    else:
        ce[torch.arange(len(ce), device=ce.device), target] -= 1
    ce, *sides = (side.gather(-1, order) for side in (ce, student, teacher))
    below = [side - side.amax(-1, keepdim=True) for side in sides]
    found = ce.new_zeros(len(temperatures), 4, len(ks))
    pairs = zip(*(exponentials(side, temperatures) for side in below), strict=True)
    for (row, q), (_, p) in pairs:
        temperature = temperatures[row]
        steep = torch.maximum(*spans) > REACH[torch.float64] * temperature
        if loops_serve(teacher, len(temperatures)):
            _add_compiled(q, p, ce, ~steep, ks, found[row])
        else:
            found[row] = _products(q, p, ce, ks)[:, ~steep].sum(1)
        found[row] *= temperature
        if steep.any():
            far = (side[steep] for side in (*sides, ce))
            found[row] += _one_by_one(*far, temperature, ks)
    return found, ce.square().sum()


def _add_compiled(
    q: Tensor, p: Tensor, ce: Tensor, rows: Tensor, ks: Sequence[int], found: Tensor
) -> None:
    from kdanalysis.core.sweep.crossed import add_products  # numba takes a while to load

    ends = np.array((*ks, ce.shape[1]))
    add_products(*(x.numpy() for x in (q, p, ce, rows)), ends, found.numpy())


def _products(
    q: Float[Tensor, "n c"], p: Float[Tensor, "n c"], ce: Float[Tensor, "n c"], ks: Sequence[int]
) -> Float[Tensor, "t n k"]:
    """Inner products by sample, over T; of exponentials of both sides in the teacher's order."""
    (q_top, q_other), (p_top, p_other), (a_top, a_other), (b_top, b_other) = (
        _both_groups(x, ks) for x in (q, p, ce * q, ce * p)
    )
    q_all, p_all = q_top + q_other, p_top + p_other
    high = (p_other / p_all - q_other / q_all) * (a_top / q_top - a_other / q_other)
    low_top, low_other = a_top / q_top - b_top / p_top, a_other / q_other - b_other / p_other
    kd = (a_top + a_other) / q_all - (b_top + b_other) / p_all
    return torch.stack((high, low_top, low_other, kd))


def _both_groups(
    values: Float[Tensor, "n c"], ks: Sequence[int]
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
    """Sums over the first k classes and over all others, each added up from its own end."""
    between, classes = values, values.shape[1]
    if len(ks) < classes - 1:
        part = torch.bucketize(torch.arange(classes), torch.tensor(ks), right=True)
        between = values.new_zeros(len(values), len(ks) + 1)
        between.index_add_(1, part.to(values.device), values)
    return between.cumsum(-1)[:, :-1], between.flip(-1).cumsum(-1).flip(-1)[:, 1:]


def _one_by_one(
    student: Tensor, teacher: Tensor, ce: Tensor, temperature: float | int, ks: Sequence[int]
) -> Float[Tensor, "t k"]:
    """Sums over samples, by the closed forms of every single partition."""
    place = torch.arange(ce.shape[1], device=ce.device)
    q, p = ((side / temperature).softmax(-1) for side in (student, teacher))
    kd = temperature * (ce * (q - p)).sum()
    columns = []
    for k in ks:
        members = place[:k].expand(len(ce), -1), None
        high, low = slopes(student, teacher, members, (1.0, 1.0, 1.0), temperature)
        columns.append(torch.stack([*((ce * part).sum() for part in (high, *low)), kd]))
    return torch.stack(columns, -1)
