"""Relations among the non-top classes agree with scipy on the classes left, sample by sample."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from kdanalysis.analyzers.students import relation
from kdanalysis.analyzers.students.relation import NonTopRelation
from kdanalysis.core.association import MEASURES
from tests.analyzers.reference import logits, targets

TEACHER = logits(1)
STUDENT = TEACHER + 0.5 * logits(0)
TARGET = targets(2)
STEP, EPOCH = torch.arange(60) // 20 * 10, torch.arange(60) // 40
NOTIONS = ("target", "top-1", "top-3")


def table(student=STUDENT, teacher=TEACHER, target=TARGET, split: int = 13) -> pd.DataFrame:
    metric = NonTopRelation(3, (0, 10, 20))
    for rows in (slice(None, split), slice(split, None)):
        label = None if target is None else target[rows]
        metric.update(student[rows], teacher[rows], label, STEP[rows], EPOCH[rows])
    return metric.table()


WHOLE = table()


def left(notion: str, teacher: np.ndarray, target: int) -> list[int]:
    """Classes that a notion leaves, largest teacher logit first."""
    ranked = sorted(range(len(teacher)), key=lambda i: -teacher[i])
    if notion == "target":
        return [i for i in ranked if i != target]
    return ranked[int(notion.removeprefix("top-")) :]


def same_order(a: np.ndarray, b: np.ndarray) -> float:
    signs = np.sign(np.subtract.outer(a, a)) * np.sign(np.subtract.outer(b, b))
    return (signs > 0).sum() / (signs != 0).sum()


FUNCTIONS = {
    "spearman": lambda a, b: stats.spearmanr(a, b).statistic,
    "kendall": lambda a, b: stats.kendalltau(a, b).statistic,
    "cosine": lambda a, b: stats.pearsonr(a, b).statistic,
    "order": same_order,
}


def reference(notion: str, measure: str, student=STUDENT, teacher=TEACHER) -> np.ndarray:
    """One sample at a time, by scipy."""
    chosen = [left(notion, t, y) for t, y in zip(teacher.numpy(), TARGET.tolist(), strict=True)]
    rows = zip(student.numpy(), teacher.numpy(), chosen, strict=True)
    return np.array([FUNCTIONS[measure](z[c], t[c]) for z, t, c in rows])


@pytest.mark.parametrize("notion", NOTIONS)
@pytest.mark.parametrize("measure", MEASURES)
def test_the_table_agrees_with_scipy(notion, measure):
    rows = WHOLE[(WHOLE.notion == notion) & (WHOLE.measure == measure)].set_index("step")
    values = reference(notion, measure)
    for step in (0, 10, 20):
        row, part = rows.loc[step], values[STEP.numpy() == step]
        assert row["mean"] == pytest.approx(part.mean(), abs=1e-12)
        assert row["std"] == pytest.approx(part.std(ddof=1), abs=1e-9)
        assert (row.n, row.no_relation) == (20, 0)
        for name, q in (("q25", 0.25), ("median", 0.5), ("q75", 0.75)):
            assert row[name] == pytest.approx(
                np.quantile(part, q, method="inverted_cdf"), abs=0.0101
            )


def test_the_size_of_a_chunk_changes_nothing(monkeypatch):
    monkeypatch.setattr(relation, "ENTRIES", 7 * 12)
    pd.testing.assert_frame_equal(table(), WHOLE)


def test_ties_follow_the_stored_values():
    student, teacher = STUDENT.half().float(), TEACHER.round()  # many ties in the teacher
    rows = table(student, teacher).query("notion == 'target' and measure == 'kendall'")
    found = (rows["mean"] * rows.n).sum() / rows.n.sum()
    expected = reference("target", "kendall", student, teacher)
    assert found == pytest.approx(expected.mean(), abs=1e-12)


def test_a_constant_side_is_counted_apart():
    student, teacher = STUDENT.clone(), TEACHER.clone()
    student[3] = 1.5  # nothing to order
    teacher[4, 1:], teacher[4, 0] = -1.0, 2.0  # constant but for the top
    rows = table(student, teacher).query("step == 0")
    assert set(rows[rows.notion != "target"].no_relation) == {2}
    assert set(rows[rows.notion != "target"].n) == {18}
    kept = [i for i in range(20) if i not in (3, 4)]
    expected = reference("top-3", "cosine")[kept].mean()
    row = rows.query("notion == 'top-3' and measure == 'cosine'").iloc[0]
    assert row["mean"] == pytest.approx(expected)


def test_fewer_than_two_classes_left_have_no_relation():
    metric = NonTopRelation(1)
    metric.update(STUDENT[:, :2], TEACHER[:, :2], TARGET % 2)
    rows = metric.table()
    assert list(rows.notion.unique()) == ["target", "top-1"]  # top-k is top-1
    assert (rows.no_relation == 60).all()
    assert (rows.n == 0).all()
    assert rows[["mean", "std", "median"]].isna().all(axis=None)


def test_without_targets_the_other_notions_are_there():
    rows = table(target=None)
    gone = rows[rows.notion == "target"]
    assert (gone.n == 0).all()
    assert (gone.no_relation == 0).all()
    assert gone["mean"].isna().all()
    pd.testing.assert_frame_equal(rows[rows.notion != "target"], WHOLE[WHOLE.notion != "target"])


def test_epochs_follow_the_steps():
    assert WHOLE.groupby("step").epoch.first().to_dict() == {0: 0, 10: 0, 20: 1}


def test_one_sample_has_a_mean_and_no_deviation():
    metric = NonTopRelation(3)
    metric.update(STUDENT[:1], TEACHER[:1], TARGET[:1])
    rows = metric.table()
    assert rows["mean"].notna().all()
    assert rows["std"].isna().all()


def test_another_k_does_not_merge():
    with pytest.raises(ValueError, match="class and arguments must be the same"):
        NonTopRelation(3).merge_state(NonTopRelation(4))


def test_a_top_group_of_all_classes_is_refused():
    with pytest.raises(ValueError, match=r"TopK\(k=12\) leaves a group empty"):
        NonTopRelation(12).update(STUDENT, TEACHER, TARGET)
