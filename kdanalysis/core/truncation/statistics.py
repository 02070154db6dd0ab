"""What every row of a batch loses to truncation: norms, directions, values, masses."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.core.truncation.algebra import (
    CONVENTIONS,
    Rows,
    known_of,
    on_processor,
    rows_of,
)


class Statistics(NamedTuple):
    """Of every row, K and convention (v, in the order of CONVENTIONS); T^2 included, nats.

    The gradients are of one row's loss in its student logits. A gradient of zero has no direction:
    its cosine is NaN.
    """

    lost_l2: Float[Tensor, "v n k"]  # norm of full KL's gradient less the convention's
    lost_l1: Float[Tensor, "v n k"]  # sum of its absolute entries
    kept_l2: Float[Tensor, "v n k"]  # norm of the convention's gradient
    cosine: Float[Tensor, "v n k"]  # between the convention's gradient and full KL's
    value: Float[Tensor, "v n k"]  # of the convention's loss; it may be below 0 with "none"
    full_l2: Float[Tensor, " n"]  # norm of full KL's gradient
    full_l1: Float[Tensor, " n"]
    full_value: Float[Tensor, " n"]
    tail: Float[Tensor, "n k"]  # teacher's mass outside its K largest classes
    student_tail: Float[Tensor, "n k"]  # student's mass outside them
    overlap: Float[Tensor, "n k"]  # share of the student's K largest classes among them
    entropy: Float[Tensor, " n"]  # of the teacher at T
    noise: Float[Tensor, " n"]  # squared norm of the gradient's noise with one token sampled


def truncate(
    student: Float[Tensor, "n c"],
    teacher: Float[Tensor, "n c"],
    ks: Sequence[int],
    temperature: float | int = 1.0,
) -> Statistics:
    """Return what each K and convention loses of full KL's gradient, exactly, for some rows.

    Two passes of exponentials over the vocabulary a row, and two of additions, whatever the number
    of K; memory is that of two rows in float64. Norms agree with autograd in float64 to 1e-12 of
    full KL's, values to 1e-14 nats.

    Args:
        student: finite logits.
        teacher: finite logits of the same shape.
        ks: ascending, each from 1 to c - 1.
        temperature: T > 0.
    """
    student, teacher = on_processor(student, teacher)
    known = known_of(student, teacher, ks[-1])
    return of_rows(rows_of(student, teacher, temperature, known, ks), ks, temperature)


def of_rows(rows: Rows, ks: Sequence[int], temperature: float | int) -> Statistics:
    """Return the statistics of rows that are laid out already, for the same K."""
    from kdanalysis.core.truncation import gradients  # numba takes a while to load

    samples, many = len(rows.tail), len(ks)
    found = torch.empty(5, len(CONVENTIONS), samples, many, dtype=torch.float64)
    full, masses = found.new_empty(2, samples), found.new_empty(2, samples, many)
    given = (x.contiguous().numpy() for x in (rows.factors, rows.apart))
    top, tail = rows.top.contiguous().numpy(), rows.tail.contiguous().numpy()
    arrays = (x.numpy() for x in (found, full, masses))
    gradients.compare(top, tail, np.array(ks), float(temperature), *given, *arrays)
    p, q, _ = rows.top
    whole = (p * p).sum(-1) + rows.tail[:, 3]
    return Statistics(
        *found,
        full[0],
        temperature * ((q - p).abs().sum(-1) + rows.tail[:, -1]),
        full[1],
        *masses,
        rows.known.overlap[:, torch.tensor(ks) - 1],
        rows.entropy,
        temperature**2 * (1 - whole),
    )
