"""The share bars and the confidence lines are the table's, and the sentences say so."""

import numpy as np
import pandas as pd
import pytest

from kdanalysis.analyzers.terms.confidence_figure import (
    confidence_number,
    confidence_sentence,
    share_by_confidence,
)
from kdanalysis.analyzers.terms.share_figure import share_number, share_of_terms, share_sentence
from tests.analyzers.readback import legend_is_beside, legend_texts, lines, smallest_font


def shares(kd: float = 0.1, gdkd: float = 0.6) -> pd.DataFrame:
    rows = [
        ("kd", "high", 1 - kd),
        ("kd", "low_other", kd),
        ("gdkd", "high", 1 - gdkd),
        ("gdkd", "low_other", gdkd),
        ("dkd", "nckd", 1.0),
    ]
    return pd.DataFrame(rows, columns=["loss", "term", "share"]).assign(non_finite=2)


def test_bars_stack_to_the_whole():
    ax = share_of_terms(shares())
    bars = [(bar.get_x(), bar.get_width()) for bar in ax.patches]
    expected = [(0, 90), (90, 10), (0, 40), (40, 60), (0, 100)]
    np.testing.assert_allclose(bars, expected)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["kd", "gdkd", "dkd"]
    assert [text.get_text() for text in ax.texts] == ["90", "10", "40", "60", "100"]
    assert legend_texts(ax) == ["high", "low_other", "nckd"]
    assert "2 samples with NaN" in ax.get_xlabel()
    assert smallest_font(ax.figure) >= 9
    assert legend_is_beside(ax)


def test_every_segment_starts_where_the_last_one_ends():
    rows = [("gdkd", "high", 0.2), ("gdkd", "low_top", 0.3), ("gdkd", "low_other", 0.5)]
    ax = share_of_terms(pd.DataFrame(rows, columns=["loss", "term", "share"]))
    assert [bar.get_x() for bar in ax.patches] == pytest.approx([0, 20, 50])


def test_narrow_segments_carry_no_number():
    assert [t.get_text() for t in share_of_terms(shares(kd=0.02)).texts][:2] == ["98", "40"]


def test_share_sentence_follows_the_table():
    sentence = share_sentence(shares())
    assert sentence == "The non-top share grows: low_other from 10.0% in kd to 60.0% in gdkd."
    assert (
        share_number(shares()) == "kd: low_other 10.0 %; gdkd: low_other 60.0 %; dkd: nckd 100.0 %"
    )
    assert share_sentence(shares(0.7)).startswith("Against the papers' argument it does not grow")
    assert "cannot be compared" in share_sentence(shares().query("loss == 'kd'"))


def by_confidence(kd_last: float = 0.01, gdkd_last: float = 0.5) -> pd.DataFrame:
    deciles = np.arange(1, 11)
    frames = [
        pd.DataFrame(
            {
                "loss": loss,
                "term": term,
                "decile": deciles,
                "confidence": 1 - 10.0 ** -(deciles / 2),
                "share": np.linspace(first, last, 10),
            }
        )
        for loss, term, first, last in (
            ("kd", "low_other", 0.3, kd_last),
            ("kd", "high", 0.7, 1 - kd_last),
            ("gdkd", "low_other", 0.7, gdkd_last),
        )
    ]
    return pd.concat(frames, ignore_index=True).assign(temperature=1.0, non_finite=0)


def test_only_the_non_top_shares_are_drawn():
    ax = share_by_confidence(by_confidence())
    drawn = lines(ax)
    assert list(drawn) == ["kd: 1 %", "gdkd: 50 %"]
    assert drawn["kd: 1 %"][0] == list(range(1, 11))
    assert drawn["gdkd: 50 %"][1] == pytest.approx(np.linspace(70, 50, 10))
    ticks = [label.get_text() for label in ax.get_xticklabels()]
    assert ticks[0] == "1\n.68"
    assert ticks[9] == "10\n≈1"
    assert smallest_font(ax.figure) >= 9
    assert legend_is_beside(ax)


def test_a_decile_without_samples_is_left_out():
    table = by_confidence()
    table.loc[table.decile == 10, "share"] = np.nan
    assert share_by_confidence(table).lines[0].get_xdata().tolist() == list(range(1, 10))


def test_confidence_sentence_follows_the_table():
    sentence = confidence_sentence(by_confidence())
    assert "falls in kd (30% to 1%) and stays in gdkd (70% to 50%)" in sentence
    assert confidence_number(by_confidence()) == "kd: 30% to 1%; gdkd: 70% to 50%"
    assert "do not show one that keeps it" in confidence_sentence(by_confidence(gdkd_last=0.1))
    assert confidence_sentence(by_confidence(kd_last=0.4)).startswith("No loss here loses half")


def test_a_table_without_relations_is_refused():
    with pytest.raises(ValueError, match="the table has no shares of"):
        share_by_confidence(by_confidence().query("term == 'high'"))
