"""Features beside logits: where they may stand, which rows are looked at, and what is refused."""

import numpy as np
import pandas as pd
import pytest
import torch

import kdanalysis as kd
from kdanalysis.studies import features as module
from kdanalysis.studies.compute import compute
from kdanalysis.studies.opening import open_source
from kdanalysis.studies.run import analyzer

N, CLASSES = 300, 4


@pytest.fixture
def arrays():
    """300 rows of 4 classes, the last one rare; every tenth without a label."""
    rng = np.random.default_rng(0)
    target = rng.choice(CLASSES, N, p=[0.5, 0.3, 0.17, 0.03])
    features = 2 * rng.normal(size=(CLASSES, 5))[target] + rng.normal(size=(N, 5))
    logits = rng.normal(size=(N, CLASSES)).astype(np.float32)
    found = {"teacher_logits": logits, "student_logits": -logits, "target": target}
    found["target"][::10] = -1
    return found | {"teacher_features": features.astype(np.float16)}


def test_of_many_rows_some_are_looked_at_every_class_in_proportion(arrays, monkeypatch):
    monkeypatch.setattr(module, "NUMBERS", 100 * 5)
    arrays["student_features"] = arrays["teacher_features"][:, :3]
    source = open_source(arrays)
    rows, labelled = source.features.rows, arrays["target"] >= 0
    assert len(rows) == 100
    assert (np.diff(rows) > 0).all()
    assert labelled[rows].all()
    share = np.bincount(arrays["target"][labelled]) * 100 / labelled.sum()
    assert np.abs(np.bincount(arrays["target"][rows]) - share).max() <= 1

    table = kd.open(source).table("embedding")

    whole = table.iloc[0]
    assert (whole.n, whole.labelled) == (100, labelled.sum())
    direct = kd.analyzers["embedding"](source.features.widths, source.features.counts, 100)
    made = {name: values[rows] for name, values in arrays.items()}
    made |= {"row": rows, "place": np.arange(100)}
    direct.update(*(torch.from_numpy(np.ascontiguousarray(made[name])) for name in direct.needs))
    pd.testing.assert_frame_equal(table, direct.table())


@pytest.mark.parametrize("size", [7, 1000])
def test_shares_of_ranks_and_batches_of_any_size_hold_every_row_once(arrays, size):
    features = open_source(arrays).features
    names, count = features.columns, len(features.rows)
    whole = [*features.batches(size, names, None)]
    shares = [range(0, 90), range(90, 91), range(91, 91), range(91, count)]
    parts = [batch for part in shares for batch in features.batches(size, names, part)]
    for found in (whole, parts):
        joined = {name: np.concatenate([batch[name] for batch in found]) for name in names}
        np.testing.assert_array_equal(joined["place"], np.arange(count))
        np.testing.assert_array_equal(joined["row"], features.rows)
        for name in ("teacher_features", "target"):
            np.testing.assert_array_equal(joined[name], arrays[name][features.rows])


def test_batches_of_any_size_make_one_table(arrays):
    source = open_source(arrays)
    tables = [
        compute(source, {"embedding": analyzer(source, "embedding")}, batch_size=size)["embedding"]
        for size in (11, 10_000)
    ]
    pd.testing.assert_frame_equal(*tables)


def test_a_file_holds_features_under_names_of_its_own(arrays, tmp_path):
    arrays["pooled"] = arrays.pop("teacher_features")
    np.savez(tmp_path / "own.npz", **arrays)
    logits = kd.load_logits(tmp_path / "own.npz", keys={"teacher_features": "pooled"})
    assert "embedding" in kd.open(logits).names
    assert "embedding" not in kd.open(tmp_path / "own.npz").names


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"teacher_features": np.zeros((299, 5))}, r"shape \(299, 5\), need \(300, 5\) to fit the"),
        ({"student_features": np.zeros((300, 5, 2, 2))}, r"need \(samples, features\) with sam"),
        ({"student_features": np.zeros((300, 1))}, r"shape \(300, 1\): need two features"),
        ({"student_features": np.zeros((300, 2), int)}, "are int64, need one of float16"),
    ],
)
def test_features_that_fit_no_row_are_refused_when_a_file_is_opened(arrays, changed, message):
    with pytest.raises(ValueError, match=message):
        kd.open(arrays | changed)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (np.full(N, 2), "with labels of 1 of 4 classes: silhouette, Fisher ratio and k-NN"),
        (np.arange(N) % 2 - 1, None),
        (np.where(np.arange(N) < 10, np.arange(N) % 2, -1), "features of 10 rows with labels of 2"),
        (np.full(N, -1), "features of 0 rows with labels of 0 of 4 classes"),
    ],
)
def test_labels_that_leave_nothing_to_tell_apart_leave_the_embedding_out(arrays, target, message):
    arrays["target"] = np.where(target < 0, -1, target)
    if message is None:  # one class beside rows without a label
        message = "features of 150 rows with labels of 1 of 4 classes"
    opened = kd.open(arrays)
    assert "embedding" not in opened.names
    with pytest.raises(ValueError, match=message):
        opened.table("embedding")


def test_a_diagnosis_uses_features_where_it_can_and_says_why_not_where_it_cannot(arrays):
    card = kd.diagnose(arrays)
    assert card.tables["embedding"].side.unique().tolist() == ["teacher"]
    assert "no embedding" not in card.facts
    lame = kd.diagnose({n: v for n, v in arrays.items() if n != "target"})
    assert "embedding" not in lame.tables
    assert "features of 0 rows with labels" in lame.facts["no embedding"]
    bare = kd.diagnose({n: arrays[n] for n in ("teacher_logits", "target")})
    assert {"no embedding"}.isdisjoint(bare.facts)


def test_what_has_no_features_says_where_they_come_from(arrays):
    del arrays["teacher_features"]
    with pytest.raises(ValueError, match="needs pooled features, which arrays lacks: train writes"):
        kd.open(arrays).table("embedding")


def test_compared_students_share_their_teachers_panel(arrays):
    sides = {
        name: arrays | {"student_features": arrays["teacher_features"][:, :3]} for name in "ab"
    }
    sides["b"]["student_features"] = sides["b"]["student_features"] * np.float16(0.5)
    study = kd.compare(sides)
    assert study.readings["embedding"].sentence.startswith("The 10 nearest others in feature space")
    titles = [ax.get_title(loc="left").split(":")[0] for ax in study.figure("embedding").axes]
    assert titles == ["teacher", "a", "b"]
