"""The sentence on connectors claims no more than how they were made allows."""

import pandas as pd
import pytest

from kdanalysis.pages.stones import connector_sentence


def table(r2: tuple, r2_fit: tuple) -> pd.DataFrame:
    sides = [f"stone_{place}" for place in range(1, 1 + len(r2))]
    return pd.DataFrame({"side": sides, "r2": r2, "r2_fit": r2_fit})


def test_fitted_connectors_say_what_follows_linearly():
    told = connector_sentence(table((0.39, 0.57), (0.41, 0.6)))
    assert told.startswith(
        "From 39% (stone 1, 41% on the images of the fit) to 57% of the variance"
    )


@pytest.mark.parametrize(("first", "farther"), [(-1.07, "1 of 2"), (0.1, "0 of 2")])
def test_trained_connectors_say_how_near_they_came_and_no_more(first, farther):
    told = connector_sentence(table((first, 0.2), (float("nan"),) * 2))
    assert f"R² is {first:.2f} (stone 1) to 0.20, and {farther} are farther" in told
    assert "follows linearly" not in told


def test_features_that_do_not_vary_are_said_so():
    nan = float("nan")
    assert "do not vary" in connector_sentence(table((nan, nan), (nan, nan)))
