"""Closed forms of truncated losses against autograd and plain sums, a row and a K at a time."""

import pytest
import torch

from kdanalysis.core.truncation.algebra import CONVENTIONS
from kdanalysis.core.truncation.statistics import truncate

N, V, KS = 7, 300, (1, 2, 9, 64)


def pair(
    scale: float = 2.0, noise: float = 1.0, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """A student and its teacher, with a long tail."""
    generator = torch.Generator().manual_seed(seed)
    teacher, more = torch.randn(2, N, V, generator=generator, dtype=torch.float64)
    return scale * teacher + noise * more, scale * teacher


def published(name: str, log_q: torch.Tensor, p: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Value of one row's loss, written from the log-probabilities that are kept."""
    if name == "full":
        return (p * (p.log() - log_q)).sum()
    log_p, log_q = p[ids].log(), log_q[ids]
    if name == "renormalise":
        log_p, log_q = log_p.log_softmax(0), log_q.log_softmax(0)
    elif name == "bucket":
        rest = [torch.log1p(-x.exp().sum()).unsqueeze(0) for x in (log_p, log_q)]
        log_p, log_q = (torch.cat(x) for x in zip((log_p, log_q), rest, strict=True))
    elif name == "teacher":
        log_p = log_p.log_softmax(0)
    return (log_p.exp() * (log_p - log_q)).sum()


def by_autograd(name, student, teacher, k, temperature):
    """Value and gradient of one row, T^2 included."""
    z = student.clone().requires_grad_()
    p = (teacher / temperature).softmax(0)
    log_q = (z / temperature).log_softmax(0)
    value = temperature**2 * published(name, log_q, p, teacher.argsort(descending=True)[:k])
    return value.detach(), torch.autograd.grad(value, z)[0]


@pytest.mark.parametrize("noise", [1.0, 1e-3])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("name", CONVENTIONS)
def test_every_number_is_autograds(name, temperature, noise):
    student, teacher = pair(noise=noise)
    found, place = truncate(student, teacher, KS, temperature), CONVENTIONS.index(name)
    for row in range(N):
        value, full = by_autograd("full", student[row], teacher[row], V, temperature)
        digits = 1e-12 if noise == 1 else 1e-10  # autograd's own, of a difference of close numbers
        close = {"rel": digits, "abs": digits * float(full.norm())}
        assert found.full_l2[row] == pytest.approx(float(full.norm()), **close)
        assert found.full_l1[row] == pytest.approx(float(full.abs().sum()), rel=digits)
        assert found.full_value[row] == pytest.approx(float(value), rel=1e-12, abs=1e-14)
        for column, k in enumerate(KS):
            value, kept = by_autograd(name, student[row], teacher[row], k, temperature)
            at = (place, row, column)
            assert found.lost_l2[at] == pytest.approx(float((full - kept).norm()), **close)
            assert found.lost_l1[at] == pytest.approx(float((full - kept).abs().sum()), **close)
            assert found.kept_l2[at] == pytest.approx(float(kept.norm()), **close)
            assert found.value[at] == pytest.approx(float(value), rel=1e-12, abs=1e-13)
            if (name, k) != ("renormalise", 1):
                cosine = torch.cosine_similarity(full, kept, 0)
                assert found.cosine[at] == pytest.approx(float(cosine), abs=digits)
