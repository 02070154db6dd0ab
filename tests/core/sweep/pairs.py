"""Pairs of student and teacher logits that are hard to keep digits on."""

import torch

N, C = 12, 9


def normal(seed: int, scale: float = 3.0, c: int = C) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(N, c, dtype=torch.float64, generator=generator)


def with_class(logits: torch.Tensor, place: int, height: float) -> torch.Tensor:
    raised = logits.clone()
    raised[:, place] += height
    return raised


TEACHER = normal(0)
PROBLEMS = {
    "random": (normal(1), TEACHER),
    "large": (normal(1, 20.0), normal(2, 20.0)),
    "two classes": (normal(1, c=2), normal(2, c=2)),
    "three classes": (normal(1, c=3), normal(2, c=3)),
    "close 1e-2": (TEACHER + normal(1, 1e-2), TEACHER),
    "close 1e-4": (TEACHER + normal(1, 1e-4), TEACHER),
    "close 1e-7": (TEACHER + normal(1, 1e-7), TEACHER),
    "close but for one class": (with_class(TEACHER + normal(1, 1e-5), 4, 3.0), TEACHER),
    "close but for a constant": (TEACHER + normal(1, 1e-2) + 50.0, TEACHER),
    "saturated teacher": (normal(1), with_class(TEACHER, 3, 34.0)),
    "saturated student": (with_class(normal(1), 3, 34.0), TEACHER),
    "both saturated": (with_class(normal(1), 3, 34.0), with_class(TEACHER, 3, 34.0)),
    "saturated and close": (
        with_class(TEACHER, 3, 34.0) + normal(1, 1e-3),
        with_class(TEACHER, 3, 34.0),
    ),
    "student far from a confident teacher": (normal(1, 30.0), normal(2, 30.0)),
    "one-hot": (normal(1), with_class(normal(1, 0.0), 2, 10.0)),
    "flat teacher": (normal(1), normal(0, 0.0)),
    "flat student": (normal(0, 0.0), TEACHER),
    "nearly flat": (normal(1, 1e-2), normal(2, 1e-2)),
    "ties": (normal(1), TEACHER.round()),
    "steep": (normal(1, 400.0), normal(2, 400.0)),
    "some steep": (
        torch.cat((normal(1)[:6], normal(2, 1e4)[:6])),
        torch.cat((TEACHER[:6], normal(3, 1e4)[:6])),
    ),
}
