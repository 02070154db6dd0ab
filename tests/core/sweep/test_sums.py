"""The compiled loops give what the operations on whole arrays give, for any pair of logits."""

from math import log, log1p

import numpy as np
import pytest
import torch

from kdanalysis.core.sweep import sums as fused
from kdanalysis.core.sweep.algebra import DEFINED, PLAIN, add_up, sample_statistics, sweep_terms
from kdanalysis.core.sweep.logarithm import log as compiled_log
from kdanalysis.core.sweep.logarithm import log_ratio
from kdanalysis.core.sweep.loops import LANES
from kdanalysis.core.sweep.order import rank

from .pairs import PROBLEMS, TEACHER, normal

WEIGHTS = (0.5, 2.0, 8.0)
TERMS = ("high", "low_top", "low_other", "kd", "total")


def both(student, teacher, temperature, ks=None, dtype=torch.float64):
    """Sums and counts of the compiled loops, and those of whole arrays in float64."""
    ours = fused.sums_over_samples(rank(student, teacher, dtype), temperature, ks, WEIGHTS)
    swept = sweep_terms(rank(student, teacher), temperature, ks)
    return ours, add_up(sample_statistics(swept, WEIGHTS))


@pytest.mark.parametrize("temperature", [0.5, 4])
@pytest.mark.parametrize("name", PROBLEMS)
def test_every_sample_is_as_by_whole_arrays(name, temperature):
    """Where a gradient is far below the logits' scale, its direction is rounding on both ways."""
    for student, teacher in zip(*(side.split(1) for side in PROBLEMS[name]), strict=True):
        (sums, counts), (expected, there) = both(student, teacher, temperature)
        assert torch.equal(counts, there)
        floor = 1e-6 * max(student.abs().max(), teacher.abs().max())
        norms = dict(zip(PLAIN, expected, strict=False))
        for row, column in enumerate((*PLAIN, *DEFINED)):
            felt = [norms[f"norm_{term}"] > floor for term in TERMS if term in column]
            near = torch.stack([*felt, torch.ones_like(norms["mass_top"], dtype=bool)]).all(0)
            error = (sums[row] - expected[row]).abs() - 1e-8 * expected[row].abs()
            assert (error[near] <= (1e-12 if column in DEFINED else 1e-15)).all(), column
            assert "norm" not in column or (error <= 1e-9 * floor).all(), column


def test_the_loops_are_used(monkeypatch):
    calls, own = [], fused.loops.collect
    monkeypatch.setattr(fused.loops, "collect", lambda *args: calls.append(args) or own(*args))
    fused.sums_over_samples(rank(normal(1), TEACHER), 4, None, WEIGHTS)
    assert len(calls) == 1


@pytest.mark.parametrize("name", ["random", "some steep", "steep", "ties"])
def test_statistics_of_samples_are_in_the_order_of_the_samples(name):
    ranked, ks = rank(*PROBLEMS[name]), torch.tensor([1, 3, 8])
    each = fused.of_every_sample(ranked, 1, ks, WEIGHTS)
    expected = sample_statistics(sweep_terms(ranked, 1, ks), WEIGHTS)
    torch.testing.assert_close(each[: len(PLAIN)], expected[: len(PLAIN)], rtol=1e-9, atol=1e-12)
    assert torch.equal(each.isnan(), ~expected.isfinite())
    sums, counts = fused.sums_over_samples(ranked, 1, ks, WEIGHTS)
    torch.testing.assert_close(each.nansum(-1), sums, rtol=1e-12, atol=1e-12)
    assert torch.equal(each[len(PLAIN) :].isfinite().sum(-1).double(), counts)


@pytest.mark.parametrize("samples", [1, LANES - 1, LANES, LANES + 1, 3 * LANES + 5])
def test_any_number_of_samples_is_summed(samples):
    student, teacher = torch.randn(2, samples, 7, dtype=torch.float64)
    (sums, counts), (expected, there) = both(student, teacher, 2)
    torch.testing.assert_close(sums, expected, rtol=1e-9, atol=1e-11 * samples)
    assert torch.equal(counts, there)


def test_a_sample_without_a_gradient_is_left_out_of_directions_alone():
    student = normal(1)
    student[2] = TEACHER[2]
    (sums, counts), (expected, there) = both(student, TEACHER, 1)
    torch.testing.assert_close(sums, expected, rtol=1e-9, atol=1e-12)
    assert torch.equal(counts, there)
    assert counts[0].tolist() == [11] * 8  # of 12; the cosine of high and kd


def test_chosen_ks_are_columns_of_all():
    every, _ = both(normal(1), TEACHER, 2)
    some, _ = both(normal(1), TEACHER, 2, torch.tensor([1, 4, 8]))
    for a, b in zip(every, some, strict=True):
        assert torch.equal(a[:, [0, 3, 7]], b)


def test_float32_logits_are_summed_in_float64():
    student, teacher = normal(1), TEACHER
    (sums, _), (expected, _) = both(student, teacher, 4, dtype=torch.float32)
    assert sums.dtype == torch.float64
    torch.testing.assert_close(sums, expected, rtol=1e-4, atol=1e-4)


def test_the_logarithm_is_exact_to_the_last_digits():
    xs = [*np.geomspace(1e-300, 1e300, 997), *np.linspace(0.5, 2, 997), 1.0, np.nextafter(1, 2)]
    for x in xs:
        assert compiled_log(float(x)) == pytest.approx(log(x), rel=4e-16, abs=1e-17)


def test_the_logarithm_of_a_ratio_keeps_the_digits_of_a_small_change():
    for size in np.geomspace(1e-300, 0.9999, 499):
        for change in (-size, size):
            assert log_ratio(change, 1 + change) == pytest.approx(log1p(change), rel=4e-16)
    for change in np.geomspace(1, 1e12, 99):
        assert log_ratio(change, 1 + change) == pytest.approx(log1p(change), rel=4e-16)
    for ratio in (1e-12, 1e-200):
        assert log_ratio(ratio - 1, ratio) == pytest.approx(log(ratio), rel=4e-16)
