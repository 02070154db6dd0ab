"""Measures of association agree with scipy's and with plain counting, ties and all."""

from itertools import combinations
from math import inf

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kdanalysis.core.association import MEASURES, associations, inversions
from kdanalysis.core.compiled import expecting

SMOOTH = torch.randn(2, 40, 33, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True, params=["loops", "arrays"])
def _way(request):
    with expecting(inf if request.param == "loops" else 1):
        yield


def of_all(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    (values,), (defined,) = associations(a, b, torch.ones(1, *a.shape, dtype=torch.bool))
    return values, defined


def measured(a: torch.Tensor, b: torch.Tensor) -> dict[str, np.ndarray]:
    values, defined = of_all(a, b)
    assert defined.all()
    return dict(zip(MEASURES, values.T.numpy(), strict=True))


def same_order(x: np.ndarray, y: np.ndarray) -> float:
    signs = [np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]) for i, j in combinations(range(len(x)), 2)]
    return signs.count(1) / (signs.count(1) + signs.count(-1))


REFERENCES = {
    "spearman": lambda x, y: stats.spearmanr(x, y).statistic,
    "kendall": lambda x, y: stats.kendalltau(x, y).statistic,  # scipy's default is tau-b
    "cosine": lambda x, y: stats.pearsonr(x, y).statistic,
    "order": same_order,
}


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("classes", [2, 3, 8, 9, 33])
@pytest.mark.parametrize("levels", [None, 4])
def test_every_measure_agrees_with_its_reference(measure, classes, levels):
    a, b = SMOOTH[:, :, :classes]
    b = a + 0.7 * b
    if levels:  # many ties, on one side and on both
        a, b = (a * levels / 4).round(), (b * levels / 4).round()
        varied = (a.amax(-1) > a.amin(-1)) & (b.amax(-1) > b.amin(-1))
        a, b = a[varied], b[varied]
        assert len(a) > 10
    expected = [REFERENCES[measure](x, y) for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    np.testing.assert_allclose(measured(a, b)[measure], expected, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_ties_are_those_of_the_stored_values(dtype):
    a, b = ((3 * side).to(dtype) for side in SMOOTH)
    a[0, 0], a[0, 1] = 0.0, -0.0  # equal
    for measure in ("spearman", "kendall"):
        wide = zip(a.double().numpy(), b.double().numpy(), strict=True)
        expected = [REFERENCES[measure](x, y) for x, y in wide]
        np.testing.assert_allclose(measured(a, b)[measure], expected, atol=1e-12)


def test_a_constant_row_has_no_relation():
    a, b = SMOOTH.clone()
    a[3], b[5], a[7], b[7] = 2.0, -1.0, 0.0, 0.0
    values, defined = of_all(a, b)
    assert (~defined).nonzero().flatten().tolist() == [3, 5, 7]
    assert values[defined].isfinite().all()


@pytest.mark.parametrize("levels", [None, 3])
def test_of_chosen_entries_the_measures_are_those_of_the_entries_alone(levels):
    a, b = SMOOTH if levels is None else (SMOOTH * levels / 4).round()
    among = torch.stack([torch.arange(33).expand(40, -1) % 3 != 1, SMOOTH[1].argsort(-1) < 20])
    values, defined = associations(a, b, among)
    for one, own, has in zip(among, values, defined, strict=True):
        expected, there = of_all(*(x[one].view(40, -1) for x in (a, b)))
        assert has.equal(there)
        torch.testing.assert_close(own[has], expected[has], rtol=0, atol=1e-14)


def test_one_entry_has_no_relation():
    assert not of_all(SMOOTH[0, :, :1], SMOOTH[1, :, :1])[1].any()


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e150])
def test_the_scale_of_a_side_does_not_matter(scale):
    a, b = SMOOTH
    expected = measured(a, b)
    for measure, values in measured(scale * a, b - 100).items():
        np.testing.assert_allclose(values, expected[measure], atol=1e-12)


def test_perfect_agreement_and_its_opposite_reach_the_ends():
    a = SMOOTH[0]
    same, opposite = measured(a, 2 * a + 1), measured(a, -a)
    for measure, low in zip(MEASURES, (-1, -1, -1, 0), strict=True):
        np.testing.assert_allclose(same[measure], 1, atol=1e-12)
        np.testing.assert_allclose(opposite[measure], low, atol=1e-12)
        assert same[measure].max() <= 1


@given(st.lists(st.lists(st.integers(0, 9), min_size=7, max_size=7), min_size=1, max_size=5))
def test_inversions_are_those_of_plain_counting(rows):
    expected = [sum(x > y for x, y in combinations(row, 2)) for row in rows]
    assert inversions(torch.tensor(rows)).tolist() == expected


def test_the_input_stays_as_it_was():
    a, b = SMOOTH.clone()
    of_all(a, b)
    torch.testing.assert_close(torch.stack((a, b)), SMOOTH, rtol=0, atol=0)
    values = torch.tensor([[3, 1, 2, 0]])
    inversions(values)
    assert values.tolist() == [[3, 1, 2, 0]]
