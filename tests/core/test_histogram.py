"""Histograms: every value in the right bin, and quantiles within a bin of the sample's own."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdanalysis.core.bins import Bins
from kdanalysis.core.compiled import expecting

BINS = Bins(-2.0, 2.0, 40)


def counted(values: torch.Tensor, group: torch.Tensor, groups: int) -> torch.Tensor:
    """Counts of every group, shape (groups, 42)."""
    counts = torch.zeros(groups, BINS.size, dtype=torch.float64)
    BINS.add(counts, values, group)
    return counts


def test_counts_agree_with_numpy():
    values = torch.linspace(-1.97, 1.97, 301, dtype=torch.float64) + 1e-4  # off the edges
    counts = counted(values, torch.zeros(301, dtype=torch.long), 1)[0]
    expected, _ = np.histogram(values, bins=40, range=(-2, 2))
    assert counts[1:-1].tolist() == expected.tolist()


def test_edges_and_infinities_have_their_places():
    values = torch.tensor([-torch.inf, -2.1, -2.0, 0.0, 2.0, 2.1, torch.inf])
    assert BINS.index(values).tolist() == [0, 0, 1, 21, 40, 41, 41]
    below = torch.tensor([np.nextafter(2.0, 0.0)], dtype=torch.float64)  # is rounded up to the edge
    assert BINS.index(below).tolist() == [40]


def test_nan_is_in_no_bin_and_infinities_are_outside():
    values = torch.tensor([[torch.nan, 0.0], [-torch.inf, torch.inf]])
    counts = counted(values, torch.arange(2).unsqueeze(-1), 2)
    assert counts[0].nonzero().flatten().tolist() == [21]
    assert counts[1].nonzero().flatten().tolist() == [0, 41]
    assert counts.sum(-1).tolist() == [1, 2]


def test_loops_and_arrays_fill_the_same_counters():
    generator = torch.Generator().manual_seed(0)
    values = 2 * torch.randn(3, 50, 4, dtype=torch.float64, generator=generator)
    ends = [torch.nan, torch.inf, -torch.inf, 2.0, np.nextafter(2.0, 0.0), -2.0]
    values[0, :6, 0] = torch.tensor(ends, dtype=torch.float64)
    loops, arrays = torch.zeros(2, 3, 12, BINS.size, dtype=torch.float64)
    group = torch.arange(12).view(3, 1, 4)
    BINS.add(loops[0], values, group, loops[1:].unbind())
    with expecting(1):
        BINS.add(arrays[0], values, group, arrays[1:].unbind())
    assert arrays[0].sum() == 599
    assert loops.equal(arrays)


@pytest.mark.parametrize("many", [0, 1, 2])
def test_loops_and_arrays_read_the_same_quantiles(many):
    """Bit for bit; of nothing, of one value, of ties at an end, and of what lies outside, too."""
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(4, 5, 60, dtype=torch.float64, generator=generator)
    values[0] = values[0].round(decimals=1)
    values[1, :, :40] = 2.0
    values[2] *= 4
    values[3, :4, 1:] = values[3, 0] = torch.nan
    counts, *sums = torch.zeros(3, 4, 5, BINS.size, dtype=torch.float64)
    BINS.add(counts, values, torch.arange(20).view(4, 5, 1), sums)
    qs = {"first": 0.01, "q25": 0.25, "median": 0.5, "q90": 0.9, "last": 1.0}
    loops = BINS.quantiles(counts, qs, sums[:many])
    with expecting(1):
        arrays = BINS.quantiles(counts, qs, sums[:many])
    for name, expected in arrays.items():
        np.testing.assert_array_equal(loops[name], expected)
    assert arrays["median"].isnan().sum() == 1
    assert arrays["first"].isinf().any()
    assert arrays["q90"].isinf().any()


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_of_no_groups_there_are_no_quantiles(shape):
    counts = torch.zeros(*shape, BINS.size, dtype=torch.float64)
    BINS.add(torch.zeros(BINS.size).double(), torch.zeros(1).double(), torch.tensor([0]))  # loads
    with expecting(1):
        arrays = BINS.quartiles(counts)
    loops = BINS.quartiles(counts)
    assert {q: one.shape for q, one in loops.items()} == {q: shape for q in arrays}
    assert {one.shape for one in arrays.values()} == {shape}


@pytest.mark.parametrize("bins", [BINS, Bins(-1.0, 1.0, 1152), Bins(0.0, 0.7, 7)])
def test_a_value_a_rounding_below_the_end_is_in_the_last_bin(bins):
    below = np.nextafter(bins.high, 0.0)
    assert bins.index(torch.tensor([below], dtype=torch.float64)).tolist() == [bins.count]


@given(st.integers(0, 999), st.integers(1, 80), st.sampled_from([0.25, 0.5, 0.75, 0.99]))
def test_quantile_is_within_a_bin_of_the_inverted_distribution(seed, n, q):
    values = torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    values = values.clamp(-1.99, 1.99)
    counts = counted(values, torch.zeros(n, dtype=torch.long), 1)
    exact = np.quantile(values.numpy(), q, method="inverted_cdf")
    assert abs(BINS.quantile(counts, q).item() - exact) <= BINS.width + 1e-12


@given(st.integers(0, 999), st.integers(1, 80), st.sampled_from([0.25, 0.5, 0.75, 0.99]))
def test_sums_of_the_bins_keep_a_quantile_within_a_bin_and_make_equal_values_exact(seed, n, q):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(n, dtype=torch.float64, generator=generator).clamp(-1.99, 1.99)
    two = torch.tensor([0.0, 2.0, -torch.inf], dtype=torch.float64).repeat_interleave(n)
    values, group = torch.cat((values, two)), torch.arange(4).repeat_interleave(n)
    counts, sums = torch.zeros(2, 4, BINS.size, dtype=torch.float64)
    BINS.add(counts, values, group, (sums,))
    found = BINS.quantiles(counts, {"q": q}, (sums,))["q"].tolist()
    exact = np.quantile(values[:n].numpy(), q, method="inverted_cdf")
    assert abs(found[0] - exact) <= BINS.width + 1e-12
    assert found[1:] == [0.0, 2.0, -np.inf]


@given(st.floats(-1.99, 1.99), st.integers(1, 80), st.sampled_from([0.25, 0.5, 0.75, 0.99]))
def test_squares_of_the_bins_make_equal_values_exact_wherever_they_stand(value, n, q):
    values, group = torch.full((n,), value, dtype=torch.float64), torch.zeros(n, dtype=torch.long)
    counts, *moments = torch.zeros(3, 1, BINS.size, dtype=torch.float64)
    BINS.add(counts, values, group, moments)
    assert BINS.quantiles(counts, {"q": q}, moments)["q"].item() == pytest.approx(value, abs=1e-6)


def test_values_that_fill_a_bin_evenly_are_so_with_sums_and_squares_too():
    values = torch.linspace(0.1, 0.2, 1002, dtype=torch.float64)[1:-1]
    group = torch.zeros(1000, dtype=torch.long)
    counts, *moments = torch.zeros(3, 1, BINS.size, dtype=torch.float64)
    BINS.add(counts, values, group, moments)
    found = BINS.quartiles(counts, moments)
    assert [one.item() for one in found.values()] == pytest.approx([0.125, 0.15, 0.175], abs=2e-4)


def test_quantiles_outside_are_infinite_and_without_samples_nan():
    values = torch.tensor([-5.0, -5.0, 5.0, 5.0, 0.0])
    counts = counted(values, torch.tensor([0, 0, 1, 1, 3]), 4)
    low, high, none, one = BINS.quantile(counts, 0.5).tolist()
    assert (low, high) == (-np.inf, np.inf)
    assert np.isnan(none)
    assert one == pytest.approx(0.05)


def test_values_that_require_a_gradient_are_added_as_others():
    counts, values = torch.zeros(1, 4, dtype=torch.float64), torch.rand(5, dtype=torch.float64)
    Bins(0.0, 1.0, 2).add(counts, values.requires_grad_(), torch.zeros(5, dtype=torch.long))
    assert counts.sum() == 5
