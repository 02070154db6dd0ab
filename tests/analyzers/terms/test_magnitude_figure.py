"""The magnitude figure draws the table and its sentence says what the table says."""

import numpy as np
import pandas as pd
import pytest

from kdanalysis.analyzers.terms.magnitude_figure import (
    magnitude_number,
    magnitude_of_terms,
    magnitude_over_training,
    magnitude_sentence,
)
from kdanalysis.draw.look import term_colour
from tests.analyzers.readback import legend_is_beside, legend_texts, lines, smallest_font


def table(kd: float = 0.01, gdkd: float = 0.5, non_finite: int = 0) -> pd.DataFrame:
    rows = [
        (loss, term, step, step // 10, base * (1 + step), 0.5 * base, 2 * base, 20.0, non_finite)
        for step in (0, 5, 10)
        for loss, term, base in (
            ("kd", "high", 0.3),
            ("kd", "low_other", kd),
            ("gdkd", "low_other", gdkd),
        )
    ]
    names = ["loss", "term", "step", "epoch", "mean", "q25", "q75", "n", "non_finite"]
    return pd.DataFrame(rows, columns=names)


def test_lines_and_bands_are_the_tables():
    ax = magnitude_over_training(table())
    drawn = lines(ax)
    assert list(drawn) == ["kd: high  3.3", "kd: low_other  0.11", "gdkd: low_other  5.5"]
    x, y = drawn["gdkd: low_other  5.5"]
    assert x == [0, 5, 10]
    assert y == pytest.approx([0.5, 3.0, 5.5])
    band = ax.collections[2].get_paths()[0].vertices
    assert {0.25, 1.0} == set(np.round(band[:, 1], 9))
    assert ax.get_yscale() == "log"


def test_epochs_stand_above_their_first_step():
    (top,) = magnitude_over_training(table()).child_axes
    assert top.get_xticks().tolist() == [0, 10]
    assert [label.get_text() for label in top.get_xticklabels()] == ["0", "1"]


def test_a_single_epoch_or_none_needs_no_second_axis():
    assert not magnitude_over_training(table().assign(epoch=3)).child_axes
    unknown = table().assign(epoch=pd.array([pd.NA] * 9, dtype="Int64"))
    assert not magnitude_over_training(unknown).child_axes


def test_terms_share_a_colour_and_losses_differ_by_dash():
    _, inside, alone = magnitude_over_training(table()).lines
    assert inside.get_color() == alone.get_color()
    assert inside.get_linestyle() != alone.get_linestyle()


def test_left_out_samples_are_stated():
    assert "3 samples with NaN" in magnitude_over_training(table(non_finite=3)).get_xlabel()
    assert "NaN" not in magnitude_over_training(table()).get_xlabel()


def test_texts_are_readable_and_the_legend_covers_no_data():
    ax = magnitude_over_training(table())
    assert smallest_font(ax.figure) >= 9
    assert legend_is_beside(ax)


def test_math_in_a_users_name_stays_text():
    named = table().replace({"loss": {"kd": "a$b$"}})
    ax = magnitude_over_training(named)
    assert legend_texts(ax)[0].startswith("a$b$: high")
    assert not any(text.get_parse_math() for text in ax.get_legend().get_texts())


def test_a_zero_norm_leaves_a_gap():
    ax = magnitude_over_training(table().assign(mean=[0.0] * 3 + [1.0] * 6))
    assert all(np.isnan(line.get_ydata()[0]) for line in ax.lines)


def test_sentence_and_number_follow_the_table():
    assert "large by themselves and small in kd" in magnitude_sentence(table())
    assert "50 times as long in gdkd as in kd" in magnitude_sentence(table())
    assert magnitude_number(table()) == "kd: low_other 0.06; gdkd: low_other 3"


def test_sentence_says_when_the_data_do_not_show_it():
    assert magnitude_sentence(table(kd=0.4)).startswith("These data do not show")
    alone = table().query("loss == 'kd'")
    assert "cannot show it small inside KD" in magnitude_sentence(alone)
    assert "low_other 0.06 against high 1.8 in kd" in magnitude_sentence(alone)
    assert magnitude_sentence(alone.query("term == 'high'")).startswith("No loss here has")


def test_a_single_step_is_a_dot_a_term_and_a_line_over_the_middle_half():
    frame = pd.DataFrame(
        {
            "loss": ["kd", "gdkd", "gdkd"],
            "term": ["kd", "high", "low_other"],
            "step": 0,
            "mean": [1.0, 0.5, 4.0],
            "q25": [0.5, 0.0, 3.0],
            "q75": [1.5, 0.6, 5.0],
            "non_finite": 0,
        }
    )
    ax = magnitude_of_terms(frame)
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines]
    assert [x for x, _ in drawn[1::2]] == [[1.0], [0.5], [4.0]]
    assert drawn[0][0] == [0.5, 1.5]
    assert np.isnan(drawn[2][0][0])  # a quartile of 0 has no place on a logarithmic axis
    assert drawn[4][0] == [3.0, 5.0]
    places = [y[0] for _, y in drawn[1::2]]
    assert np.diff(places).tolist() == pytest.approx([1.6, 1.0])  # a gap between losses
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert labels == ["kd", "gdkd: high", "gdkd: low_other"]
    assert [line.get_color() for line in ax.lines[1::2]] == [
        term_colour(term) for term in ("kd", "high", "low_other")
    ]
    assert smallest_font(ax.figure) >= 9
