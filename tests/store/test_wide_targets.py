"""Files with a number for every class as the target: distributions are read, others told apart."""

import numpy as np
import pytest

from kdanalysis.store.sources import load_logits

LOGITS = np.random.default_rng(0).normal(size=(5, 4))
HALF = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0.5, 0.5, 0, 0], [0.25] * 4, [0, 0, 0.1, 0.9]])


def opened(path, target, **more):
    np.savez(path / "x.npz", teacher_logits=LOGITS, target=target)
    return load_logits(path / "x.npz", **more)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_distributions_give_labels_where_they_are_over_one_class(tmp_path, dtype):
    logits = opened(tmp_path, HALF.astype(dtype))
    assert logits.columns == ("teacher_logits", "target", "soft_target")
    (rows,) = logits.batches()
    assert rows["target"].tolist() == [0, 1, -1, -1, -1]
    np.testing.assert_array_equal(rows["soft_target"], HALF.astype(dtype))
    assert [b["target"].tolist() for b in logits.batches(2, ("target",), range(1, 4))] == [
        [1, -1],
        [-1],
    ]


def test_a_file_of_targets_is_joined_like_one_of_labels(tmp_path):
    np.savez(tmp_path / "t.npz", teacher_logits=LOGITS, sample_id=np.arange(5))
    np.savez(tmp_path / "y.npz", target=HALF[::-1], sample_id=np.arange(5)[::-1])
    (rows,) = load_logits(tmp_path / "t.npz", target=tmp_path / "y.npz").batches()
    np.testing.assert_array_equal(rows["soft_target"], HALF)
    assert rows["target"].tolist() == [0, 1, -1, -1, -1]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (HALF.astype(int), r"is int64 of shape \(5, 4\): class indices have the shape \(n,\)"),
        (HALF.astype(bool), r"is bool of shape \(5, 4\): class indices .* add up to 1"),
        (np.zeros((5, 1), int), r"has shape \(5, 1\): .* as target\[:, 0\] gives them"),
        (HALF[:, :3], r"has shape \(5, 3\), need \(5,\) labels or distributions \(5, 4\)"),
        (HALF[:4], r"has shape \(4, 4\), need \(5,\)"),
        (2 * HALF, "in row 0 adds up to 2 over the 4 classes, and its least is 0"),
        (np.where(HALF == 0.1, np.nan, HALF), "in row 4 adds up to nan"),
        (HALF - [[0.5, -0.5, 0, 0]], "in row 1 adds up to 1 over the 4 classes, .* -0.5: class"),
    ],
)
def test_what_is_no_distribution_is_refused_by_its_row(tmp_path, target, words):
    with pytest.raises(ValueError, match=words):
        list(opened(tmp_path, target).batches(2))


def test_mass_on_classes_that_are_cut_off_is_refused(tmp_path):
    (rows,) = opened(tmp_path, HALF[:, [0, 1, 2, 3]], vocabulary=4).batches()
    assert rows["soft_target"].shape == (5, 4)
    with pytest.raises(ValueError, match=r"in row 3 adds up to 0\.75 over the 3 classes"):
        list(opened(tmp_path, HALF, vocabulary=3).batches())
