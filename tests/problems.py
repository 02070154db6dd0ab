"""Losses and batches that the tests of every loss go through."""

import torch

from kdanalysis import (
    DKD,
    GDKD,
    GDKD3,
    JSD,
    KD,
    NKD,
    SDD,
    TVD,
    AlphaBeta,
    AutoK,
    BinaryCrossEntropy,
    Blockwise,
    Confident,
    CrossEntropy,
    Decoupled,
    Groups,
    LogitStandardized,
    RandomSampling,
    Sampled,
    Sigmoid,
    SkewKL,
    Sum,
    Support,
    Target,
    TopK,
    Truncated,
)
from kdanalysis.losses import KDParts

# on whole images
LOSSES = [
    KD(4.0),
    KD(1.0, weight=0.9),
    CrossEntropy(),
    CrossEntropy(weight=0.1),
    CrossEntropy(ignore_index=3),
    BinaryCrossEntropy(0.2),
    Sigmoid(),
    Sigmoid(1.0, present=2.0, absent=8.0),
    Sum(BinaryCrossEntropy(), Sigmoid(2.0)),
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
    Decoupled(TopK(2), (1.0, 0.5, "mass"), 2.0),
    Decoupled(Support((6, 2, -1)), (0.5, "mass", 2.0), divergence="reverse"),
    JSD(),
    JSD(0.1, scale=True, temperature=2.0, weight=0.7),
    JSD(0, k=3),
    JSD(1, k=3, tail="renormalise"),
    JSD(0.9, k=3, temperature=4.0),
    SkewKL(),
    SkewKL(0.3, "reverse", temperature=2.0),
    SkewKL(0, "reverse", k=2),
    SkewKL(k=4, tail="renormalise"),
    TVD(temperature=2.0),
    TVD(k=3),
    AlphaBeta(),
    AlphaBeta(1.0, 0.2, temperature=2.0),
    AlphaBeta(0.5, 0.5, k=3),
    RandomSampling(n=9),
    RandomSampling(n=3, seed=5, temperature=4.0, weight=2.0),
    Sampled("k1", temperature=2.0),
    Sampled("k2"),
    Sum(CrossEntropy(), Truncated(k=3, temperature=2.0)),
    *(
        Truncated(k, tail, divergence, outside=-3.0, support=support, temperature=t)
        for k, tail, t, support in (
            (3, "bucket", 1.0, "teacher"),
            (3, "renormalise", 2.0, "teacher"),
            (6, "none", 2.0, "teacher"),
            (1, "teacher", 4.0, "teacher"),
            (2, "bucket", 2.0, "student"),
            (2, "none", 1.0, "student"),
            (2, "teacher", 1.0, "student"),
        )
        for divergence in ("forward", "reverse")
    ),
    Truncated(2, "none", clamp=0.5),
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
