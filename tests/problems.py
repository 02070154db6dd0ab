"""Losses and batches that the tests of every loss go through."""

import torch

from kdanalysis import (
    DKD,
    GDKD,
    GDKD3,
    KD,
    NKD,
    AutoK,
    Confident,
    CrossEntropy,
    Decoupled,
    Groups,
    LogitStandardized,
    Sum,
)

LOSSES = [
    KD(4.0),
    KD(1.0, weight=0.9),
    CrossEntropy(),
    CrossEntropy(weight=0.1),
    DKD(),
    DKD(alpha=0.5, beta=2.0, temperature=1.0, partition="top1"),
    GDKD(k=3),
    GDKD(k=1, weights=(1, 2, 8), temperature=2),
    GDKD(k=6),
    GDKD(k=2, strategy="worst"),
    GDKD(k=3, divergence="reverse"),
    GDKD(k=3, divergence="both", temperature=1.0),
    GDKD(k="auto"),
    GDKD(k=AutoK(ratio=1.5, max_k=4)),
    GDKD3(k=2),
    GDKD3(k=4, weights=(0.5, 2, 3)),
    NKD(),
    NKD(temperature=2.0, gamma=0.7),
    NKD(temperature=2.0, official=True),
    Decoupled(Groups((0, 1, 2, 1, 0, 2, 2)), (1.0, 0.5, 2.0, 3.0)),
    Confident(DKD(), 0.02),
    Confident(Sum(KD(), CrossEntropy()), threshold=0.02, side="unsure"),
    Confident(LogitStandardized(KD(2.0)), 0.3, "unsure"),
    LogitStandardized(KD(2.0)),
    LogitStandardized(Sum(GDKD(k=3), CrossEntropy())),
    Sum(CrossEntropy(), DKD()),
    Sum(KD(1.0), KD(4.0)),
]


def batch(seed: int, scale: float = 3.0, n: int = 5, c: int = 7) -> tuple[torch.Tensor, ...]:
    """Return float64 student and teacher logits (n, c) and targets (n,)."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = scale * torch.randn(2, n, c, dtype=torch.float64, generator=generator)
    return student, teacher, torch.randint(c, (n,), generator=generator)
