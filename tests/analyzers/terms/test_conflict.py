"""Gradient conflict: as numpy finds it on autograd's gradients; cells and lines of the table."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.terms.conflict import GradientConflict, conflict_reading, over_steps
from kdanalysis.analyzers.terms.conflict_pictures import (
    conflict_by_teacher,
    conflict_matrix,
    conflict_over_training,
)
from kdanalysis.losses import GDKD, KD, CrossEntropy
from tests.analyzers.readback import legend_is_beside, legend_texts, lines, smallest_font
from tests.analyzers.reference import autograd_gradients, logits, targets

STUDENT, TEACHER = logits(0), logits(1)
TARGET = torch.where(torch.arange(60) % 2 == 0, TEACHER.argmax(-1), targets(2))
STEP, EPOCH = torch.arange(60) // 30 * 10, torch.arange(60) // 30
LOSSES = {"ce": CrossEntropy(), "gdkd": GDKD(3, (1, 2, 8), 2.0), "kd": KD(2.0)}
TERMS = ("ce", "high", "low_top", "low_other", "kd")


def table(student=STUDENT, teacher=TEACHER, losses=LOSSES, split: int = 13) -> pd.DataFrame:
    metric = GradientConflict(losses, (0, 10))
    for rows in (slice(None, split), slice(split, None)):
        metric.update(student[rows], teacher[rows], TARGET[rows], STEP[rows], EPOCH[rows])
    return metric.table()


def cosines(a: np.ndarray, b: np.ndarray) -> list[float]:
    return [x @ y / np.sqrt(x @ x) / np.sqrt(y @ y) for x, y in zip(a, b, strict=True)]


def test_cosines_and_conflicts_agree_with_numpy():
    gradients = autograd_gradients(STUDENT, TEACHER, TARGET, 3, 2.0)
    right = (TEACHER.argmax(-1) == TARGET).numpy()
    split = {"right": right, "wrong": ~right, "all": np.ones(60, dtype=bool)}
    rows = table().set_index(["step", "teacher", "term_a", "term_b"])
    assert len(rows) == 2 * 3 * 10
    for step in (0, 10):
        for name, members in split.items():
            chosen = members & (STEP.numpy() == step)
            assert 0 < chosen.sum() < 60
            for a, b in combinations(TERMS, 2):
                row = rows.loc[(step, name, a, b)]
                values = cosines(gradients[a][chosen], gradients[b][chosen])
                assert row.cosine == pytest.approx(np.mean(values), abs=1e-12)
                error = np.std(values, ddof=1) / len(values) ** 0.5
                assert row.cosine_se == pytest.approx(error, abs=1e-9)
                if {a, b} != {"low_top", "low_other"}:  # exactly 0 but for the reference's rounding
                    assert row.conflict == pytest.approx(np.mean([v < 0 for v in values]))
                assert row.n == chosen.sum()


def test_terms_on_disjoint_classes_never_conflict():
    rows = table()
    rows = rows[(rows.term_a == "low_top") & (rows.term_b == "low_other")]
    assert rows.cosine.tolist() == [0] * 6
    assert rows.conflict.tolist() == [0] * 6


def test_a_zero_gradient_has_no_direction():
    teacher = TEACHER.clone()
    teacher[:10] = STUDENT[:10]  # only cross-entropy is left there
    rows = table(teacher=teacher).query("teacher == 'all' and step == 0")
    assert (rows.n == 20).all()
    assert rows.cosine.notna().all()


def test_epochs_follow_the_steps():
    assert table().groupby("step").epoch.first().to_dict() == {0: 0, 10: 1}


def test_terms_of_one_name_are_told_apart_by_their_loss():
    losses = {"soft": KD(4.0), "sharp": KD(1.0), "ce": CrossEntropy()}
    rows = table(losses=losses)
    assert set(rows.term_a) | set(rows.term_b) == {"soft:kd", "sharp:kd", "ce"}


def test_one_term_has_nothing_to_conflict_with():
    with pytest.raises(ValueError, match="need at least two terms to compare"):
        GradientConflict({"kd": KD()})


def test_student_and_teacher_must_agree_in_shape():
    with pytest.raises(ValueError, match="the analyzer expects 2 steps"):
        GradientConflict(LOSSES, (0, 1)).update(STUDENT, TEACHER, TARGET)


EXAMPLE_TERMS = ("ce", "high", "low_other")


def example(right: float = 0.1, wrong: float = 0.6, terms=EXAMPLE_TERMS) -> pd.DataFrame:
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
    rows = over_steps(example(), "wrong")
    assert rows.cosine.tolist() == pytest.approx([(-0.2 * 1 - 0.25 * 6) / 7] * 3)
    assert rows.n.tolist() == [7, 7, 7]


def test_cells_hold_the_mean_cosine_and_the_conflict():
    frame = example()
    first = (frame.term_a == "ce") & (frame.term_b == "high")
    frame.loc[first, "cosine"] = 0.9
    ax = conflict_matrix(frame)
    cells = np.asarray(ax.images[0].get_array().filled(np.nan))
    other = (0.4 + 0.35 * 6) / 7
    np.testing.assert_allclose(cells, [[0.9, np.nan], [other, other]])
    assert [t.get_text() for t in ax.texts] == ["+0.90\n15 %", "+0.36\n15 %", "+0.36\n15 %"]
    assert [(t.get_position()) for t in ax.texts] == [(0, 0), (0, 1), (1, 1)]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["ce", "high"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["high", "low_other"]
    assert ax.images[0].get_clim() == (-1, 1)
    assert smallest_font(ax.figure) >= 9


def test_cells_stand_where_their_numbers_are():
    ax = conflict_matrix(example())
    left, right, bottom, top = ax.images[0].get_extent()
    assert (left, right, bottom, top) == (-0.5, 1.5, 1.5, -0.5)
    assert ax.get_xticks().tolist() == ax.get_yticks().tolist() == [0, 1]


def test_no_matrix_is_drawn_of_no_sample():
    table = example()
    figure = conflict_by_teacher(table.assign(n=table.n.where(table.teacher != "wrong", 0.0)))
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["teacher right: 63 samples", ""]


def test_right_and_wrong_share_one_colour_scale():
    figure = conflict_by_teacher(example())
    right, wrong, _ = figure.axes
    assert right.get_title(loc="left") == "teacher right: 63 samples"
    assert wrong.get_title(loc="left") == "teacher wrong: 7 samples"
    assert right.images[0].get_clim() == wrong.images[0].get_clim() == (-1, 1)


@pytest.mark.parametrize(("count", "columns"), [(5, 2), (7, 2), (9, 1)])
def test_matrices_of_many_terms_stand_above_each_other(count, columns):
    figure = conflict_by_teacher(example(terms=tuple("abcdefghi"[:count])))
    assert figure.axes[0].get_subplotspec().get_gridspec().ncols == columns


def test_lines_are_the_pairs_over_the_steps():
    ax = conflict_over_training(example(), teacher="wrong")
    drawn = lines(ax)
    assert list(drawn) == ["ce / high", "ce / low_other", "high / low_other"]
    assert drawn["ce / high"] == ([0, 5], [-0.2, -0.25])
    assert legend_is_beside(ax)


def test_of_many_pairs_the_lowest_are_drawn_and_said():
    frame = example(terms=tuple("abcdefg"))
    frame.loc[(frame.term_a == "f") & (frame.term_b == "g"), "cosine"] = -0.9
    frame.loc[(frame.term_a == "a") & (frame.term_b == "b"), "cosine"] = 0.9
    ax = conflict_over_training(frame)
    assert ax.get_title(loc="left") == "the 10 of 21 pairs with the lowest mean cosine"
    assert len(legend_texts(ax)) == 10
    assert "f / g" in legend_texts(ax)
    assert "a / b" not in legend_texts(ax)


def test_a_pair_without_direction_has_an_empty_cell():
    frame = example()
    gone = (frame.term_a == "ce") & (frame.term_b == "high")
    frame.loc[gone, ["cosine", "conflict", "n"]] = [np.nan, np.nan, 0.0]
    assert len(conflict_matrix(frame).texts) == 2


def test_sentence_looks_at_the_pairs_with_ce():
    frame = example()
    frame.loc[(frame.term_a == "high"), "conflict"] = 1.0  # not a pair of ce
    sentence, number = conflict_reading(frame)
    assert "more frequent where the teacher is wrong: seen" in sentence
    assert "60.0 % there, 10.0 % where it is right, +50.0 ±" in sentence
    assert number.startswith("ce and the other terms: 10.0 % of pairs")
    sentence, _ = conflict_reading(example(0.5, 0.4))
    assert "where the teacher is wrong: not seen (40.0 % there, 50.0 %" in sentence


def test_sentence_says_when_there_is_nothing_to_compare():
    frame = example()
    frame.loc[frame.teacher == "wrong", ["cosine", "conflict"]] = np.nan
    frame.loc[frame.teacher == "wrong", "n"] = 0
    sentence, number = conflict_reading(frame)
    assert "cannot be tested here" in sentence
    assert number.endswith("10.0 % of pairs where the teacher is right, no sample where not")


def test_pairs_that_cannot_conflict_enter_no_rate():
    terms = ("high", "low_top", "low_other", "kd")
    frame = example(0.1, 0.6, terms)
    fixed = (frame.term_b == "kd") | (frame.term_b == "low_other") & (frame.term_a == "low_top")
    frame.loc[fixed, "conflict"] = 0.0
    assert "60.0 % there, 10.0 % where it is right" in conflict_reading(frame).sentence


def test_a_training_shows_the_terms_that_it_trained():
    losses = {"ce": CrossEntropy(), "kd": KD(2.0), "gdkd": GDKD(3, (1, 2, 8), 2.0)}
    metric = GradientConflict(losses, trained=("ce", "gdkd"))
    metric.update(STUDENT, TEACHER, TARGET)
    axes = conflict_by_teacher(metric.table()).axes
    assert [t.get_text() for t in axes[0].get_xticklabels()] == ["ce", "high", "low_top"]
    assert axes[0].get_position().y0 == pytest.approx(axes[1].get_position().y0)  # one row


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match=r"teacher is one of .*got 'x'"):
        conflict_matrix(example(), teacher="x")
