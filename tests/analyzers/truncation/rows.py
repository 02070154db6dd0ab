"""Rows of a small vocabulary with a long tail, and their gradients one by one."""

import numpy as np
import torch

from kdanalysis.core.truncation.algebra import CONVENTIONS

N, V, KS = 60, 50, (1, 4, 16)


def pair(noise: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a student and its teacher, sure in some rows and not in others."""
    generator = torch.Generator().manual_seed(0)
    teacher, more = torch.randn(2, N, V, generator=generator, dtype=torch.float64)
    teacher = teacher * torch.linspace(0.3, 5, N, dtype=torch.float64)[:, None]
    return teacher + noise * more, teacher


def plain(
    student: torch.Tensor, teacher: torch.Tensor, k: int, temperature: float = 1.0, ranked=None
):
    """Gradients (n, c) by name, T^2 included, and values: full KD first, then every convention.

    The known classes are the largest of ``ranked``, the teacher's logits if None.
    """
    log_p, log_q = ((side / temperature).log_softmax(-1).numpy() for side in (teacher, student))
    p, q = np.exp(log_p), np.exp(log_q)
    order = (-(teacher if ranked is None else ranked)).argsort(1).numpy()[:, :k]
    inside = np.zeros(p.shape, bool)
    np.put_along_axis(inside, order, True, 1)
    p_top, q_top = ((x * inside).sum(1, keepdims=True) for x in (p, q))
    ratio = p * (log_p - log_q)
    kept = (ratio * inside).sum(1)
    low = (kept - p_top[:, 0] * np.log(p_top / q_top)[:, 0]) / p_top[:, 0]
    rest = (1 - p_top) * np.log((1 - p_top) / (1 - q_top)) + p_top * np.log(p_top / q_top)
    gradients = {
        "full": q - p,
        "renormalise": inside * (q / q_top - p / p_top),
        "bucket": np.where(inside, q - p, q - q * (1 - p_top) / (1 - q_top)),
        "none": p_top * q - inside * p,
        "teacher": q - inside * p / p_top,
    }
    values = {
        "full": ratio.sum(1),
        "renormalise": low,
        "bucket": p_top[:, 0] * low + rest[:, 0],
        "none": kept,
        "teacher": kept / p_top[:, 0] - np.log(p_top)[:, 0],
    }
    assert list(gradients) == ["full", *CONVENTIONS]
    return (
        {name: temperature * x for name, x in gradients.items()},
        {name: temperature**2 * x for name, x in values.items()},
    )


def fed(kind, student, teacher, *settings, splits=(23,), **about):
    """An analyzer that has seen the rows in two batches."""
    analyzer = kind(V, *settings)
    for rows in np.split(np.arange(len(teacher)), splits):
        more = {name: column[rows] for name, column in about.items()}
        analyzer.update(student[rows], teacher[rows], **more)
    return analyzer
