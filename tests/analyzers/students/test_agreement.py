"""Accuracies and agreement are sklearn's accuracy of the arg max; lines and words follow them."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score

from kdanalysis.analyzers.evidence import difference_of_shares
from kdanalysis.analyzers.students.agreement import (
    Agreement,
    agreement_over_training,
    agreement_reading,
    ahead_of_student,
    at_the_end,
)
from kdanalysis.pages.accuracies import accuracies_at_the_end, where_of
from tests.analyzers.readback import legend_is_beside, lines, smallest_font
from tests.analyzers.reference import logits, targets

TEACHER = logits(1)
STUDENT = torch.where(torch.arange(60).unsqueeze(-1) % 3 > 0, TEACHER, logits(0))
TARGET = torch.where(torch.arange(60) % 2 == 0, TEACHER.argmax(-1), targets(2))
STEP, EPOCH = torch.arange(60) // 20 * 5, torch.arange(60) // 40


def filled(student=STUDENT, split: int = 13) -> Agreement:
    metric = Agreement((0, 5, 10))
    for rows in (slice(None, split), slice(split, None)):
        metric.update(student[rows], TEACHER[rows], TARGET[rows], STEP[rows], EPOCH[rows])
    return metric


def test_shares_agree_with_sklearn():
    frame = filled().table()
    assert frame.step.tolist() == [0, 5, 10]
    assert frame.epoch.tolist() == [0, 0, 1]
    for row in frame.itertuples():
        here = row.step == STEP
        student, teacher = STUDENT[here].argmax(-1), TEACHER[here].argmax(-1)
        assert row.agreement == pytest.approx(accuracy_score(teacher, student))
        assert row.student_accuracy == pytest.approx(accuracy_score(TARGET[here], student))
        assert row.teacher_accuracy == pytest.approx(accuracy_score(TARGET[here], teacher))
        assert 0.2 < row.student_accuracy < row.teacher_accuracy < row.agreement + 0.5 < 1.5
        assert row.n == 20


def test_without_labels_there_is_agreement_alone():
    metric = Agreement()
    metric.update(STUDENT, TEACHER)
    row = metric.table().iloc[0]
    assert row.agreement == pytest.approx(filled().table().agreement.mean())
    assert pd.isna(row.student_accuracy)
    assert pd.isna(row.teacher_accuracy)


TABLE = pd.DataFrame(
    {
        "step": [0, 10, 20, 30],
        "epoch": [0, 0, 1, 1],
        "agreement": [0.1, 0.2, 0.4, 0.8],
        "student_accuracy": [0.0, 0.1, 0.2, 0.4],
        "teacher_accuracy": [0.5, 0.5, 0.5, 0.5],
        "n": [10, 10, 30, 10],
        "non_finite": 0,
    }
)


def test_lines_are_the_shares_in_percent():
    ax = agreement_over_training(TABLE)
    drawn = lines(ax)
    assert drawn["agrees with its teacher"] == ([0, 10, 20, 30], [10, 20, 40, 80])
    assert drawn["student right"][1] == pytest.approx([0, 10, 20, 40])
    assert drawn["teacher right"][1] == [50] * 4
    assert smallest_font(ax.figure) >= 9
    assert legend_is_beside(ax)


def test_without_labels_there_is_one_line():
    frame = TABLE.assign(student_accuracy=np.nan, teacher_accuracy=np.nan)
    assert list(lines(agreement_over_training(frame))) == ["agrees with its teacher"]
    assert "without labels nothing is known" in agreement_reading(frame).sentence
    assert agreement_reading(frame).number == "agreement 50.0 %"


def test_the_end_is_the_last_epoch_weighted_by_samples():
    last = at_the_end(TABLE)
    assert last.agreement == pytest.approx((0.4 * 30 + 0.8 * 10) / 40)
    assert last.n == 40
    assert last.when == "Over the captured samples of epoch 1"
    unknown = TABLE.assign(epoch=pd.array([pd.NA] * 4, dtype="Int64"))
    assert at_the_end(unknown).agreement == 0.8
    assert at_the_end(unknown).when == "At the last captured step"
    assert at_the_end(TABLE.iloc[:1]).when == "Over all samples"
    alone = at_the_end(TABLE.assign(epoch=0))  # as of a loop that never sets recorder.epoch
    assert (alone.when, alone.n) == ("Over all samples", 60)
    diverged = at_the_end(TABLE.assign(n=[10, 10, 0, 0]))  # a second epoch of NaN alone
    assert diverged.when == ("Over the captured samples of epoch 0 (none is finite after step 10)")
    assert where_of({"a": TABLE, "b": TABLE.assign(n=[10, 10, 0, 0])}) == (
        "over the captured samples of the last epoch with finite logits"
    )


def test_words_follow_the_numbers():
    assert agreement_reading(TABLE).sentence == (
        "Over the captured samples of epoch 1 the student says what its teacher says on 50.0 % of "
        "samples, and is right on 25.0 % where the teacher is on 50.0 %; that it is behind is "
        "seen: \u221225.0 ± 21.3 points."
    )
    few = agreement_reading(TABLE.assign(n=[10, 10, 15, 5])).sentence
    assert "that it is behind is not seen: \u221225.0 ± " in few
    better = agreement_reading(TABLE.assign(teacher_accuracy=0.2)).sentence
    assert "that it is behind is not seen: +5.0 ± " in better
    same = TABLE.assign(agreement=1.0, student_accuracy=0.5, n=[10, 10, 300, 100])
    assert "that it is behind is not seen: +0.0 ± 0.7 points." in agreement_reading(same).sentence


def at_an_end(student: np.ndarray, teacher: np.ndarray, label: np.ndarray) -> pd.Series:
    counts = {"n": len(label), "labelled": len(label), "agreement": (student == teacher).mean()}
    right = {"student_accuracy": student == label, "teacher_accuracy": teacher == label}
    return pd.Series(counts | {name: one.mean() for name, one in right.items()})


@pytest.mark.parametrize("apart", [0.0, 0.02, 0.3])
def test_that_the_student_is_behind_is_asked_of_the_same_samples(apart):
    rng, n = np.random.default_rng(0), 2000
    teacher, other = rng.integers(0, 10, (2, n))
    label = np.where(rng.random(n) < 0.8, teacher, other)
    student = np.where(rng.random(n) < apart, rng.integers(0, 10, n), teacher)
    last = at_an_end(student, teacher, label)
    gap = 1.0 * (teacher == label) - (student == label)
    found, paired = ahead_of_student(last), 1.96 * gap.std() / n**0.5
    assert found.value == pytest.approx(gap.mean())
    assert paired < found.half < 1.5 * paired + 0.0015  # where all agree it is not 0, either

    without, unlike = last.copy(), last.copy()
    without["labelled"], unlike["agreement"] = n - 1, 0.0
    assert ahead_of_student(unlike).half == pytest.approx(ahead_of_student(without).half, rel=1e-3)
    assert ahead_of_student(unlike).half > 0.02  # as of two sets of samples


def test_where_they_differ_the_teacher_alone_is_right():
    names = ["n", "labelled", "agreement", "teacher_accuracy", "student_accuracy"]
    found = ahead_of_student(pd.Series([998, 998, 0.6, 0.9, 0.5], names))
    of_both = (0.4 * 998 + 2) / 1000 - (0.4 * 998 / 1000) ** 2
    assert found.half == pytest.approx(1.96 * (of_both / 1000) ** 0.5 + 0.4 * 2 / 1000)


def test_a_last_step_without_finite_samples_is_not_the_end():
    last = TABLE.assign(n=[10, 10, 30, 0], epoch=pd.array([pd.NA] * 4, dtype="Int64"))
    last.loc[3, ["agreement", "student_accuracy", "teacher_accuracy"]] = np.nan
    assert at_the_end(last).agreement == 0.4
    assert at_the_end(last).when == "At step 20 (none is finite after step 20)"


def test_the_number_is_of_the_end():
    assert (
        agreement_reading(TABLE).number
        == "agreement 50.0 %, student right 25.0 %, teacher right 50.0 %"
    )


def test_accuracies_at_the_end_are_over_the_labelled_rows_of_all_its_steps():
    metric, labelled = Agreement((0, 5, 10, 15)), torch.arange(60) % 7 == 0
    labelled[40:50] = False  # none at step 10
    step = torch.where(torch.arange(60) < 50, STEP, 15)
    for rows, target in ((labelled, TARGET), (~labelled, None)):
        known = None if target is None else target[rows]
        metric.update(STUDENT[rows], TEACHER[rows], known, step[rows], EPOCH[rows])
    frame = metric.table()
    assert frame.labelled.tolist() == [3, 3, 0, 1]
    frame.loc[1, "epoch"] = 1
    last, late = at_the_end(frame), (torch.arange(60) >= 20) & labelled
    assert (last.n, last.labelled) == (40, 4)
    right = (STUDENT.argmax(-1) == TARGET)[late].double().mean()
    assert last.student_accuracy == pytest.approx(float(right))
    gap = difference_of_shares(last.teacher_accuracy, 4, last.student_accuracy, 4)
    assert gap.negated.points() in agreement_reading(frame).sentence
    assert accuracies_at_the_end({"": frame}).n.tolist() == [4, 4]
    assert "labelled" not in filled().table()
