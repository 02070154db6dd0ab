"""Losses held against each other: as a plain loop finds it, and as figure 21 and words say it."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.terms.direction import LossDirection
from kdanalysis.analyzers.terms.direction_pictures import (
    direction_by_teacher,
    direction_or_step,
    direction_over_training,
    direction_scatter,
)
from kdanalysis.analyzers.terms.direction_reading import direction_reading, kind_of
from kdanalysis.analyzers.terms.magnitude import TermMagnitude
from kdanalysis.analyzers.terms.share import TermShare
from kdanalysis.core.partition import TopK
from kdanalysis.draw.colours import LOSSES as LOSSES_COLOURS
from kdanalysis.draw.look import new_axes
from kdanalysis.losses import DKD, GDKD, KD, NKD, CrossEntropy, LogitStandardized, Sum
from kdanalysis.losses.parts import KDParts
from tests.analyzers.readback import legend_is_beside, lines, smallest_font
from tests.analyzers.reference import logits, targets

STUDENT, TEACHER = logits(0), logits(1)
TARGET = torch.where(torch.arange(60) % 2 == 0, TEACHER.argmax(-1), targets(2))
STEP, EPOCH = torch.arange(60) // 30 * 10, torch.arange(60) // 30
ALL_STEPS = -1
SEEDS = [torch.Generator().manual_seed(seed) for seed in (5, 6)]
LOSSES = {
    "kd": KD(2.0, weight=0.5),
    "gdkd": GDKD(3, (1, 2, 8), 2.0),
    "nkd": NKD(),
    "ce+dkd": Sum(CrossEntropy(), DKD()),
    "ls": LogitStandardized(KD(2.0)),
}


def table(student=STUDENT, teacher=TEACHER, losses=LOSSES, split: int = 13) -> pd.DataFrame:
    metric = LossDirection(losses, (0, 10))
    for rows in (slice(None, split), slice(split, None)):
        metric.update(student[rows], teacher[rows], TARGET[rows], STEP[rows], EPOCH[rows])
    return metric.table()


def totals(losses=LOSSES) -> dict[str, np.ndarray]:
    """Gradient of the summed loss by autograd, one row a sample."""
    found = {}
    for name, loss in losses.items():
        leaf = STUDENT.clone().requires_grad_()
        total = sum(loss(leaf, TEACHER, TARGET).values()).sum()
        (slope,) = torch.autograd.grad(total, leaf, create_graph=True)  # torch's own
        found[name] = slope.detach().numpy()
    return found


def row_of(frame, step, teacher, pair):
    frame = frame.assign(step=frame.step.fillna(ALL_STEPS))
    return frame.set_index(["step", "teacher", "loss_a", "loss_b"]).loc[(step, teacher, *pair)]


def test_every_column_agrees_with_a_loop():
    gradients, frame = totals(), table()
    right = (TEACHER.argmax(-1) == TARGET).numpy()
    split = {"right": right, "wrong": ~right, "all": np.ones(60, dtype=bool)}
    assert len(frame) == 3 * 3 * 10
    for step in (0, 10, ALL_STEPS):
        for name, members in split.items():
            chosen = np.flatnonzero(members & np.isin(STEP, [0, 10] if step < 0 else [step]))
            assert len(chosen) > 0
            for pair in combinations(LOSSES, 2):
                a, b = (gradients[loss][chosen] for loss in pair)
                row = row_of(frame, step, name, pair)
                long = [(np.sqrt(x @ x), np.sqrt(y @ y)) for x, y in zip(a, b, strict=True)]
                cosines = [x @ y / p / q for x, y, (p, q) in zip(a, b, long, strict=True)]
                norm_a, norm_b = np.mean(long, axis=0)
                assert row.cosine == pytest.approx(np.mean(cosines), abs=1e-12)
                assert row.conflict == pytest.approx(np.mean([c < 0 for c in cosines]))
                whole = (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)
                assert row.cosine_batch == pytest.approx(whole, abs=1e-12)
                assert (row.norm_a, row.norm_b) == pytest.approx((norm_a, norm_b))
                assert row.multiplier == pytest.approx(norm_b / norm_a)
                ratios = [q / p for p, q in long]
                for q in (25, 50, 75):
                    found = row[{25: "ratio_q25", 50: "ratio_median", 75: "ratio_q75"}[q]]
                    exact = np.percentile(ratios, q, method="inverted_cdf")
                    assert found == pytest.approx(exact, rel=0.038)
                assert (row.n, row.no_gradient) == (len(chosen), 0)


def test_standard_errors_are_those_of_the_jackknife():
    """Every sample left out in turn, by sums in numpy: exact for a mean, near for a ratio."""
    n = 400
    student, teacher = (3 * torch.randn(n, 7, dtype=torch.float64, generator=g) for g in SEEDS)
    losses = {"kd": KD(2.0), "gdkd": GDKD(3, temperature=2.0)}
    metric = LossDirection(losses)
    metric.update(student, teacher)
    row = metric.table().iloc[0]
    labels = teacher.argmax(-1)
    a, b = (sum(x.gradients(student, teacher, labels).values()).numpy() for x in losses.values())
    inner, long = (a * b).sum(-1), [np.sqrt((x * x).sum(-1)) for x in (a, b)]
    left = lambda values: values.sum() - values  # noqa: E731
    found = {
        "cosine_se": left(inner / long[0] / long[1]) / (n - 1),
        "cosine_batch_se": left(inner) / np.sqrt(left(long[0] ** 2) * left(long[1] ** 2)),
        "multiplier_se": left(long[1]) / left(long[0]),
    }
    for name, values in found.items():
        assert row[name] == pytest.approx(np.sqrt((n - 1) * np.var(values)), rel=0.02), name


def test_a_scaled_loss_only_steps_further():
    losses = {"kd": KD(), "more": KD(weight=3.0), "less": KD(weight=-0.5)}
    rows = table(losses=losses).query("loss_a == 'kd'").set_index("loss_b")
    for loss, factor, sign in (("more", 3.0, 1), ("less", 0.5, -1)):
        part = rows.loc[loss]
        np.testing.assert_allclose(part.cosine, sign, rtol=1e-12)
        np.testing.assert_allclose(part.cosine_batch, sign, rtol=1e-12)
        np.testing.assert_allclose(part.multiplier, factor, rtol=1e-12)
        for quartile in ("ratio_q25", "ratio_median", "ratio_q75"):
            np.testing.assert_allclose(part[quartile], factor, rtol=1e-6)
    assert (rows.loc["less"].conflict == 1).all()


def test_samples_weighed_otherwise_show_only_in_the_batch():
    """A loss that scales one sample by 1 and the other by 9 keeps every direction."""

    class Reweighed:
        terms = ("kd",)

        def gradients(self, student, teacher, target, ramp=1.0):
            factor = torch.tensor([[1.0], [9.0]], dtype=torch.float64)
            return {"kd": factor * KD().gradients(student, teacher, target)["kd"]}

    metric = LossDirection({"kd": KD(), "re": Reweighed()})
    metric.update(STUDENT[:2], TEACHER[:2], TARGET[:2])
    row = metric.table().iloc[-1]
    assert row.cosine == pytest.approx(1)
    a = KD().gradients(STUDENT[:2], TEACHER[:2], TARGET[:2])["kd"].square().sum(-1).numpy()
    expected = (a[0] + 9 * a[1]) / np.sqrt((a[0] + a[1]) * (a[0] + 81 * a[1]))
    assert row.cosine_batch == pytest.approx(expected)
    assert row.cosine_batch < 0.95


def test_a_zero_gradient_has_no_direction_but_counts_in_the_norm():
    teacher = TEACHER.clone()
    teacher[:10] = STUDENT[:10]  # KD's and GDKD's gradients are zero there
    losses = {"kd": KD(2.0), "gdkd": GDKD(3), "ce": CrossEntropy()}
    frame = table(teacher=teacher, losses=losses)
    whole = row_of(frame, 0, "all", ("kd", "ce"))
    assert (whole.n, whole.no_gradient) == (30, 10)
    norms = KD(2.0).gradients(STUDENT[:30], teacher[:30], TARGET[:30])["kd"].norm(dim=-1)
    assert whole.norm_a == pytest.approx(norms.sum().item() / 30)
    assert whole.ratio_q75 == np.inf  # in 10 of 30 cross-entropy steps where KD does not
    assert row_of(frame, 0, "all", ("kd", "gdkd")).ratio_q75 < np.inf  # both zero: no ratio


def test_without_labels_there_are_only_all_samples():
    losses = {"kd": KD(), "gdkd": GDKD(3)}
    metric = LossDirection(losses)
    metric.update(STUDENT, TEACHER)
    whole = LossDirection(losses)
    whole.update(STUDENT, TEACHER, TARGET)
    expected = whole.table().query("teacher == 'all'").reset_index(drop=True)
    pd.testing.assert_frame_equal(metric.table(), expected)


def test_epochs_follow_the_steps():
    assert table().groupby("step").epoch.first().to_dict() == {0: 0, 10: 1}
    assert table().epoch.isna().sum() == 3 * 10  # all steps together have none


def test_one_loss_has_nothing_to_be_held_against():
    with pytest.raises(ValueError, match=r"need at least two losses to compare, got \['kd'\]"):
        LossDirection({"kd": KD()})


@pytest.mark.parametrize("analyzer", [LossDirection, TermMagnitude, TermShare])
def test_labels_are_asked_for_where_a_loss_needs_them(analyzer):
    without = analyzer({"kd": KDParts(TopK(3)), "gdkd": GDKD(3)})
    assert without.needs == ("student_logits", "teacher_logits")
    without.update(STUDENT, TEACHER)
    labelled = analyzer({"kd": KDParts(TopK(3)), "gdkd": GDKD(3)})
    labelled.update(STUDENT, TEACHER, TARGET)
    shown = labelled.table()
    if "teacher" in shown:
        shown = shown[shown.teacher == "all"].reset_index(drop=True)
    pd.testing.assert_frame_equal(without.table(), shown)
    needing = analyzer({"gdkd": GDKD(3), "dkd": DKD()})
    assert "target" in needing.needs
    with pytest.raises(ValueError, match="the loss 'dkd' needs labels"):
        needing.update(STUDENT, TEACHER)


EXAMPLE_LOSSES = ("kd", "more", "uneven", "turned")
COSINES = {"more": (0.99, 0.98), "uneven": (0.97, 0.9), "turned": (-0.3, -0.25)}
STEPS = {"more": 8.0, "uneven": 0.5, "turned": 1.0}


def example(steps=(0,), losses=EXAMPLE_LOSSES) -> pd.DataFrame:
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
    errors = dict.fromkeys(("cosine_se", "cosine_batch_se", "multiplier_se"), 0.005)
    return frame.astype({"step": "Int64"}).assign(**errors, non_finite=0)


SHIFTS = {"right": 0.01, "wrong": -0.01, "all": 0.0}


def test_cells_hold_both_cosines_on_one_scale():
    figure = direction_or_step(example())
    cells = figure.axes[1]
    (image,) = cells.images
    shown = np.asarray(image.get_array().filled(np.nan))
    assert shown[:, 0].tolist()[1:] == [0.99, 0.97, -0.3]  # by sample
    assert shown[0].tolist()[1:] == [0.98, 0.9, -0.25]  # over the batch
    assert np.isnan(shown.diagonal()).all()
    assert image.get_clim() == (-1, 1)
    texts = {text.get_position(): text.get_text() for text in cells.texts}
    assert texts[(0, 3)] == "\u22120.30\n25 %"
    assert texts[(3, 0)] == "\u22120.25"
    assert [label.get_text() for label in cells.get_yticklabels()] == list(EXAMPLE_LOSSES)
    assert figure.axes[0].get_title(loc="left") == "10 samples"


def test_dots_are_cosine_and_step_with_a_line_over_the_middle_half():
    figure = direction_or_step(example())
    scatter = figure.axes[0]
    assert scatter.get_xscale() == "log"
    dots = [line for line in scatter.lines if line.get_marker() == "o"]
    places = [(dot.get_xdata()[0], dot.get_ydata()[0]) for dot in dots]
    assert places == [(1, 1), (8, 0.99), (0.5, 0.97), (1, -0.3)]
    spans = [c.get_segments()[0] for c in scatter.collections]
    assert [span[:, 0].tolist() for span in spans] == [[0.8 * t, 1.5 * t] for t in STEPS.values()]
    assert len({dot.get_color() for dot in dots}) == 4
    names = [text.get_text() for text in scatter.texts]
    assert names == ["kd", "more, 8.00 \u00d7", "uneven, 0.50 \u00d7", "turned, 1.00 \u00d7"]
    assert dots[0].get_color() == LOSSES_COLOURS["kd"]
    assert smallest_font(figure) >= 9


def test_the_scatter_alone_takes_axes():
    ax = new_axes()
    assert direction_scatter(example(), ax) is ax


def test_a_single_pair_is_drawn():
    figure = direction_or_step(example(losses=("kd", "more")))
    assert np.asarray(figure.axes[1].images[0].get_array().filled(0)).tolist() == [
        [0, 0.98],
        [0.99, 0],
    ]


def test_samples_the_teacher_gets_wrong_can_be_drawn_alone():
    figure = direction_or_step(example(), teacher="wrong")
    assert figure.axes[0].get_title(loc="left") == "10 samples, teacher wrong"
    assert figure.axes[1].images[0].get_array()[1, 0] == pytest.approx(0.98)
    with pytest.raises(ValueError, match=r"teacher is one of .* got 'x'"):
        direction_or_step(example(), teacher="x")


def test_right_and_wrong_share_one_scale():
    right, wrong = direction_by_teacher(example()).axes[:2]
    assert right.get_title(loc="left") == "teacher right: 8 samples"  # with a direction
    assert right.images[0].get_array()[0, 0] == pytest.approx(1.0)
    assert wrong.images[0].get_array()[0, 0] == pytest.approx(0.98)


def test_all_steps_together_are_shown_and_each_of_them_is_a_point():
    frame = example(steps=(0, 100))
    assert direction_or_step(frame).axes[1].images[0].get_array()[1, 0] == 0.99
    cosine, step = direction_over_training(frame).axes
    assert list(lines(cosine)) == ["more", "uneven", "turned"]
    assert lines(cosine)["more"] == ([0, 100], pytest.approx([0.99, 0.89]))
    drawn = [list(line.get_ydata()) for line in step.lines if len(line.get_xdata()) == 2]
    assert drawn[:3] == [[8, 8], [0.5, 0.5], [1, 1]]
    assert legend_is_beside(cosine)


def test_a_loss_has_its_colour_over_training_too():
    named = example(steps=(0, 100)).replace({"more": "dkd", "uneven": "gdkd", "turned": "ce"})
    top, _ = direction_over_training(named).axes
    found = {line.get_label(): line.get_color() for line in top.lines}
    assert {name: found[name] for name in ("dkd", "gdkd", "ce")} == {
        name: LOSSES_COLOURS[name] for name in ("dkd", "gdkd", "ce")
    }


def test_the_sentence_sorts_the_losses_by_the_threshold():
    claim = direction_reading(example()).sentence
    scaled, rest = claim.split("By the mean over samples the direction of kd")
    assert scaled.startswith("Only the step differs from kd: more (cosine 0.990 ± 0.011, over")
    assert "8.000 ± 0.011 times as far" in scaled
    assert "cosines of at least 0.95" in scaled
    uneven, turned = rest.split("Not only the step, the direction differs from kd: ")
    assert "uneven (cosine 0.970 ± 0.011, over the batch 0.900 ± 0.011; 0.500 ±" in uneven
    cosines = "cosine \u22120.300 ± 0.011, over the batch \u22120.250 ± 0.011"
    assert turned == f"turned ({cosines}; 1.000 ± 0.011 times as far)."


@pytest.mark.parametrize(
    ("cosine", "batch", "error", "kind"),
    [
        (0.95, 0.95, 0.0, "scaled"),
        (0.9499, 0.99, 0.0, "turned"),
        (0.96, 0.9499, 0.0, "uneven"),
        (0.97, 0.97, 0.011, "open"),  # 0.948 to 0.992
        (0.93, 0.93, 0.011, "open"),
        (0.93, 0.93, 0.010, "turned"),
        (0.99, 0.96, 0.006, "open"),
        (0.99, 0.99, np.nan, "open"),
        (np.nan, np.nan, np.nan, ""),
    ],
)
def test_the_threshold_is_the_stated_one_for_the_whole_interval(cosine, batch, error, kind):
    errors = {"cosine_se": error, "cosine_batch_se": error}
    row = pd.Series({"cosine": cosine, "cosine_batch": batch, "multiplier": 1.0} | errors)
    assert kind_of(row) == kind


def test_of_the_same_gradient_no_step_differs():
    frame = example(losses=("kd", "more", "turned"))
    numbers = ["cosine", "cosine_batch", "multiplier"]
    frame.loc[frame.loss_b == "more", numbers] = 1 - 1e-14
    assert direction_reading(frame).sentence.startswith("The gradient of kd itself: more. Not only")


@pytest.mark.parametrize("column", ["cosine", "cosine_batch", "multiplier"])
def test_a_gradient_that_is_a_thousandth_off_is_another(column):
    """A cosine of 1 - 5e-7 is a step of 0.001 aside."""
    exact = {"cosine": 1.0, "cosine_batch": 1.0, "multiplier": 1.0}
    errors = {"cosine_se": 0.0, "cosine_batch_se": 0.0}
    off = 1.001 if column == "multiplier" else 1 - 5e-7
    assert kind_of(pd.Series(exact | errors)) == "equal"
    assert kind_of(pd.Series(exact | errors | {column: off})) == "scaled"


def test_a_pair_without_any_direction_is_said():
    frame = example(losses=("kd", "more", "turned"))
    gone = frame.loss_b == "more"
    frame.loc[gone, ["cosine", "cosine_batch", "conflict", "multiplier"]] = np.nan
    assert (
        "No sample has both a gradient of kd and of these losses: more."
        in direction_reading(frame).sentence
    )
    dots = [o for o in direction_or_step(frame).axes[0].lines if o.get_marker() == "o"]
    assert len(dots) == 2


def test_the_number_lists_the_multipliers():
    assert (
        direction_reading(example()).number
        == "times as far as kd: more 8.00, uneven 0.50, turned 1.00"
    )
