"""R^2 of connected features agrees with sklearn's, weighted by the channels' variance."""

import pandas as pd
import pytest
import torch
from sklearn.metrics import r2_score

from kdanalysis.analyzers.stones.connector import ConnectorFit, connector_reading
from kdanalysis.core.wording import minus

G = torch.Generator().manual_seed(0)
MAPS = 7.0 + torch.randn(20, 3, 4, 4, generator=G)
TOKENS = torch.randn(20, 5, 6, generator=G)
NEAR = [0.8 * MAPS, TOKENS + 0.3 * torch.randn(20, 5, 6, generator=G)]
STONES = {"stone_1": 3, "stone_3": 6}


def filled(near=NEAR, theirs=(MAPS, TOKENS), split=9) -> ConnectorFit:
    metric = ConnectorFit(STONES)
    for rows in (slice(None, split), slice(split, None)):
        metric.update([x[rows] for x in near], [y[rows] for y in theirs])
    return metric


def rows(values: torch.Tensor) -> torch.Tensor:
    values = values.movedim(1, -1) if values.dim() == 4 else values
    return values.flatten(0, -2)


def test_r2_agrees_with_sklearn():
    table = filled().table()
    assert table.side.tolist() == ["stone_1", "stone_3"]
    for found, near, theirs in zip(table.r2, NEAR, (MAPS, TOKENS), strict=True):
        expected = r2_score(rows(theirs), rows(near), multioutput="variance_weighted")
        assert found == pytest.approx(expected, rel=1e-5)
    assert table.r2[0] < 0 < table.r2[1] < 1
    assert table.rows.tolist() == [20 * 16, 20 * 5]


def test_bad_samples_are_counted_and_constant_features_have_no_r2():
    tokens, maps = TOKENS.clone(), MAPS.clone()
    maps[2, 0, 0, 0] = tokens[2, 0, 0] = tokens[4, 1, 1] = torch.nan
    table = filled(theirs=(maps, tokens)).table()
    assert table.non_finite.tolist() == [1, 2]
    assert table.rows.tolist() == [19 * 16, 18 * 5]
    assert filled(theirs=(torch.full_like(MAPS, 3.3), TOKENS)).table().r2.isna().tolist() == [
        True,
        False,
    ]


def test_halves_merge_into_the_whole():
    left, right = ConnectorFit(STONES), ConnectorFit(STONES)
    left.update([x[:4] for x in NEAR], [MAPS[:4], TOKENS[:4]])
    right.update([x[4:] for x in NEAR], [MAPS[4:], TOKENS[4:]])
    left.merge_state(right)
    pd.testing.assert_frame_equal(left.table(), filled().table())


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"the connector gives \(9, 5, 6\), the teacher's block"):
        filled(near=(TOKENS, TOKENS))


def drawable(r2: tuple, r2_fit: tuple) -> pd.DataFrame:
    sides = [f"stone_{place}" for place in range(1, 1 + len(r2))]
    return pd.DataFrame({"side": sides, "r2": r2, "r2_fit": r2_fit})


def test_fitted_connectors_say_what_follows_linearly():
    told = connector_reading(drawable((0.39, 0.57), (0.41, 0.6))).sentence
    assert told.startswith(
        "From 39.0 % (stone 1, 41.0 % on the images of the fit) to 57.0 % of the variance"
    )


@pytest.mark.parametrize(("first", "farther"), [(-1.07, "1 of 2"), (0.1, "0 of 2")])
def test_trained_connectors_say_how_near_they_came_and_no_more(first, farther):
    told = connector_reading(drawable((first, 0.2), (float("nan"),) * 2)).sentence
    assert (
        f"R² is {minus(format(first, '.2f'))} (stone 1) to 0.20, and {farther} are farther" in told
    )
    assert "follows linearly" not in told


def test_features_that_do_not_vary_are_said_so():
    nan = float("nan")
    assert "do not vary" in connector_reading(drawable((nan, nan), (nan, nan))).sentence
