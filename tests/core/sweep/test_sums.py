"""The compiled loops give what the operations on whole arrays give, for any pair of logits."""

from math import log, log1p

import numpy as np
import pytest
import torch

from kdanalysis.analyzers.chunks import chunks
from kdanalysis.analyzers.sweep.sweep import TermSweep
from kdanalysis.core.compiled import WORTH, expecting
from kdanalysis.core.sweep import loops
from kdanalysis.core.sweep import sums as fused
from kdanalysis.core.sweep.algebra import DEFINED, PLAIN, add_up, sample_statistics, sweep_terms
from kdanalysis.core.sweep.elementary import exp, expm1, log_ratio
from kdanalysis.core.sweep.groups import ALMOST_GONE
from kdanalysis.core.sweep.loops import LANES
from kdanalysis.core.sweep.order import rank

from .pairs import PROBLEMS, TEACHER, normal

WEIGHTS = (0.5, 2.0, 8.0)
TERMS = ("high", "low_top", "low_other", "kd", "total")


def both(student, teacher, temperature, ks=None):
    """Sums and counts of the compiled loops, and those of whole arrays in float64."""
    ks = ks or range(1, teacher.shape[1])
    ours = fused.sums_over_samples(student, teacher, (temperature,), ks, WEIGHTS)
    swept = sweep_terms(rank(student, teacher), temperature, torch.tensor(ks))
    return [part[0] for part in ours], add_up(sample_statistics(swept, WEIGHTS))


@pytest.mark.parametrize("ks", [None, (1, 2, 6)])
@pytest.mark.parametrize("temperature", [0.5, 4])
@pytest.mark.parametrize("name", PROBLEMS)
def test_every_sample_is_as_by_whole_arrays(name, temperature, ks):
    """Where a gradient is far below the logits' scale, its direction is rounding on both ways."""
    for student, teacher in zip(*(side.split(1) for side in PROBLEMS[name]), strict=True):
        (sums, counts), (expected, there) = both(
            student, teacher, temperature, ks and [k for k in ks if k < teacher.shape[1]]
        )
        assert torch.equal(counts, there)
        floor = 1e-6 * max(student.abs().max(), teacher.abs().max())
        norms = dict(zip(PLAIN, expected, strict=False))
        for row, column in enumerate((*PLAIN, *DEFINED)):
            felt = [norms[f"norm_{term}"] > floor for term in TERMS if term in column]
            near = torch.stack([*felt, torch.ones_like(norms["mass_top"], dtype=bool)]).all(0)
            error = (sums[row] - expected[row]).abs() - 1e-8 * expected[row].abs()
            rounding = max(1e-15, temperature**2 * np.finfo(float).eps)  # of a value, which has T^2
            assert (error[near] <= (1e-12 if column in DEFINED else rounding)).all(), column
            assert "norm" not in column or (error <= 1e-9 * floor).all(), column


def test_the_loops_are_used(monkeypatch):
    calls, own = [], loops.collect
    monkeypatch.setattr(loops, "collect", lambda *args: calls.append(args) or own(*args))
    fused.sums_over_samples(normal(1), TEACHER, (1, 4), (1, 3), WEIGHTS)
    assert len(calls) == 2


@pytest.mark.parametrize("name", ["random", "some steep", "steep", "ties"])
def test_statistics_of_samples_are_in_the_order_of_the_samples(name):
    pair, ks = PROBLEMS[name], (1, 3, 8)
    each = fused.of_every_sample(*pair, (1,), ks, WEIGHTS)[0]
    expected = sample_statistics(sweep_terms(rank(*pair), 1, torch.tensor(ks)), WEIGHTS)
    torch.testing.assert_close(each[: len(PLAIN)], expected[: len(PLAIN)], rtol=1e-9, atol=1e-12)
    assert torch.equal(each.isnan(), ~expected.isfinite())
    sums, counts = (part[0] for part in fused.sums_over_samples(*pair, (1,), ks, WEIGHTS))
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
    some, _ = both(normal(1), TEACHER, 2, (1, 4, 8))
    for a, b in zip(every, some, strict=True):
        torch.testing.assert_close(a[:, [0, 3, 7]], b, rtol=1e-12, atol=1e-14)


def test_float32_logits_are_summed_in_float64():
    (sums, _), (expected, _) = both(normal(1).float(), TEACHER.float(), 4)
    assert sums.dtype == torch.float64
    torch.testing.assert_close(sums, expected, rtol=1e-10, atol=1e-12)


def test_the_logarithm_is_exact_to_the_last_digits():
    xs = [*np.geomspace(1e-300, 1e300, 997), *np.linspace(0.5, 2, 997), 1.0, np.nextafter(1, 2)]
    for x in xs:
        ours = log_ratio(x - 1, float(x))
        expected = log(x) if x - 1 < ALMOST_GONE else log1p(x - 1)
        assert ours == pytest.approx(expected, rel=4e-16, abs=1e-17)


def test_the_exponential_is_exact_to_the_last_digits():
    for x in (*np.linspace(-700, 700, 997), *np.linspace(-1, 1, 997), 1e-9, -1e-300):
        assert exp(x) == pytest.approx(np.exp(x), rel=4e-16, abs=0)
        assert expm1(x) == pytest.approx(np.expm1(x), rel=6e-16, abs=0)


def test_the_logarithm_of_a_ratio_keeps_the_digits_of_a_small_change():
    for size in np.geomspace(1e-300, 0.9999, 499):
        for change in (-size, size):
            assert log_ratio(change, 1 + change) == pytest.approx(log1p(change), rel=4e-16, abs=0)
    for change in np.geomspace(1, 1e12, 99):
        assert log_ratio(change, 1 + change) == pytest.approx(log1p(change), rel=4e-16, abs=0)
    for ratio in (1e-12, 1e-200):
        assert log_ratio(ratio - 1, ratio) == pytest.approx(log(ratio), rel=4e-16, abs=0)


@pytest.mark.parametrize("threads", [1, 3])
def test_few_logits_are_summed_without_the_loops(monkeypatch, threads):
    pair = [side.repeat(300, 1) for side in PROBLEMS["random"]]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    sweeps = {}
    for kind, logits in (("loops", WORTH), ("arrays", WORTH // fused.LOOKS - 1)):
        with expecting(logits), monkeypatch.context() as patch:
            if kind == "arrays":
                patch.setattr(loops, "collect", None)
            sweeps[kind] = TermSweep(pair[0].shape[1], ks=(1, 3), dtype=torch.float32)
            sweeps[kind].update(*pair)
    assert len(chunks(*pair)) > 1
    for state, found in sweeps["arrays"].states.items():
        torch.testing.assert_close(found, sweeps["loops"].states[state], rtol=1e-11, atol=1e-11)
