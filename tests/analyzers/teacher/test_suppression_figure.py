"""The curves of 1 - p keep every sample, and the sentences name the sure teacher."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from kdanalysis.analyzers.teacher.suppression_figure import (
    join_teachers,
    suppression_by_teacher,
    suppression_number,
    suppression_of_teachers,
    suppression_sentence,
    teachers_number,
    teachers_sentence,
)
from tests.analyzers.readback import legend_is_beside, legend_texts, smallest_font

NORMAL = np.random.default_rng(0).normal(size=4000)


def table(centre: float, of: str = "label", n: int = 4000, spread: float = 2.0) -> pd.DataFrame:
    """Log odds of 1 - p around ``centre`` at T = 1, nearer 0 at T = 4; bins of 0.1."""
    frames = []
    for temperature, odds in ((1.0, centre + spread * NORMAL[:n]), (4.0, 1 + NORMAL[:n] / 2)):
        counts, edges = np.histogram(odds, bins=1000, range=(-50, 50))
        rows = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": counts})
        mean = expit(odds).mean()
        frames.append(rows[counts > 0].assign(temperature=temperature, mean=mean))
    whole = pd.concat(frames, ignore_index=True)
    return whole.assign(of=of, share=whole["count"] / n, n=n, non_finite=0)


def test_curves_keep_every_sample_at_its_place():
    frame = table(-1.0)
    figure = suppression_by_teacher(frame)
    for ax, (temperature, rows) in zip(figure.axes, frame.groupby("temperature"), strict=True):
        (curve,) = ax.patches
        values, edges, _ = curve.get_data()
        assert values.sum() == pytest.approx(100)
        middle = edges[len(edges) // 2]
        left = rows.share[rows.high <= middle + 1e-9].sum()
        assert values[: len(edges) // 2].sum() == pytest.approx(100 * left)
        assert ax.get_title(loc="left") == f"T = {temperature:g}"
        (triangle,) = ax.lines
        assert triangle.get_xdata() == pytest.approx([logit(rows["mean"].iloc[0])])
        assert legend_is_beside(ax)
    assert smallest_font(figure) >= 9


@pytest.mark.parametrize(("n", "most"), [(64, 8), (4000, 31)])
def test_bins_are_joined_to_what_the_samples_can_fill(n, most):
    (values, *_) = suppression_by_teacher(table(-1.0, n=n)).axes[0].patches[0].get_data()
    assert most / 2 < len(values) <= most


@pytest.mark.parametrize(("centre", "spread"), [(-1.0, 2.0), (-20.0, 8.0), (0.0, 0.1)])
def test_the_axis_is_marked_in_probabilities_that_do_not_overlap(centre, spread):
    figure = suppression_by_teacher(table(centre, spread=spread))
    ax = figure.axes[-1]
    figure.canvas.draw()
    marks = {float(t.get_text()): t for t in ax.get_xticklabels()}
    assert list(ax.get_xticks()) == pytest.approx([logit(mark) for mark in marks])
    boxes = sorted((t.get_window_extent() for t in marks.values()), key=lambda box: box.x0)
    assert len(boxes) >= 2
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))


def test_what_lies_beyond_the_window_is_counted_in_the_outermost_bins_and_said():
    far = table(-20.0, spread=6.0)
    cold = far[far.temperature == 1]
    below = cold["count"][cold.high < -13.7].sum()
    ax = suppression_by_teacher(far).axes[0]
    values, *_ = ax.patches[0].get_data()
    assert values.sum() == pytest.approx(100)
    assert values[0] > 100 * below / 4000
    label = ax.figure.axes[-1].get_xlabel()
    assert f"({below:,} values below 1e-6 are in the outermost bins)" in label
    assert "outermost" not in suppression_by_teacher(table(-1.0)).axes[-1].get_xlabel()


def test_teachers_are_curves_of_one_figure():
    joined = join_teachers({"small": table(1.0), "wide $net$": table(-3.0)})
    ax = suppression_by_teacher(joined).axes[0]
    assert [text.split(":")[0] for text in legend_texts(ax)] == ["small", "wide $net$"]
    assert len(ax.patches) == 2
    sentence = suppression_sentence(joined)
    assert sentence.index("wide $net$ 0.") < sentence.index("small 0.")
    assert "with wide $net$ as teacher KD says the least" in sentence
    assert suppression_number(joined).count("T = 1") == 2
    tables = dict(tuple(joined.drop(columns="name").groupby(joined.name, sort=False)))
    assert teachers_sentence(tables) == sentence
    assert teachers_number(tables) == suppression_number(joined)
    assert len(suppression_of_teachers(tables).axes[0].patches) == 2
    with pytest.raises(ValueError, match="at least one teacher, got none"):
        join_teachers({})


def test_the_label_counts_where_all_teachers_have_one():
    both = pd.concat([table(-3.0, "top"), table(1.0)])
    assert "1 - p of the label" in suppression_sentence(both)
    assert suppression_sentence(both).startswith("These data do not show a sure teacher")
    mixed = join_teachers({"both": both, "bare": table(-3.0, "top")})
    assert "for lack of labels" in suppression_by_teacher(mixed).axes[-1].get_xlabel()
    assert len(suppression_by_teacher(mixed).axes[0].patches) == 2


def test_a_teacher_is_sure_where_half_its_samples_keep_less_than_a_tenth():
    sure = suppression_sentence(table(logit(0.1) - 0.2))
    assert sure.startswith("The teacher is sure, so that KD hardly speaks of the other classes")
    assert suppression_sentence(table(logit(0.1) + 0.2)).startswith("These data do not show")
    below = (expit(-1 + 2 * NORMAL) < 0.1).mean()
    assert f"below 0.1 for {below:.0%} of samples" in suppression_sentence(table(-1.0))
    assert f"T = 1: mean {expit(-1 + 2 * NORMAL).mean():.2g}" in suppression_number(table(-1.0))
