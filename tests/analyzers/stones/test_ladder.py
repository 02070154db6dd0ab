"""The ladder's sides against scipy and sklearn, sample by sample; the gradients' table by hand."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import log_softmax
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score

from kdanalysis.analyzers.stones.gradient import gradient_table
from kdanalysis.analyzers.stones.ladder import LadderProfile
from tests.analyzers.reference import logits, targets

TEACHER = logits(1)
CLASSES = TEACHER.shape[1]
SIDES = ("student", "stone_1", "stone_2")
STEPS = {"teacher": "stone_1", "stone_1": "stone_2", "stone_2": "student", "student": "student"}
STACKED = torch.stack([logits(0), 0.3 * logits(0) + TEACHER, logits(2) + TEACHER], -1)
TARGET = torch.where(torch.arange(60) % 2 == 0, TEACHER.argmax(-1), targets(2))


def filled(stacked=STACKED, teacher=TEACHER, target=TARGET, split=23, **options) -> LadderProfile:
    metric = LadderProfile(SIDES, CLASSES, **options)
    for rows in (slice(None, split), slice(split, None)):
        metric.update(stacked[rows], teacher[rows], None if target is None else target[rows])
    return metric


def test_every_measure_agrees_with_a_plain_loop():
    table = filled(k=2, temperature=2.0).table().set_index("side")
    assert table.index.tolist() == ["teacher", "stone_1", "stone_2", "student"]
    sides = dict(zip((*SIDES, "teacher"), (*STACKED.unbind(-1), TEACHER), strict=True))
    for name, side in sides.items():
        row, z, t, s = table.loc[name], side.numpy(), TEACHER.numpy(), STACKED[..., 0].numpy()
        assert row.accuracy == pytest.approx(accuracy_score(TARGET, z.argmax(-1)))
        assert row.agreement_teacher == pytest.approx(accuracy_score(t.argmax(-1), z.argmax(-1)))
        assert row.agreement_student == pytest.approx(accuracy_score(s.argmax(-1), z.argmax(-1)))
        assert row.divergence_teacher == pytest.approx(divergence(t / 2, z / 2), abs=1e-12)
        assert row.divergence_student == pytest.approx(divergence(s / 2, z / 2), abs=1e-12)
        tops = [np.argsort(-x, -1)[:, :2] for x in (z, t)]
        overlap = np.mean([len(set(a) & set(b)) / 2 for a, b in zip(*tops, strict=True)])
        assert row.overlap == pytest.approx(overlap)
        rest = [np.setdiff1d(range(CLASSES), top) for top in tops[1]]
        relations = [spearmanr(z[i, r], t[i, r])[0] for i, r in enumerate(rest)]
        assert row.relation == pytest.approx(np.mean(relations))
        for column, other in (("step_se", STEPS[name]), ("nearer_se", "student")):
            more = each_divergence(t / 2, sides[other].numpy() / 2) - each_divergence(t / 2, z / 2)
            error = np.nan if name == "student" else more.std(ddof=1) / np.sqrt(60)
            assert row[column] == pytest.approx(error, nan_ok=True)
    assert (table.n == 60).all()
    assert (table.related == 60).all()
    assert (table.labelled == 60).all()
    assert (table.k == 2).all()
    assert (table.temperature == 2).all()
    assert table.divergence_teacher["teacher"] == table.divergence_student["student"] == 0


def each_divergence(teacher: np.ndarray, student: np.ndarray) -> np.ndarray:
    log_p, log_q = log_softmax(teacher, -1), log_softmax(student, -1)
    return (np.exp(log_p) * (log_p - log_q)).sum(-1)


def divergence(teacher: np.ndarray, student: np.ndarray) -> float:
    return float(each_divergence(teacher, student).mean())


def test_without_labels_only_the_accuracy_is_unknown():
    table = filled(target=None).table()
    assert table.accuracy.isna().all()
    assert (table.labelled == 0).all()
    known = ["accuracy", "labelled"]
    pd.testing.assert_frame_equal(table.drop(columns=known), filled().table().drop(columns=known))


def test_without_stones_the_teacher_is_followed_by_the_student():
    metric = LadderProfile(("student",), CLASSES)
    metric.update(STACKED[..., :1], TEACHER, TARGET)
    teacher = metric.table().set_index("side").loc["teacher"]
    assert teacher.step_se == teacher.nearer_se > 0


def test_a_sample_without_numbers_on_any_side_is_counted_and_left_out():
    stacked, teacher = STACKED.clone(), TEACHER.clone()
    stacked[3, 0, 2], stacked[9, 1, 0], teacher[30, 0] = torch.nan, torch.inf, torch.nan
    kept = [i for i in range(60) if i not in (3, 9, 30)]
    table = filled(stacked, teacher).table()
    assert (table.non_finite == 3).all()
    expected = filled(STACKED[kept], TEACHER[kept], TARGET[kept]).table()
    pd.testing.assert_frame_equal(
        table.drop(columns="non_finite"), expected.drop(columns="non_finite")
    )


def test_halves_merge_into_the_whole():
    left, right = (LadderProfile(SIDES, CLASSES) for _ in range(2))
    left.update(STACKED[:33], TEACHER[:33], TARGET[:33])
    right.update(STACKED[33:], TEACHER[33:], TARGET[33:])
    left.merge_state(right)
    pd.testing.assert_frame_equal(left.table(), filled().table())
    with pytest.raises(ValueError, match="cannot merge LadderProfile"):
        left.merge_state(filled(temperature=2.0))


def test_logits_that_are_all_equal_have_no_relation():
    stacked = STACKED.clone()
    stacked[:5, :, 1] = 1.0
    table = filled(stacked).table().set_index("side")
    assert table.related.tolist() == [60, 55, 60, 60]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LadderProfile((), 5), "has the student's side at least"),
        (lambda: LadderProfile(SIDES, 5, k=5), "k must be from 1 to 4, got 5"),
        (lambda: LadderProfile(SIDES, 5, temperature=0), "temperature must lie between"),
        (
            lambda: LadderProfile(SIDES[:2], CLASSES).update(STACKED, TEACHER),
            "the ladder has the sides student, stone_1, but the logits are of 3",
        ),
    ],
)
def test_bad_input_is_refused_in_a_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_gradients_by_hand():
    rows = torch.tensor([[3.0, 0.0], [0.0, 4.0], [-1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    sides = ("student", "stone_1", "stone_2", "stone_3")
    table = gradient_table({"layer1": rows @ rows.T}, sides, 7).set_index("side")
    total = rows.sum(0)  # (2, 4)
    assert table.norm.tolist() == [3, 4, 1, 0]
    expected = (rows @ total / (rows.norm(dim=1) * total.norm())).tolist()
    assert table.cosine[:3].tolist() == pytest.approx(expected[:3])
    assert table.cosine_student[:3].tolist() == pytest.approx([1, 0, -1])
    assert table.share.tolist() == pytest.approx([6 / 20, 16 / 20, -2 / 20, 0])
    assert table.share.sum() == pytest.approx(1)
    assert pd.isna(table.cosine["stone_3"])
    assert (table.n == 7).all()


def test_where_nothing_flows_there_is_no_share():
    table = gradient_table({"layer1": torch.zeros(2, 2)}, ("student", "stone_1"), 1)
    assert table.share.isna().all()
    assert table.cosine.isna().all()
    with pytest.raises(ValueError, match="there are 3 sides"):
        gradient_table({"layer1": torch.zeros(2, 2)}, ("student", "stone_1", "stone_2"), 1)
