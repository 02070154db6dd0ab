"""One pass feeds every analyzer the columns that its update names."""

import numpy as np
import pytest
import torch

from kdanalysis.analyzers.teacher.card import TeacherDistribution
from kdanalysis.analyzers.teacher.mass import TopKMass
from kdanalysis.analyzers.teacher.profile import ClassProfile
from kdanalysis.studies.stream import feed, needed_columns, runnable


def batches(rows: int, size: int, *columns: str) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    whole = {
        "teacher_logits": rng.normal(size=(rows, 5)).astype(np.float16),
        "target": rng.integers(0, 5, rows),
        "step": np.arange(rows),
    }
    starts = range(0, rows, size)
    return [{name: whole[name][i : i + size] for name in columns} for i in starts]


def test_columns_are_found_by_the_names_of_arguments():
    assert needed_columns(TeacherDistribution(5)) == ({"teacher_logits"}, {"target"})
    assert needed_columns(ClassProfile(5)) == ({"teacher_logits", "target"}, set())


def test_an_analyzer_whose_column_is_missing_does_not_run():
    wanted = {"teacher": TeacherDistribution(5), "profile": ClassProfile(5)}
    assert list(runnable(wanted, ["teacher_logits"])) == ["teacher"]
    assert list(runnable(wanted, ["teacher_logits", "target"])) == ["teacher", "profile"]


def test_each_analyzer_sees_every_batch_once():
    fed = (TeacherDistribution(5), TopKMass(5))
    feed(batches(20, 6, "teacher_logits", "target", "step"), fed)
    by_hand = (TeacherDistribution(5), TopKMass(5))
    (whole,) = batches(20, 20, "teacher_logits", "target")
    logits, target = torch.tensor(whole["teacher_logits"]), torch.tensor(whole["target"])
    by_hand[0].update(logits, target)
    by_hand[1].update(logits)
    for one, other in zip(fed, by_hand, strict=True):
        left, right = one.table(), other.table()
        assert left.shape == right.shape
        np.testing.assert_allclose(
            left.select_dtypes("number"), right.select_dtypes("number"), rtol=1e-12
        )


def test_optional_columns_are_given_only_where_they_are():
    analyzer = TeacherDistribution(5)
    feed(batches(4, 4, "teacher_logits"), [analyzer])
    assert "accuracy" not in analyzer.table().quantity.tolist()


def test_a_missing_column_is_named():
    with pytest.raises(KeyError, match="ClassProfile needs the column 'target'"):
        feed(batches(4, 4, "teacher_logits"), [ClassProfile(5)])
