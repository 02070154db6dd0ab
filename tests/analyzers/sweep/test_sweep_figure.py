"""Figures of the sweep show the table's numbers, and say where it does not show the effect."""

import numpy as np
import pandas as pd
import pytest

from kdanalysis.analyzers.sweep.sweep_figure import (
    sweep_number,
    sweep_over_k,
    sweep_over_temperature,
    sweep_sentence,
)
from tests.analyzers.readback import legend_is_beside, lines, smallest_font


def table(classes: int = 10, temperatures=(1.0, 4.0), growth: float = 1.1) -> pd.DataFrame:
    """Shares that meet at the middle k; the norm of kd grows by ``growth`` a temperature."""
    ks = np.arange(1, classes)
    frames = []
    for place, temperature in enumerate(temperatures):
        x = (ks - 1) / (classes - 2)
        part = {"temperature": temperature, "k": ks, "mass_other": 1 - x, "entropy": 1.0 + place}
        for term, share in (("high", 0 * x), ("low_top", x), ("low_other", 1 - x)):
            part |= {f"share_{term}": share, f"kd_share_{term}": share / 2}
            part |= {f"norm_{term}": 0.1 + share, f"cosine_{term}_kd": share - 0.5}
        part |= {"norm_kd": 2 * growth**place, "cosine_total_kd": 0.25 * x}
        frames.append(pd.DataFrame(part))
    return pd.concat(frames, ignore_index=True).assign(non_finite=0)


@pytest.mark.parametrize("classes", [10, 101, 1001])
def test_panels_over_k_show_the_columns(classes):
    frame = table(classes)
    rows = frame[frame.temperature == 4]
    figure = sweep_over_k(frame)
    norms, shares, cosines = figure.axes
    for term in ("high", "low_top", "low_other", "kd"):
        assert lines(norms)[term] == (rows.k.tolist(), rows[f"norm_{term}"].tolist())
    drawn = lines(shares)
    assert drawn["mass outside the top k"][1] == pytest.approx(100 * rows.mass_other)
    assert drawn["relation share in KD"][1] == pytest.approx(100 * rows.kd_share_low_other)
    assert drawn["... as weighted here"][1] == pytest.approx(100 * rows.share_low_other)
    assert lines(cosines)["low_top"][1] == rows.cosine_low_top_kd.tolist()
    assert lines(cosines)["weighted total"][1] == rows.cosine_total_kd.tolist()
    assert cosines.get_xticks()[-1] == classes - 1
    assert norms.get_title(loc="left") == "T = 4"
    assert smallest_font(figure) >= 9
    assert all(legend_is_beside(ax) for ax in figure.axes)


def test_panels_over_temperature_show_the_columns():
    frame = table(temperatures=(1.0, 2.0, 8.0))
    rows = frame[frame.k == 5]
    norms, entropy, shares = sweep_over_temperature(frame).axes
    assert lines(norms)["high"] == (rows.temperature.tolist(), rows.norm_high.tolist())
    bare = [line.get_ydata() for line in norms.lines if line.get_label().startswith("_")]
    assert list(bare[3]) == pytest.approx(rows.norm_kd / rows.temperature**2)
    assert lines(entropy)["teacher"][1] == rows.entropy.tolist()
    assert lines(shares)["low_top"][1] == pytest.approx(100 * rows.kd_share_low_top)
    weighted = [line.get_ydata() for line in shares.lines if line.get_label().startswith("_")]
    assert list(weighted[1]) == pytest.approx(100 * rows.share_low_top)
    assert shares.get_xticks().tolist() == [1, 2, 8]


def test_a_norm_of_zero_leaves_a_gap():
    frame = table().assign(norm_low_top=lambda t: t.norm_low_top.where(t.k > 1, 0.0))
    assert np.isnan(lines(sweep_over_k(frame).axes[0])["low_top"][1][0])


def test_the_sentence_follows_the_table():
    claim = sweep_sentence(table(12))
    assert claim.startswith("The extremes of k silence one of the two relation terms: at T = 4")
    assert "largest at k = 6 (50%), against 0% at k = 1 and 0% at k = 11" in claim
    assert "T² keeps the gradient's scale: from T = 1 to 4" in claim
    assert "factor of 1.1, without T² by 0.0688" in claim
    low = table(12).assign(share_low_top=1.0)
    assert sweep_sentence(low).startswith("These data do not show the extremes of k degrade")
    assert "These data do not show T² keeping" in sweep_sentence(table(growth=10.0))
    assert "T²" not in sweep_sentence(table(temperatures=(4.0,)))


def test_the_number_names_the_balanced_k():
    assert sweep_number(table(12)) == (
        "T = 1: k = 6 (low_top 50%, low_other 50%); T = 4: k = 6 (low_top 50%, low_other 50%); "
        "norm of kd over T: factor 1.1, without T² 0.0688"
    )


def test_what_the_table_lacks_is_refused():
    with pytest.raises(ValueError, match="the table has no temperature 3"):
        sweep_over_k(table(), temperature=3)
    with pytest.raises(ValueError, match="the table lacks"):
        sweep_over_temperature(table().drop(columns="share_low_top"))


def test_a_single_k_is_a_mark():
    frame = table()
    figure = sweep_over_k(frame[frame.k == 5])
    assert all(line.get_marker() == "o" for ax in figure.axes for line in ax.lines)
    assert sweep_over_k(table(101)).axes[0].lines[0].get_marker() in ("None", None)
