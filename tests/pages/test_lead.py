"""The first screen: intervals as published, who leads by more than chance, dots in place."""

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.evidence import Interval, wilson
from kdanalysis.analyzers.sweep.gram import TermGram
from kdanalysis.draw.colours import LOSSES, TEACHER
from kdanalysis.losses import DKD, GDKD, KD
from kdanalysis.pages.accuracies import (
    accuracies_at_the_end,
    accuracy_line,
    accuracy_of_networks,
    several_teachers,
)
from kdanalysis.pages.compare_losses import loss_tables
from kdanalysis.pages.explorer import Explorer
from kdanalysis.pages.lead import (
    cosine_against_step,
    direction_line,
    lead_of,
    spread,
    weight_line,
)
from kdanalysis.studies.opening import open_source


def accuracies(*shares: float, n: int = 400) -> pd.DataFrame:
    names = ["teacher", "kd", "dkd", "gdkd"][: len(shares)]
    return pd.DataFrame({"network": names, "accuracy": shares, "n": n})


def test_a_lead_is_chance_or_more_as_its_interval_says():
    close = accuracy_line(accuracies(0.9, 0.70, 0.72), "here")
    assert "dkd leads kd by 2.0 ± 6.3 points (as of independent samples), within chance" in close
    far = accuracy_line(accuracies(0.9, 0.60, 0.72), "here")
    assert "by 12.0 ± 6.6 points (as of independent samples), more than chance over samples" in far
    three = accuracy_line(accuracies(0.9, 0.60, 0.72, 0.66), "here")
    assert "by 12.0 ± 8.0 points (as of independent samples, 95 % for all 3 pairs " in three
    errors = pd.DataFrame(0.005, ["dkd", "kd"], ["kd", "dkd"])
    paired = accuracy_line(accuracies(0.9, 0.70, 0.72), "here", errors)
    assert "by 2.0 ± 1.0 points (sample by sample), more than chance over samples" in paired
    assert "No student is right more often" in accuracy_line(accuracies(0.9, 0.6, 0.6), "here")
    assert "leads" not in accuracy_line(accuracies(0.9, 0.6), "here")


def test_dots_and_lines_stand_at_accuracy_and_interval():
    ax = accuracy_of_networks(accuracies(0.9, 0.7))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["teacher", "kd"]
    dots = [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 1]
    assert dots == pytest.approx([90, 70])
    ends = [list(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 2]
    assert ends[1] == pytest.approx([100 * end for end in wilson(0.7, 400)])


def ends_of(teacher: float, student: float, n: int = 400) -> pd.DataFrame:
    shares = {"agreement": 0.5, "student_accuracy": student, "teacher_accuracy": teacher}
    return pd.DataFrame({"step": [0], "epoch": [pd.NA], "n": [n], **shares})


def test_teachers_that_are_not_alike_are_told_apart_and_so_are_their_samples():
    tables = {"a": ends_of(0.83, 0.69), "b": ends_of(0.84, 0.72), "c": ends_of(0.9, 0.7, 300)}
    frame = accuracies_at_the_end(tables)
    assert frame.network.tolist() == ["teacher of a", "teacher of c", "a", "b", "c"]
    assert frame.accuracy.tolist() == [0.83, 0.9, 0.69, 0.72, 0.7]
    assert frame.n.tolist() == [400, 300, 400, 400, 300]
    line = accuracy_line(frame, "here")
    assert "teacher of a 83.0 %" in line
    assert "b leads a by" in line
    assert "within chance; their samples are not the same" in line
    paired = pd.DataFrame(0.001, list("abc"), list("abc"))
    assert "not the same" not in accuracy_line(frame, "here", paired)
    colours = [x.get_color() for x in accuracy_of_networks(frame).lines if x.get_marker() == "o"]
    assert colours[:2] == [TEACHER, TEACHER]
    assert TEACHER not in colours[2:]


def test_one_teacher_of_all_is_told_once():
    frame = accuracies_at_the_end({"a": ends_of(0.83, 0.69), "b": ends_of(0.83, 0.72)})
    assert frame.network.tolist() == ["teacher", "a", "b"]
    assert "not the same" not in accuracy_line(frame, "here")
    assert accuracies_at_the_end({}).empty


def test_students_of_several_teachers_or_samples_are_told_to_be():
    frame = pd.DataFrame({"teacher_accuracy": [0.829, 0.8424, np.nan]})
    assert several_teachers(frame).endswith("the teacher is right on 82.9 % to 84.2 %")
    assert several_teachers(frame[1:]) == several_teachers(frame[["teacher_accuracy"]][:0]) == ""


@pytest.fixture
def direction(logits):
    losses = {"kd": KD(2.0), "dkd": DKD(temperature=2.0), "gdkd": GDKD(3, temperature=2.0)}
    names = ("teacher_logits", "student_logits", "target")
    source = open_source(dict(zip(names, logits, strict=True)))
    return loss_tables(source, losses)["direction"]


def test_a_dot_stands_at_the_cosine_and_step_of_its_loss(direction):
    ax = cosine_against_step({"a": direction, "b": direction})
    rows = direction[(direction.teacher == "all") & (direction.loss_a == "kd")]
    dots = [[*zip(line.get_xdata(), line.get_ydata(), strict=True)] for line in ax.lines]
    expected = zip(rows.cosine, rows.multiplier, strict=True)
    assert dots[:2] == [[dot, dot] for dot in expected]  # of either run
    assert [text.get_text() for text in ax.texts] == ["dkd", "gdkd", "kd"]
    assert [line.get_color() for line in ax.lines[:2]] == [LOSSES["dkd"], LOSSES["gdkd"]]
    assert ax.get_legend() is None  # losses are named, runs are not
    assert ax.get_xlabel() == "mean cosine to kd (a dot a student)"
    assert cosine_against_step({"": direction}).get_xlabel() == "mean cosine to kd"


def test_the_sentence_spans_the_runs(direction):
    further = direction.assign(cosine=direction.cosine / 2, multiplier=3 * direction.multiplier)
    text = direction_line({"a": direction, "b": further})
    row = direction[(direction.teacher == "all") & (direction.loss_b == "gdkd")].iloc[0]
    span = f"gdkd cosine {row.cosine / 2:.2f} to {row.cosine:.2f}"
    assert f"{span} (± {np.ceil(196 * row.cosine_se) / 100:.2f} or less)" in text
    assert "mean over samples, from the least to the largest of 2 students: dkd " in text
    assert f"{row.multiplier:.1f} to {3 * row.multiplier:.1f} (± " in text
    alone = direction_line({"a": direction})
    assert f"gdkd cosine {row.cosine:.2f} ± {1.96 * row.cosine_se:.2f}, " in alone
    assert "mean over samples: dkd " in alone


def test_no_interval_is_written_as_0():
    assert spread([Interval(1.03, 0.031)], 1) == "1.03 ± 0.03"
    assert (
        spread([Interval(1.03, 0.031), Interval(1.21, 0.02)], 1) == "1.03 to 1.21 (± 0.04 or less)"
    )
    assert spread([Interval(1.03, float("nan")), Interval(1.21, 0.02)], 1) == "1.0 to 1.2"


def test_the_explorer_tells_the_split_from_the_weight(logits):
    teacher, student, target = (torch.tensor(values) for values in logits)
    analyzer = TermGram(7, (1.0, 2.0))
    analyzer.update(student, teacher, target)
    explorer = Explorer({"kd": analyzer.gram()}, 2.0, 3)
    losses = {
        "kd": KD(2.0),
        "one": GDKD(3, (1.0, 1.0, 1.0), 2.0),
        "eight": GDKD(3, (1.0, 1.0, 8.0), 2.0),
    }
    source = {"teacher_logits": teacher, "student_logits": student, "target": target}
    table = loss_tables(open_source(source), losses)["direction"]
    rows = table[(table.teacher == "all") & (table.loss_a == "kd")].set_index("loss_b")
    text = weight_line(explorer)
    for name, weights in (("one", "1/1/1"), ("eight", "1/1/8")):
        row = rows.loc[name]
        told = f"{weights} cosine {row.cosine_batch:.2f}, {row.multiplier_batch:.1f} times as far"
        assert told in text
        found = explorer.at("kd", tuple(float(w) for w in weights.split("/")))
        assert found == pytest.approx((row.cosine_batch, row.multiplier_batch), rel=1e-6)


def test_a_page_without_what_it_needs_has_fewer_lines(direction):
    assert len(lead_of({"direction": {"": direction}}).verdict) == 1
    assert lead_of({}).verdict == []
