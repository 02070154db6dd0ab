"""The NCKD figure shows the table, and the sentence says whether the surer half carries it."""

import numpy as np
import pandas as pd
import pytest

from kdanalysis.analyzers.terms.confidence_figure import short_confidence
from kdanalysis.analyzers.terms.nckd_figure import (
    half_shares,
    nckd_by_confidence,
    nckd_number,
    nckd_sentence,
)
from tests.analyzers.readback import legend_is_beside, legend_texts, lines, smallest_font


def table(slope: float = 0.2, n: int = 30) -> pd.DataFrame:
    """Value 1 + slope per tenth, norm twice that; KD's falls by a twelfth a tenth."""
    place = np.arange(1, 11)
    value = 1 + slope * place
    tenths = pd.DataFrame({"part": "tenth", "place": place, "value": value, "norm": 2 * value})
    kept = 1 - place / 12
    tenths = tenths.assign(kd_value=value * kept, kd_norm=2 * value * kept)
    tenths = tenths.assign(confidence=place / 10 - 0.05, lowest=place / 10 - 0.1, n=n)
    columns = ["value", "norm", "kd_value", "kd_norm", "confidence"]
    halves = tenths.groupby(tenths.place.gt(5) + 1)[columns].mean().reset_index()
    halves = halves.assign(part="half", lowest=[0.0, 0.5], n=5 * n)
    return pd.concat([tenths, halves], ignore_index=True).assign(temperature=4.0, non_finite=0)


def test_lines_are_the_tables_and_the_legend_holds_the_shares():
    frame = table()
    figure = nckd_by_confidence(frame)
    tenths = frame[frame.part == "tenth"]
    for ax, quantity in zip(figure.axes, ("value", "norm"), strict=True):
        drawn = lines(ax)
        (alone, inside) = drawn
        assert drawn[alone] == (tenths.place.tolist(), tenths[quantity].tolist())
        assert drawn[inside] == (tenths.place.tolist(), tenths["kd_" + quantity].tolist())
        upper = tenths[quantity][5:].sum() / tenths[quantity].sum()
        assert legend_texts(ax)[0] == f"nckd: {upper:.0%}"
        assert legend_is_beside(ax)
        assert ax.get_ylim()[0] == 0
    assert figure.axes[-1].get_xticklabels()[0].get_text() == "1\n.05"
    assert "nckd at T = 4" in figure.axes[-1].get_xlabel()
    assert smallest_font(figure) >= 9


def test_shares_weigh_the_halves_by_their_samples():
    frame = table(0.0)
    frame.loc[(frame.part == "half") & (frame.place == 2), "n"] = 450
    assert half_shares(frame)["value"] == pytest.approx(450 / 600)


def test_parts_without_samples_are_not_drawn():
    frame = table()
    empty = (frame.part == "tenth") & (frame.place == 3)
    frame.loc[empty, ["value", "norm", "kd_value", "kd_norm", "confidence"]] = np.nan
    frame.loc[empty, "n"] = 0
    places, _ = next(iter(lines(nckd_by_confidence(frame).axes[0]).values()))
    assert places == [1, 2, 4, 5, 6, 7, 8, 9, 10]


def test_sentence_follows_the_table():
    sure = nckd_sentence(table(0.5))
    assert sure.startswith("The surer half of the samples carries nckd: the samples above a prob")
    upper = (1 + 0.5 * np.arange(6, 11)).sum() / (1 + 0.5 * np.arange(1, 11)).sum()
    assert f"above a probability of 0.5 of the label hold {upper:.0%} of its value" in sure
    assert nckd_sentence(table(0.01)).startswith("These data do not show the surer half")
    mixed = table(0.5)
    mixed["norm"] = 1.0
    assert nckd_sentence(mixed).startswith("These data do not show the surer half")
    assert nckd_number(table(0.5)).startswith(f"surer half: {upper:.1%} of the value, {upper:.1%}")


def test_a_term_that_is_zero_everywhere_is_said_to_be():
    flat = table().assign(value=0.0, norm=0.0, kd_value=0.0, kd_norm=0.0)
    assert nckd_sentence(flat).startswith("nckd is 0 for every sample")
    assert nckd_number(flat) == "nckd is 0 for every sample"
    assert legend_texts(nckd_by_confidence(flat).axes[0]) == ["nckd", "inside KD"]


@pytest.mark.parametrize(
    ("confidence", "text"),
    [(0.5, ".50"), (0.997, ".997"), (0.99996, "≈1"), (0.003, ".003"), (1e-5, "≈0")],
)
def test_confidences_keep_the_digits_that_tell_them_from_0_and_1(confidence, text):
    assert short_confidence(confidence) == text
