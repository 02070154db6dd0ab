"""One pass feeds every analyzer the columns that it declares."""

import re

import numpy as np
import pandas as pd
import pytest
import torch

import kdanalysis as kd
from kdanalysis.analyzers.students.agreement import Agreement
from kdanalysis.analyzers.teacher.card import TeacherDistribution
from kdanalysis.analyzers.teacher.mass import TopKMass
from kdanalysis.analyzers.teacher.profile import ClassProfile
from kdanalysis.core.streams import lost_to_masks
from kdanalysis.store.info import RunInfo
from kdanalysis.store.writer import PartWriter
from kdanalysis.studies.compute import compute, feed
from kdanalysis.studies.opening import open_source


def batches(rows: int, size: int, *columns: str) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    whole = {
        "teacher_logits": rng.normal(size=(rows, 5)).astype(np.float16),
        "target": rng.integers(0, 5, rows),
        "step": np.arange(rows),
    }
    starts = range(0, rows, size)
    return [{name: whole[name][i : i + size] for name in columns} for i in starts]


def arrays(rows: int = 20, target: bool = True) -> dict[str, np.ndarray]:
    (whole,) = batches(rows, rows, "teacher_logits", *(["target"] if target else []))
    return whole


def test_an_analyzer_whose_column_is_missing_has_no_table():
    wanted = {"teacher": TeacherDistribution(5), "profile": ClassProfile(5)}
    assert list(compute(open_source(arrays(target=False)), wanted)) == ["teacher"]
    wanted = {"teacher": TeacherDistribution(5), "profile": ClassProfile(5)}
    assert list(compute(open_source(arrays()), wanted)) == ["teacher", "profile"]


@pytest.mark.parametrize("size", [None, 6])
def test_the_tables_do_not_depend_on_the_batches(size):
    tables = compute(open_source(arrays()), {"mass": TopKMass(5)}, batch_size=size)
    alone = TopKMass(5)
    alone.update(torch.tensor(arrays()["teacher_logits"]))
    pd.testing.assert_frame_equal(tables["mass"], alone.table(), rtol=1e-12)


def test_what_is_read_is_watched_with_its_source():
    seen = []

    def watch(batches, source):
        for batch in batches:
            seen.append((source.name, len(batch["teacher_logits"])))
            yield batch

    compute(open_source(arrays(), "here"), {"mass": TopKMass(5)}, watch=watch, batch_size=8)
    assert seen == [("here", 8), ("here", 8), ("here", 4)]


def test_who_counts_alone_is_given_larger_batches_and_counts_the_same():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 400, 1000)).astype(np.float16)
    named = dict(zip(("teacher_logits", "student_logits"), logits, strict=True))
    source, sizes = open_source(named | {"step": np.arange(400) // 100}), []

    def watch(batches, source):
        for batch in batches:
            sizes.append(len(batch["step"]))
            yield batch

    def counted(**more):
        return compute(source, {"agreement": Agreement(range(4)), **more}, "cpu", watch)

    alone = counted()["agreement"]
    assert sizes == [400]
    sizes.clear()
    pd.testing.assert_frame_equal(alone, counted(mass=TopKMass(1000))["agreement"])
    assert sizes == [131, 131, 131, 7]


def test_probabilities_are_refused():
    softmax = torch.tensor(arrays()["teacher_logits"]).float().softmax(-1)
    with pytest.raises(ValueError, match=r"^arrays: teacher_logits are probabilities: "):
        compute(open_source({"teacher_logits": softmax}), {"mass": TopKMass(5)})


def test_arrays_are_named_by_their_columns():
    with pytest.raises(ValueError, match=r"need teacher_logits among arrays of .*; got logits"):
        open_source({"logits": arrays()["teacher_logits"]})
    with pytest.raises(ValueError, match="arrays named labels mean nothing here: known are teach"):
        open_source(arrays() | {"labels": arrays()["target"]})


@pytest.mark.parametrize("call", [kd.diagnose, kd.open, kd.compare, kd.sparsify])
def test_an_array_without_a_name_is_answered_with_how_to_name_it(call, tmp_path):
    others = [tmp_path / "x.safetensors"] if call is kd.sparsify else []
    with pytest.raises(ValueError, match=r"got a numpy ndarray .*; arrays go by name, as \{'teach"):
        call(arrays()["teacher_logits"], *others)


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


def test_a_source_has_one_setting_for_all_analyzers_compared_alike():
    source = open_source(arrays())
    assert source.setting() is source.setting("samples", None)
    assert source.setting(compared=(2.0, 3)).k == 3
    assert source.setting(compared=(2.0, 2)).k == 2
    assert source.setting("features") is not source.setting()


STUDENTS = ("teacher_logits", "student_logits")
STUDIES = [
    kd.diagnose,
    lambda x: kd.compare(x, losses="kd,gdkd:k=2"),
    lambda x: kd.open(x).table("mass"),
]


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("fill", [-np.inf, None])
def test_a_padded_file_is_refused_with_a_call_that_opens_it(tmp_path, study, fill):
    real = np.linspace(0, 9, 120, dtype=np.float32).reshape(20, 6)
    more = np.full((20, 3), -np.inf if fill is None else fill, np.float32)
    sides = {"teacher_logits": np.hstack([np.sin(real), more]), "student_logits": np.cos(real)}
    if fill is not None:  # else the sides are of other lengths
        sides["student_logits"] = np.hstack([np.cos(real), more])
    np.savez(tmp_path / "it's.npz", **sides)
    with pytest.raises(
        ValueError, match="in its place, other arguments as before, cuts off padding"
    ) as error:
        study(tmp_path / "it's.npz")
    call = re.search(r"; (kd\.load_logits\(.*\)) in its place", str(error.value))[1]
    opened = eval(call)
    assert study(opened) is not None


@pytest.mark.parametrize("study", [*STUDIES, lambda x: kd.compare({"a": x, "b": x})])
@pytest.mark.parametrize("sides", [STUDENTS, STUDENTS[:1]])
def test_a_run_of_padded_logits_is_refused_with_a_call_that_cuts_them(tmp_path, study, sides):
    rng, root = np.random.default_rng(0), tmp_path / "run"
    with PartWriter(root, 0, RunInfo(8, None, "KD(temperature=2.0)", ("kd",))) as writer:
        for step in range(2):
            both = {name: rng.normal(size=(16, 8)).astype(np.float32) for name in STUDENTS}
            for name in sides:
                both[name][:, 6:] = -np.inf
            rows = {"sample_id": np.arange(16)} | dict.fromkeys(
                ("step", "epoch"), np.full(16, step)
            )
            writer.write(rows | both | {"target": rng.integers(0, 6, 16)})
    with pytest.raises(ValueError, match=r"nothing to look at; kd\.load_logits") as error:
        study(root)
    call = re.search(r"; (kd\.load_logits\(.*\)) in its place", str(error.value))[1]
    assert study(eval(call)) is not None


@pytest.mark.parametrize("study", STUDIES[:2])
def test_padding_of_inf_is_refused_with_what_cuts_it_and_other_inf_is_counted(study):
    real = torch.linspace(0, 9, 120).view(20, 6)
    sides = {"teacher_logits": real.sin(), "student_logits": real.cos()}
    padded = {n: torch.nn.functional.pad(one, (0, 3), value=-torch.inf) for n, one in sides.items()}
    with pytest.raises(
        ValueError, match=r"arrays holds NaN or inf.*; \[:, :6\] of each side cuts off p"
    ):
        study(padded)
    assert study({name: one[:, :6] for name, one in padded.items()}).tables
    for one in padded.values():
        one[3:, 6:] = 0.0
    assert study(padded).tables  # three rows are left out
    lost = kd.diagnose({"teacher_logits": real * torch.nan}).tables["teacher"]
    assert lost.value[lost.quantity == "non_finite"].item() == 20


MASKS = {
    "class 3 is -inf in the first 10 of them, as masked classes are: leave": lambda x: x == 3,
    "classes 0, 2, 4 are -inf in the first 10 of": lambda x: x % 2 == 0,
    "the first has -inf at 1 of 6 classes, as a mask or a filter": lambda x: (
        x == torch.arange(20).unsqueeze(1) % 6
    ),
    "the first has -inf at 6 of 6 classes": lambda x: x >= 0,
}


@pytest.mark.parametrize("study", [*STUDIES[:2], lambda x: kd.sparsify(x, "top.parquet", k=2)])
@pytest.mark.parametrize(("says", "mask"), MASKS.items(), ids=MASKS)
def test_masked_classes_in_every_row_are_refused_with_where_they_are(
    study, says, mask, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    real = torch.linspace(0, 9, 120).view(20, 6)
    sides = {"teacher_logits": real.sin(), "student_logits": real.cos()}
    lost = {n: x.masked_fill(mask(torch.arange(6)), -torch.inf) for n, x in sides.items()}
    with pytest.raises(ValueError, match=f"every row of arrays holds NaN or inf.*; {says}"):
        study(lost)


def test_of_one_row_nobody_knows_whether_it_is_a_mask_or_a_filter():
    logits = torch.linspace(0, 9, 12).view(2, 6)
    lost = logits.masked_fill(torch.arange(6) == 3, -torch.inf)
    assert "class 3 is -inf in the first 2 of" in lost_to_masks("them", lost)
    assert "the first has -inf at 1 of 6 classes" in lost_to_masks("it", lost[:1])
    assert lost_to_masks("nothing", lost[:0]) == ""


def test_a_finite_row_is_lost_to_no_mask_and_beyond_all_classes_is_no_padding():
    logits = torch.linspace(0, 9, 12).view(2, 6)
    logits[0, 3] = -torch.inf
    assert lost_to_masks("it", logits) == lost_to_masks("it", logits[1:]) == ""


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (
            (5, 10),
            "in the logits of rows 5 to 9: .* every token; class 3 is -inf in the first 5 of",
        ),
        ((0, 5), "in the logits of rows 0 to 4: .* every token; class 3 is -inf"),
        ((20, 21), "in the logits of row 20: .* every token; leave such rows out"),
        ((0, 21), "in the logits of rows 0 to 4: .* every token; class 3 is -inf"),
    ],
)
def test_of_some_rows_read_together_it_is_not_said_that_all_are_lost(
    rows, says, tmp_path, monkeypatch
):
    monkeypatch.setattr("kdanalysis.studies.sparsify.WIDE", 5 * 6)
    logits = torch.linspace(0, 9, 126).view(21, 6).sin()
    logits[slice(*rows), 3] = -torch.inf
    with pytest.raises(ValueError, match=says):
        kd.sparsify({"teacher_logits": logits}, tmp_path / "top.parquet", k=2)
