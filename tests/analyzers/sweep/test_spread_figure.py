"""The figure of the spread shows medians by confidence, and says what falls."""

import numpy as np
import pandas as pd
import pytest

from kdanalysis.analyzers.sweep.spread_figure import spread_number, spread_over_k, spread_sentence
from tests.analyzers.readback import legend_is_beside, lines, smallest_font

GROUPS = {"below 0.5": 40, "0.5 and above": 30, "all": 70}


def table(falling: bool = True, sizes: dict[str, int] = GROUPS) -> pd.DataFrame:
    rows = [
        (temperature, quantity, k, group, (0.8 - 0.5 * place * falling) / k, n)
        for temperature in (1.0, 4.0)
        for quantity in ("kd_share_low_other", "share_low_other", "cosine_total_kd")
        for k in (1, 2, 5, 10)
        for place, (group, n) in enumerate(sizes.items())
    ]
    names = ["temperature", "quantity", "k", "confidence", "median", "n"]
    frame = pd.DataFrame(rows, columns=names)
    return frame.assign(q25=frame["median"] - 0.1, q75=frame["median"] + 0.1, non_finite=0)


def test_curves_are_the_medians_of_the_groups():
    frame = table()
    figure = spread_over_k(frame)
    inside, weighted, cosine = figure.axes
    rows = frame[(frame.temperature == 4) & (frame.confidence == "below 0.5")]
    for ax, quantity, scale in (
        (inside, "kd_share_low_other", 100),
        (weighted, "share_low_other", 100),
        (cosine, "cosine_total_kd", 1),
    ):
        ks, medians = lines(ax)["below 0.5 (n = 40)"]
        assert ks == [1, 2, 5, 10]
        assert medians == pytest.approx(scale * rows["median"][rows.quantity == quantity])
        assert len(lines(ax)) == 2  # "all" is not a group
        band = ax.collections[0].get_paths()[0].vertices[:, 1]
        assert np.ptp(band[[1, -2]]) == pytest.approx(0.2 * scale)
    assert legend_is_beside(inside)
    assert smallest_font(figure) >= 9


def test_a_small_group_is_named_not_drawn():
    ax = spread_over_k(table(sizes={"below 0.5": 40, "0.5 and above": 19, "all": 59})).axes[-1]
    assert len(ax.lines) == 1
    assert "fewer than 20 samples, not drawn: 0.5 and above" in ax.get_xlabel()


def test_the_sentence_says_what_the_data_show():
    assert spread_sentence(table()).startswith("The relation share inside KD falls")
    assert "from 16% (below 0.5) to 6% (0.5 and above)" in spread_sentence(table())
    assert spread_sentence(table(falling=False)).startswith("These data do not show")
    alone = table(sizes={"below 0.5": 40, "0.5 and above": 3, "all": 43})
    assert "of one group of confidence" in spread_sentence(alone)
    assert spread_number(table()).startswith("T = 4, k = 5: below 0.5: 16% in KD, 16% as weighted")


def test_without_the_usual_k_the_numbers_are_of_one_that_is_there():
    frame = table()
    assert spread_number(frame[frame.k < 3]).startswith("T = 4, k = 2: ")
    assert "at T = 4 and k = 2 " in spread_sentence(frame[frame.k < 3])


def test_a_temperature_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"no temperature 3, it has \[1.0, 4.0\]"):
        spread_over_k(table(), 3)


def test_samples_without_a_gradient_are_not_drawn():
    frame = table().assign(median=0.0)
    for draw in (spread_over_k, spread_sentence, spread_number):
        with pytest.raises(ValueError, match="no sample has a gradient of low_other"):
            draw(frame)
    few = table(sizes={"below 0.5": 4, "0.5 and above": 3, "all": 7})
    with pytest.raises(ValueError, match="no group of confidence has 20 samples"):
        spread_over_k(few)
