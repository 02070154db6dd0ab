"""Losses and batches that the tests of every loss go through."""

import torch

from kdanalysis import (
    DKD,
    GDKD,
    GDKD3,
    KD,
    NKD,
    SDD,
    AutoK,
    Blockwise,
    Confident,
    CrossEntropy,
    Decoupled,
    Groups,
    LogitStandardized,
    Sum,
    Target,
    TopK,
)
from kdanalysis.losses import KDParts

# on whole images
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
    KDParts(TopK(3), 2.0),
    KDParts(Target(), 4, ("tckd", None, "nckd"), weight=0.3),
    KDParts(Groups((0, 1, 2, 1, 0, 2, 2)), names=("high", "low_0", "low_1", "low_2")),
    Confident(DKD(), 0.02),
    Confident(Sum(KD(), CrossEntropy()), threshold=0.02, side="unsure"),
    Confident(LogitStandardized(KD(2.0)), 0.3, "unsure"),
    LogitStandardized(KD(2.0)),
    LogitStandardized(Sum(GDKD(k=3), CrossEntropy())),
    Sum(CrossEntropy(), DKD()),
    Sum(KD(1.0), KD(4.0)),
]

BASES = [
    KD(2.0),
    DKD(),
    GDKD(k=3),
    GDKD(k="auto"),
    NKD(),
    NKD(temperature=2.0, official=True),
    CrossEntropy(),
    LogitStandardized(KD()),
    Sum(CrossEntropy(), DKD(temperature=1.0)),
]
ON_REGIONS = [SDD(base, (1, 2)) for base in BASES] + [
    SDD(KD(), (1, 3), 5.0, "correctness", "sum"),
    SDD(KD(), (1, 2), 1.0, consistent_weight=0.5),
    SDD(DKD(), (1,)),
    Sum(CrossEntropy(), SDD(GDKD(k=2), (1, 2), split="correctness")),
]
ON_STONES = [
    Blockwise(),
    Blockwise(DKD(temperature=2.0), task=0.3, distill=2.0, cross=5.0, cross_temperature=1.0),
    Blockwise(GDKD(k=3), blocks=4, light=True),
    Blockwise(LogitStandardized(KD(2.0)), blocks=3, stones=(1, 3), decay=0.7),
    Blockwise(Sum(KD(1.0), DKD()), blocks=1),
]
EVERY = [*LOSSES, *ON_REGIONS, *ON_STONES]


def batch(seed: int, scale: float = 3.0, n: int = 5, c: int = 7) -> tuple[torch.Tensor, ...]:
    """Return float64 student and teacher logits (n, c) and targets (n,)."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = scale * torch.randn(2, n, c, dtype=torch.float64, generator=generator)
    return student, teacher, torch.randint(c, (n,), generator=generator)
