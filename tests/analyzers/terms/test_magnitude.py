"""Gradient magnitude by step: autograd's norms, drawn, and the sentence about them."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import t as student_t

from kdanalysis.analyzers.terms.magnitude import (
    TermMagnitude,
    magnitude_of_terms,
    magnitude_over_training,
    magnitude_reading,
)
from kdanalysis.draw.colours import term_colour
from kdanalysis.losses import DKD, GDKD, KD
from tests.analyzers.readback import lines, smallest_font
from tests.analyzers.reference import autograd_gradients, logits, targets

STUDENT, TEACHER, TARGET = logits(0), logits(1), targets(2)
STEP = torch.arange(60) // 20 * 50
EPOCH = torch.arange(60) // 40
LOSSES = {"kd": KD(2.0), "gdkd": GDKD(3, (1, 2, 8), 2.0), "dkd": DKD(1, 6, 2.0)}
WEIGHTS = {"kd": 1, "high": 1, "low_top": 2, "low_other": 8, "tckd": 1, "nckd": 6}


def table(student=STUDENT, teacher=TEACHER, split: int = 33) -> pd.DataFrame:
    metric = TermMagnitude(LOSSES, (0, 50, 100))
    for rows in (slice(None, split), slice(split, None)):
        metric.update(student[rows], teacher[rows], TARGET[rows], STEP[rows], EPOCH[rows])
    return metric.table()


def test_means_and_quartiles_agree_with_autograd_and_numpy():
    gradients = autograd_gradients(STUDENT, TEACHER, TARGET, 3, 2.0)
    rows = table()
    assert len(rows) == 3 * 6
    for row in rows.itertuples():
        norms = np.linalg.norm(gradients[row.term], axis=1) * WEIGHTS[row.term]
        norms = norms[STEP.numpy() == row.step]
        assert row.mean == pytest.approx(norms.mean())
        for name, q in (("q25", 0.25), ("median", 0.5), ("q75", 0.75)):
            exact = np.quantile(norms, q, method="inverted_cdf")
            assert getattr(row, name) == pytest.approx(exact, rel=0.037)
        assert row.std == pytest.approx(norms.std(ddof=1))
        assert row.n == 20
        assert row.weighted == (row.loss != "kd")


def test_every_step_has_its_epoch():
    epochs = table().groupby("step").epoch.first()
    assert epochs.to_dict() == {0: 0, 50: 0, 100: 1}
    assert table().epoch.dtype == "int64"


def test_rows_name_loss_and_term():
    first = table().query("step == 0")
    assert list(zip(first.loss, first.term, strict=True)) == [
        ("kd", "kd"),
        ("gdkd", "high"),
        ("gdkd", "low_top"),
        ("gdkd", "low_other"),
        ("dkd", "tckd"),
        ("dkd", "nckd"),
    ]


def test_a_zero_gradient_reads_zero():
    metric = TermMagnitude({"kd": KD()})
    metric.update(STUDENT, STUDENT, TARGET)
    row = metric.table().iloc[0]
    assert row[["mean", "q25", "median", "q75"]].tolist() == [0, 0, 0, 0]
    assert pd.isna(row.epoch)


def test_a_batch_without_finite_rows_gives_nan():
    metric = TermMagnitude(LOSSES)
    metric.update(torch.full_like(STUDENT, torch.nan), TEACHER, TARGET)
    rows = metric.table()
    assert rows["mean"].isna().all()
    assert (rows.n == 0).all()
    assert (rows.non_finite == 60).all()


def test_analyzers_of_other_weights_do_not_merge():
    left, right = TermMagnitude({"kd": KD(2.0)}), TermMagnitude({"kd": KD(4.0)})
    with pytest.raises(ValueError, match="must be the same on both sides"):
        left.merge_state(right)


@pytest.mark.parametrize(
    ("losses", "steps", "message"),
    [
        ({}, (0,), "need at least one loss, got none"),
        (LOSSES, (), "need at least one captured step"),
        (LOSSES, (1, 1), "one is given twice"),
    ],
)
def test_an_analyzer_that_cannot_be_is_refused(losses, steps, message):
    with pytest.raises(ValueError, match=message):
        TermMagnitude(losses, steps)


def test_steps_that_were_not_announced_are_refused():
    metric = TermMagnitude(LOSSES, (0, 50))
    with pytest.raises(ValueError, match="step 100 is not among the 2 steps"):
        metric.update(STUDENT, TEACHER, TARGET, STEP)
    with pytest.raises(ValueError, match="step 25 is not among the 2 steps"):
        metric.update(STUDENT, TEACHER, TARGET, torch.full_like(STEP, 25))
    with pytest.raises(ValueError, match="expects 2 steps, need the step of a sample"):
        metric.update(STUDENT, TEACHER, TARGET)


def example(kd: float = 0.01, gdkd: float = 0.5, non_finite: int = 0) -> pd.DataFrame:
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
    return pd.DataFrame(rows, columns=names).assign(weighted=False, std=0.1)


def test_lines_and_bands_are_the_tables_a_panel_a_loss():
    figure = magnitude_over_training(example())
    single, split = figure.axes
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["gdkd", "kd"]
    assert list(lines(split)) == ["high", "low_other"]
    x, y = lines(single)["low_other"]
    assert x == [0, 5, 10]
    assert y == pytest.approx([0.5, 3.0, 5.5])
    band = single.collections[0].get_paths()[0].vertices
    assert {0.25, 1.0} == set(np.round(band[:, 1], 9))
    assert single.get_yscale() == "log"
    assert single.get_ylim() == split.get_ylim()
    assert "weighted" in figure.get_supylabel()
    assert smallest_font(figure) >= 9


def test_losses_of_one_term_share_a_panel_and_unit_weights_stay_in_the_table():
    single = example().query("loss == 'gdkd'")
    unit = example().query("loss == 'kd'").assign(loss="gdkd 1/1/1")
    whole = pd.concat([example(), single.assign(loss="ce", term="ce"), unit])
    titles = [ax.get_title(loc="left") for ax in magnitude_over_training(whole).axes]
    assert titles == ["losses of one term", "kd"]


def test_a_term_has_one_colour_in_all_panels():
    single, split = magnitude_over_training(example()).axes
    assert single.lines[0].get_color() == split.lines[1].get_color() == term_colour("low_other")


def test_left_out_samples_are_stated():
    label = magnitude_over_training(example(non_finite=3)).get_supxlabel()
    assert "3 samples with NaN" in label
    assert "NaN" not in magnitude_over_training(example()).get_supxlabel()


def test_math_in_a_users_name_stays_text():
    named = example().replace({"loss": {"kd": "a$b$"}})
    titles = [ax.title_left if hasattr(ax, "title_left") else ax._left_title
              for ax in magnitude_over_training(named).axes]  # fmt: skip
    assert titles[1].get_text() == "a$b$"
    assert not titles[1].get_parse_math()


def test_a_zero_norm_leaves_a_gap():
    figure = magnitude_over_training(example().assign(mean=[0.0] * 3 + [1.0] * 6))
    assert all(np.isnan(line.get_ydata()[0]) for ax in figure.axes for line in ax.lines)


def test_sentence_and_number_follow_the_table():
    sentence, number = magnitude_reading(example())
    assert sentence == (
        "Is the non-top term the longest of its loss, with every weight 1? low_other in kd: "
        "the opposite is seen (0.06 against high 1.80, \u22121.74 ± 0.32)."
    )
    assert number == "kd: low_other 0.06; gdkd: low_other 3"
    assert (
        "low_other in kd: seen (3.60 against high 1.80" in magnitude_reading(example(0.6)).sentence
    )


def test_a_term_without_a_gradient_is_not_held_against_others():
    other = example().term == "low_other"
    silent = magnitude_reading(example().assign(mean=example()["mean"].where(~other, 0.0)))
    assert silent.sentence.endswith("with every weight 1? low_other in kd has no gradient.")


def test_the_interval_is_that_of_two_independent_means():
    rows = example().query("loss == 'kd'")
    spread = []
    for term in ("low_other", "high"):
        part = rows[rows.term == term]
        samples = np.concatenate([np.full(20, m) for m in part["mean"]])
        within = 3 * 19 * 0.1**2
        variance = (within + ((samples - samples.mean()) ** 2).sum()) / 59
        spread.append(variance / 60)
    assert (
        f"± {student_t.ppf(0.975, 59) * np.sqrt(sum(spread)):.2g})"
        in magnitude_reading(example()).sentence
    )


def test_sentence_says_as_weighted_where_no_loss_has_unit_weights():
    sentence = magnitude_reading(example().assign(weighted=True)).sentence
    assert "longest of its loss, as the loss weighs it? low_other in kd" in sentence
    assert magnitude_reading(example().query("term == 'high'")).sentence.startswith("No loss here")


def test_a_single_step_is_a_dot_a_term_and_a_line_over_the_middle_half():
    frame = pd.DataFrame(
        {
            "loss": ["kd", "gdkd", "gdkd"],
            "term": ["kd", "high", "low_other"],
            "step": 0,
            "weighted": True,
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


def test_that_the_longest_of_two_others_is_longer_is_said_at_a_level_for_both():
    rows = [("high", 1.21), ("low_top", 1.0), ("low_other", 1.0)]  # 0.21 is 2.1 errors
    table = pd.DataFrame(rows, columns=["term", "mean"])
    table = table.assign(loss="gdkd", step=0, weighted=False, std=0.1 * 200**0.5 / 2, n=100)
    assert (
        "low_other in gdkd: not seen (1.00 against high 1.21" in magnitude_reading(table).sentence
    )
    pair = magnitude_reading(table[table.term != "low_top"]).sentence
    assert "low_other in gdkd: the opposite is seen" in pair
