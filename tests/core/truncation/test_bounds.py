"""What a cache of one temperature says of the tail at another holds, and can be reached."""

import pytest
import torch

from kdanalysis.core.truncation.bounds import tail_bounds

KS = (1, 3, 20)


def known(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The 20 largest probabilities at T = 1, and the mass outside every K."""
    p = logits.softmax(-1).sort(-1, descending=True).values
    return p[:, : KS[-1]], torch.stack([p[:, k:].sum(-1) for k in KS], -1)


@pytest.mark.parametrize("temperature", [0.5, 0.9, 1.5, 4.0])
def test_the_tail_lies_between(temperature):
    logits = 3 * torch.randn(
        50, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    least, most = tail_bounds(*known(logits), KS, 1 / temperature, 200)
    _, tail = known(logits / temperature)
    assert (least <= tail).all()
    assert (tail <= most).all()
    assert (most - least > 1e-3).any()


def test_at_the_stored_temperature_the_tail_is_known():
    top, tail = known(torch.randn(5, 50, dtype=torch.float64))
    for bound in tail_bounds(top, tail, KS, 1.0, 50):
        torch.testing.assert_close(bound, tail)


@pytest.mark.parametrize(("temperature", "flat", "steep"), [(2.0, 1, 0), (0.5, 0, 1)])
def test_a_flat_and_a_steep_tail_reach_the_ends(temperature, flat, steep):
    """Flat: all others alike. Steep: a few others as likely as the last known, the rest at 0."""
    even = torch.full((1, 60), -3.0, dtype=torch.float64)
    even[:, :20] = 1.0
    peaked = torch.full((1, 60), -200.0, dtype=torch.float64)
    peaked[:, :27] = 1.0
    for logits, end in ((even, flat), (peaked, steep)):
        bound = tail_bounds(*known(logits), KS, 1 / temperature, 60)[end][:, -1]
        torch.testing.assert_close(bound, known(logits / temperature)[1][:, -1])
