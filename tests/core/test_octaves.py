"""Exponentials at many temperatures, of which some are squares of others."""

import pytest
import torch

from kdanalysis.core.octaves import exponentials, log_sums

LADDERS = {
    "octaves": (1.0, 2.0, 4.0, 8.0),
    "in any order": (4.0, 1.0, 3.0, 0.5, 12.0),
    "quarter octaves": tuple(2.0 ** (step / 4) for step in range(-8, 17)),
    "far apart": (2.0**13, 0.25, 2.0**-9, 2.0**5),
    "one": (3.7,),
}


@pytest.mark.parametrize("ladder", LADDERS.values(), ids=LADDERS)
def test_every_temperature_has_its_exponentials_once(ladder):
    below = -torch.rand(50, 40, dtype=torch.float64) * 30
    below[0, 0], below[1, 1] = 0, -torch.inf
    found = {place: powers.clone() for place, powers in exponentials(below, ladder)}
    assert sorted(found) == list(range(len(ladder)))
    for place, temperature in enumerate(ladder):
        expected = (below / temperature).exp()
        torch.testing.assert_close(found[place], expected, rtol=3e-13, atol=1e-300)


def test_sums_are_logsumexp_of_every_temperature_and_of_nothing_minus_infinity():
    logits = 40 * torch.randn(20, 30, dtype=torch.float64)
    logits[0], logits[1, :29] = -torch.inf, -torch.inf
    ladder = LADDERS["in any order"]
    expected = torch.stack([(logits / t).logsumexp(-1) for t in ladder])
    torch.testing.assert_close(log_sums(logits, ladder), expected, rtol=1e-12, atol=1e-12)
