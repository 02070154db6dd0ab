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


def autograd_gradients(
    student: torch.Tensor, teacher: torch.Tensor, target: torch.Tensor, k: int, temperature: float
) -> dict[str, np.ndarray]:
    """Gradient of every unweighted term by torch's autograd, from renormalised probabilities."""
    rows = {}
    for name in ("ce", "kd", "high", "low_top", "low_other", "tckd", "nckd"):
        leaf = student.double().detach().clone().requires_grad_()
        values = [
            _term(name, z, t, int(y), k, temperature)
            for z, t, y in zip(leaf, teacher.double(), target, strict=True)
        ]
        (gradient,) = torch.autograd.grad(sum(values), leaf)
        rows[name] = gradient.numpy()
    return rows


def top_mass(teacher: torch.Tensor, k: int, temperature: float) -> np.ndarray:
    return np.sort(probabilities(teacher, temperature))[:, ::-1][:, :k].sum(-1)


def _term(name, z, t, y, k, temperature):
    if name == "ce":
        return torch.nn.functional.cross_entropy(z.unsqueeze(0), torch.tensor([y]))
    q, p = (z / temperature).softmax(0), (t / temperature).softmax(0)
    ranked = t.argsort(descending=True).tolist()
    top = [y] if name in ("tckd", "nckd") else ranked[:k]
    rest = [i for i in range(len(t)) if i not in top]
    if name == "kd":
        pair = p, q
    elif name in ("high", "tckd"):
        pair = (torch.stack([x[top].sum(), x[rest].sum()]) for x in (p, q))
    else:
        group = top if name == "low_top" else rest
        pair = (x[group] / x[group].sum() for x in (p, q))
    a, b = pair
    return temperature**2 * (a * (a / b).log()).sum()


def regions(seed: int, n: int = 40, c: int = 5, r: int = 21) -> torch.Tensor:
    """Region logits (n, c, r) that partly agree with their image's first region."""
    generator = torch.Generator().manual_seed(seed)
    whole = torch.randn(n, c, 1, dtype=torch.float64, generator=generator)
    return 2 * whole + torch.randn(n, c, r, dtype=torch.float64, generator=generator)


def region_facts(teacher: torch.Tensor, target: torch.Tensor) -> list[dict]:
    """One dict an (image, region) pair, by a loop: place, classes and the kind by its words."""
    top, rows = teacher.numpy().argmax(1), []
    places = [(m, i, j) for m in (1, 2, 4) for i in range(m) for j in range(m)]
    for n, y in enumerate(target.tolist()):
        for region, (m, i, j) in enumerate(places):
            local, whole = int(top[n, region]), int(top[n, 0])
            words = f"G{'T' if whole == y else 'W'}-L{'T' if local == y else 'W'}"
            if words == "GW-LW":
                words += " same" if local == whole else " other"
            place = {"n": n, "region": region, "scale": m, "row": i, "column": j}
            rows.append(place | {"label": y, "local": local, "whole": whole, "case": words})
    return rows
