"""Figure 21 shows the table's cosines and multipliers, and words follow the stated threshold."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from kdanalysis.analyzers.terms.direction_figure import (
    direction_by_teacher,
    direction_or_step,
    direction_over_training,
)
from kdanalysis.analyzers.terms.direction_text import direction_number, direction_sentence, kind_of
from kdanalysis.draw.look import BLUE, ORANGE, SKY
from tests.analyzers.readback import legend_is_beside, legend_texts, lines, smallest_font

LOSSES = ("kd", "more", "uneven", "turned")
COSINES = {"more": (0.99, 0.98), "uneven": (0.97, 0.9), "turned": (-0.3, -0.25)}
STEPS = {"more": 8.0, "uneven": 0.5, "turned": 1.0}


def table(steps=(0,), losses=LOSSES) -> pd.DataFrame:
    rows = []
    marks = [*steps, pd.NA] if len(steps) > 1 else steps
    for step, (teacher, shift) in ((s, t) for s in marks for t in SHIFTS.items()):
        for a, b in combinations(losses, 2):
            cosine, batch = COSINES[b] if a == "kd" else (0.1, 0.2)
            times = STEPS[b] / STEPS.get(a, 1.0)
            moved = shift if step is pd.NA else shift - 0.001 * step
            cosines = cosine + moved, 0.25, batch + shift
            ratios = times, 0.8 * times, times, 1.5 * times
            rows.append((step, teacher, a, b, *cosines, 2.0, 2.0 * times, *ratios, 10, 2))
    names = "step teacher loss_a loss_b cosine conflict cosine_batch norm_a norm_b multiplier"
    names += " ratio_q25 ratio_median ratio_q75 n no_gradient"
    frame = pd.DataFrame(rows, columns=names.split())
    return frame.astype({"step": "Int64"}).assign(non_finite=0)


SHIFTS = {"right": 0.01, "wrong": -0.01, "all": 0.0}


def test_cells_hold_both_cosines_on_one_scale():
    cells = direction_or_step(table()).axes[0]
    (image,) = cells.images
    shown = np.asarray(image.get_array().filled(np.nan))
    assert shown[:, 0].tolist()[1:] == [0.99, 0.97, -0.3]  # by sample
    assert shown[0].tolist()[1:] == [0.98, 0.9, -0.25]  # over the batch
    assert np.isnan(shown.diagonal()).all()
    assert image.get_clim() == (-1, 1)
    texts = {text.get_position(): text.get_text() for text in cells.texts}
    assert texts[(0, 3)] == "-0.30\n25 %"
    assert texts[(3, 0)] == "-0.25"
    assert [label.get_text() for label in cells.get_yticklabels()] == list(LOSSES)
    assert cells.get_title(loc="left") == "10 samples"


def test_bars_run_from_one_to_the_multiplier_and_lines_over_the_middle_half():
    figure = direction_or_step(table())
    bars = figure.axes[1]
    assert bars.get_xscale() == "log"
    ends = {
        round(bar.get_y() + bar.get_height() / 2): (bar.get_x(), bar.get_width())
        for bar in bars.patches
    }
    assert ends == {1: (1, 7), 2: (1, -0.5), 3: (1, 0)}
    middle = [line.get_xdata() for line in bars.lines if len(line.get_xdata()) == 2][:3]
    assert [list(x) for x in middle] == [[0.8 * t, 1.5 * t] for t in STEPS.values()]
    colours = [bar.get_facecolor()[:3] for bar in bars.patches]
    expected = [tuple(int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)) for c in (BLUE, SKY, ORANGE)]
    np.testing.assert_allclose(colours, expected, atol=1e-6)
    assert len(legend_texts(bars)) == 3
    assert [text.get_text() for text in bars.texts] == ["8 x", "0.5 x", "1 x"]
    assert smallest_font(figure) >= 9


def test_a_single_pair_is_drawn():
    figure = direction_or_step(table(losses=("kd", "more")))
    assert np.asarray(figure.axes[0].images[0].get_array().filled(0)).tolist() == [
        [0, 0.98],
        [0.99, 0],
    ]


def test_samples_the_teacher_gets_wrong_can_be_drawn_alone():
    figure = direction_or_step(table(), teacher="wrong")
    assert figure.axes[0].get_title(loc="left") == "10 samples, teacher wrong"
    assert figure.axes[0].images[0].get_array()[1, 0] == pytest.approx(0.98)
    with pytest.raises(ValueError, match=r"teacher is one of .* got 'x'"):
        direction_or_step(table(), teacher="x")


def test_right_and_wrong_share_one_scale():
    right, wrong = direction_by_teacher(table()).axes[:2]
    assert right.get_title(loc="left") == "teacher right: 8 samples"  # with a direction
    assert right.images[0].get_array()[0, 0] == pytest.approx(1.0)
    assert wrong.images[0].get_array()[0, 0] == pytest.approx(0.98)


def test_all_steps_together_are_shown_and_each_of_them_is_a_point():
    frame = table(steps=(0, 100))
    assert direction_or_step(frame).axes[0].images[0].get_array()[1, 0] == 0.99
    cosine, step = direction_over_training(frame).axes
    assert list(lines(cosine)) == ["more", "uneven", "turned"]
    assert lines(cosine)["more"] == ([0, 100], pytest.approx([0.99, 0.89]))
    drawn = [list(line.get_ydata()) for line in step.lines if len(line.get_xdata()) == 2]
    assert drawn[:3] == [[8, 8], [0.5, 0.5], [1, 1]]
    assert legend_is_beside(cosine)


def test_the_sentence_sorts_the_losses_by_the_threshold():
    claim = direction_sentence(table())
    scaled, rest = claim.split("By the mean over samples the direction of kd")
    assert scaled.startswith("Only the step differs from kd: more (cosine 0.990, over the batch")
    assert "8 x as far" in scaled
    assert "cosines of at least 0.95" in scaled
    uneven, turned = rest.split("Not only the step, the direction differs from kd: ")
    assert "uneven (cosine 0.970, over the batch 0.900; 0.5 x as far)" in uneven
    assert turned == "turned (cosine -0.300, over the batch -0.250; 1 x as far)."


@pytest.mark.parametrize(
    ("cosine", "batch", "kind"),
    [
        (0.95, 0.95, "scaled"),
        (0.9499, 0.99, "turned"),
        (0.96, 0.9499, "uneven"),
        (np.nan, np.nan, ""),
    ],
)
def test_the_threshold_is_the_stated_one(cosine, batch, kind):
    row = pd.DataFrame({"cosine": [cosine], "cosine_batch": [batch]}).iloc[0]
    assert kind_of(row) == kind


def test_a_pair_without_any_direction_is_said():
    frame = table(losses=("kd", "more", "turned"))
    gone = frame.loss_b == "more"
    frame.loc[gone, ["cosine", "cosine_batch", "conflict", "multiplier"]] = np.nan
    assert "No sample has both a gradient of kd and of these losses: more." in direction_sentence(
        frame
    )
    assert len(direction_or_step(frame).axes[1].patches) == 1


def test_the_number_lists_the_multipliers():
    assert direction_number(table()) == "times as far as kd: more 8, uneven 0.5, turned 1"
