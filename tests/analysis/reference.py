"""Independent references: one sample at a time in plain numpy and scipy, and seeded logits."""

import numpy as np
import torch
from scipy.special import softmax


def logits(seed: int, n: int = 60, c: int = 12, scale: float = 3.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, c, dtype=torch.float64, generator=generator)


def targets(seed: int, n: int = 60, c: int = 12) -> torch.Tensor:
    return torch.randint(c, (n,), generator=torch.Generator().manual_seed(seed))


def probabilities(values: torch.Tensor, temperature: float) -> np.ndarray:
    return softmax(values.double().numpy() / temperature, axis=-1)


def auto_k(p: np.ndarray, ratio: float = 2.0) -> int:
    """GDKD's rule for one sample, as DESIGN words it; capped at c - 1, 1 where none qualifies."""
    ascending = np.sort(p)
    for i, value in enumerate(ascending):
        if value >= ratio * ascending[: i + 1].mean():
            return min(len(p) - i, len(p) - 1)
    return 1
