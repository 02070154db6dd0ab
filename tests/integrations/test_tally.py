"""A tally gives few numbers: means over samples since it was last asked."""

import pytest
import torch

from kdanalysis.capture.record import Captured
from kdanalysis.integrations.tally import Tally


def captured(kd: list[float], residual: list[float]) -> Captured:
    values = (torch.tensor(x, dtype=torch.float64) for x in (kd, residual))
    norms, residual = values
    return Captured(0, 0, {"ce": 2 * norms, "kd": norms}, residual)


def test_batches_of_unequal_size_count_by_their_samples_and_non_finite_ones_are_counted():
    tally = Tally()
    tally.add(captured([1.0, 3.0, torch.nan], [0.1, 0.3, torch.nan]))
    tally.add(captured([8.0], [0.2]))
    assert tally.take() == pytest.approx(
        {"kd/norm/ce": 8.0, "kd/norm/kd": 4.0, "kd/residual": 0.3, "kd/non_finite": 1.0}
    )


def test_what_was_taken_is_gone_and_what_is_unknown_is_not_a_number_in_a_log():
    tally = Tally()
    tally.add(captured([1.0], [0.1]))
    tally.take()
    assert tally.take() == {}
    tally.add(captured([5.0], [torch.nan]))
    assert tally.take() == {"kd/norm/ce": 10.0, "kd/norm/kd": 5.0}
