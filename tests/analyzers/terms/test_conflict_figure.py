"""Conflict figures: cells and lines from the table, steps weighted by their samples."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from kdanalysis.analyzers.terms.conflict_figure import (
    conflict_by_teacher,
    conflict_matrix,
    conflict_number,
    conflict_over_training,
    conflict_sentence,
    over_steps,
)
from tests.analyzers.readback import legend_is_beside, legend_texts, lines, smallest_font

TERMS = ("ce", "high", "low_other")


def table(right: float = 0.1, wrong: float = 0.6, terms=TERMS) -> pd.DataFrame:
    rows = [
        (step, step // 5, teacher, a, b, cosine - 0.01 * step, conflict, n * (1 + step))
        for step in (0, 5)
        for teacher, cosine, conflict, n in (
            ("right", 0.5, right, 9.0),
            ("wrong", -0.2, wrong, 1.0),
            ("all", 0.4, 0.9 * right + 0.1 * wrong, 10.0),
        )
        for a, b in combinations(terms, 2)
    ]
    names = ["step", "epoch", "teacher", "term_a", "term_b", "cosine", "conflict", "n"]
    return pd.DataFrame(rows, columns=names).assign(non_finite=0)


def test_steps_are_weighted_by_their_samples():
    rows = over_steps(table(), "wrong")
    assert rows.cosine.tolist() == pytest.approx([(-0.2 * 1 - 0.25 * 6) / 7] * 3)
    assert rows.n.tolist() == [7, 7, 7]


def test_cells_hold_the_mean_cosine_and_the_conflict():
    frame = table()
    first = (frame.term_a == "ce") & (frame.term_b == "high")
    frame.loc[first, "cosine"] = 0.9
    ax = conflict_matrix(frame)
    cells = np.asarray(ax.images[0].get_array().filled(np.nan))
    other = (0.4 + 0.35 * 6) / 7
    np.testing.assert_allclose(cells, [[0.9, np.nan], [other, other]])
    assert [t.get_text() for t in ax.texts] == ["+0.90\n15 %", "+0.36\n15 %", "+0.36\n15 %"]
    assert [(t.get_position()) for t in ax.texts] == [(0, 1), (0, 2), (1, 2)]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["ce", "high"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["high", "low_other"]
    assert ax.images[0].get_clim() == (-1, 1)
    assert smallest_font(ax.figure) >= 9


def test_cells_stand_where_their_numbers_are():
    ax = conflict_matrix(table())
    left, right, bottom, top = ax.images[0].get_extent()
    assert (left, right, bottom, top) == (-0.5, 1.5, 2.5, 0.5)


def test_right_and_wrong_share_one_colour_scale():
    figure = conflict_by_teacher(table())
    right, wrong, _ = figure.axes
    assert right.get_title(loc="left") == "teacher right: 63 samples"
    assert wrong.get_title(loc="left") == "teacher wrong: 7 samples"
    assert right.images[0].get_clim() == wrong.images[0].get_clim() == (-1, 1)


@pytest.mark.parametrize(("count", "columns"), [(5, 2), (7, 1)])
def test_matrices_of_many_terms_stand_above_each_other(count, columns):
    figure = conflict_by_teacher(table(terms=tuple("abcdefg"[:count])))
    assert figure.axes[0].get_subplotspec().get_gridspec().ncols == columns


def test_lines_are_the_pairs_over_the_steps():
    ax = conflict_over_training(table(), teacher="wrong")
    drawn = lines(ax)
    assert list(drawn) == ["ce / high", "ce / low_other", "high / low_other"]
    assert drawn["ce / high"] == ([0, 5], [-0.2, -0.25])
    assert legend_is_beside(ax)


def test_of_many_pairs_the_lowest_are_drawn_and_said():
    frame = table(terms=tuple("abcdefg"))
    frame.loc[(frame.term_a == "f") & (frame.term_b == "g"), "cosine"] = -0.9
    frame.loc[(frame.term_a == "a") & (frame.term_b == "b"), "cosine"] = 0.9
    ax = conflict_over_training(frame)
    assert ax.get_title(loc="left") == "the 10 of 21 pairs with the lowest mean cosine"
    assert len(legend_texts(ax)) == 10
    assert "f / g" in legend_texts(ax)
    assert "a / b" not in legend_texts(ax)


def test_a_pair_without_direction_has_an_empty_cell():
    frame = table()
    gone = (frame.term_a == "ce") & (frame.term_b == "high")
    frame.loc[gone, ["cosine", "conflict", "n"]] = [np.nan, np.nan, 0.0]
    assert len(conflict_matrix(frame).texts) == 2


def test_sentence_looks_at_the_pairs_with_ce():
    frame = table()
    frame.loc[(frame.term_a == "high"), "conflict"] = 1.0  # not a pair of ce
    assert "sits on samples the teacher gets wrong" in conflict_sentence(frame)
    assert "60% of the cases where the teacher is wrong and in 10%" in conflict_sentence(frame)
    assert conflict_number(frame).startswith("ce and the other terms: 10% of pairs")
    assert conflict_sentence(table(0.5, 0.4)).startswith("These data do not show conflict")


def test_sentence_says_when_there_is_nothing_to_compare():
    frame = table()
    frame.loc[frame.teacher == "wrong", ["cosine", "conflict"]] = np.nan
    frame.loc[frame.teacher == "wrong", "n"] = 0
    assert "cannot be compared" in conflict_sentence(frame)


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match=r"teacher is one of .*got 'x'"):
        conflict_matrix(table(), teacher="x")
