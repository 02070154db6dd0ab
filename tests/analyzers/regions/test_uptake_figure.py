"""The uptake figure shows the table, and the sentence follows it."""

import numpy as np
import pandas as pd
import pytest

from kdanalysis.analyzers.regions.uptake_figure import (
    last_epoch,
    uptake_by_case,
    uptake_number,
    uptake_sentence,
)
from tests.analyzers.readback import lines, smallest_font

KINDS = ("GT-LT", "GW-LW same", "GW-LW other", "GT-LW", "GW-LT")
COUNTS = (40, 10, 20, 25, 5)


def table(whole=0.2, epochs=(0, 3), scales=(1, 2)) -> pd.DataFrame:
    rows = []
    for epoch in epochs:
        for m in scales:
            for place, (case, n) in enumerate(zip(KINDS, COUNTS, strict=True)):
                local = 0.3 + 0.1 * epoch + 0.01 * place
                other = place > 1
                empty = m == 1 and other
                row = {"epoch": epoch, "scale": m, "case": case, "n": 0 if empty else n}
                row |= {"by_class": other, "by_correctness": place > 2}
                row |= {"local": local, "whole": whole if other else local}
                rows.append(row | dict.fromkeys(("local", "whole"), np.nan) if empty else row)
    return pd.DataFrame(rows).assign(own=0.5, label=0.5, non_finite=0)


def points(ax) -> list[tuple]:
    drawn = [line for line in ax.lines if len(line.get_xdata()) == 1]
    return [(x.get_xdata()[0], round(x.get_ydata()[0], 6), x.get_fillstyle()) for x in drawn]


def test_marks_are_the_shares_of_the_last_epoch():
    figure = uptake_by_case(table())
    drawn = points(figure.axes[0])
    assert [p for p in drawn if p[2] == "full"] == [
        (place, round(60 + place, 6), "full") for place in range(5)
    ]
    assert [p for p in drawn if p[2] == "none"] == [(place, 20, "none") for place in (2, 3, 4)]
    assert figure.axes[0].get_title(loc="left") == "2 x 2 cells"
    assert smallest_font(figure) >= 9


def test_lines_over_epochs_weigh_the_cases_by_their_pairs():
    ax = uptake_by_case(table()).axes[1]
    drawn = lines(ax)
    same = (40 * 0.3 + 10 * 0.31) / 50
    other = (20 * 0.32 + 25 * 0.33 + 5 * 0.34) / 50
    assert drawn["consistent: the class"][1] == pytest.approx([100 * same, 100 * same + 30])
    assert drawn["other: the cell's class"][1] == pytest.approx([100 * other, 100 * other + 30])
    assert drawn["other: the image's class"] == ([0, 3], pytest.approx([20, 20]))


def test_a_single_epoch_has_no_lines():
    assert len(uptake_by_case(table(epochs=(0,))).axes) == 1


def test_pooled_shares_are_of_the_last_epoch():
    same, other = last_epoch(table())[2]
    assert same["local"] == pytest.approx((40 * 0.6 + 10 * 0.61) / 50)
    assert other == {"n": 50, "local": pytest.approx(0.627), "whole": pytest.approx(0.2)}


def test_the_sentence_follows_the_table():
    assert uptake_sentence(table()).endswith("is taken up more often than the image's.")
    assert uptake_sentence(table(0.9)).endswith("class is named more often than the local one.")
    even = table(epochs=(0,)).assign(local=0.25, whole=0.25)
    assert uptake_sentence(even).endswith("and the image's are named equally often.")
    assert "in 63% of these 50 cells and the image's in 20%; where cell" in uptake_sentence(table())
    assert uptake_sentence(table(scales=(1,))) == (
        "At scale 1 no cell names another class than its image."
    )
    assert uptake_number(table()) == (
        "scale 2: 60.2% where it is the image's, 62.7% where it is another (the image's class "
        "20.0%)"
    )
