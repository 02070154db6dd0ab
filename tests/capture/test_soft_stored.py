"""Targets that are distributions are kept in a run: where there are some, as they came, safe."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from toy import batches

import kdanalysis as kd
from kdanalysis.capture.samples import check_batch
from kdanalysis.losses.sides import checked
from kdanalysis.store.export import export
from kdanalysis.store.inventory import verify
from kdanalysis.store.sources import load_logits

BATCHES = list(batches(4))
HOT = [F.one_hot(y, 6).float() for _, y, _ in BATCHES]
SOFT = [0.7 * hot + 0.3 * hot.roll(1, 1) for hot in HOT]
LABELS = [y for _, y, _ in BATCHES]
LOGITS = [torch.randn(2, 10, 6, generator=torch.Generator().manual_seed(i)) for i in range(4)]


def record(path, targets, *, rank=0, first=0, **more):
    """Record the same logits with targets of one's own, a batch each."""
    store = {"dtype": "float16"} | {n: more.pop(n) for n in ("existing", "dtype") if n in more}
    options = {"schedule": kd.every(1), "store": kd.Store(**store), **more}
    with kd.Recorder(path, kd.KD(), **options) as recorder:
        recorder.step = first
        for step, target in enumerate(targets, first):
            student, teacher = LOGITS[step]
            recorder.observe(target, BATCHES[step][2], student=student, teacher=teacher)
    return path


def column(path, name="soft_target") -> np.ndarray:
    return np.concatenate([batch[name] for batch in kd.open_run(path).batches([name], 7)])


def parts(path) -> dict[str, bytes]:
    """Contents of the parts of samples, without the time in their folders' names."""
    files = sorted((path / "samples").rglob("*.parquet"))
    return {
        re.sub(r"/[^/]+/part", "/part", str(f.relative_to(path))): f.read_bytes() for f in files
    }


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_distributions_come_back_to_the_last_bit_whatever_logits_are_stored_as(tmp_path, dtype):
    given = [target.to(dtype) for target in SOFT]
    record(tmp_path / "run", given)
    wide = torch.float32 if dtype == torch.bfloat16 else dtype
    np.testing.assert_array_equal(column(tmp_path / "run"), torch.cat(given).to(wide).numpy())
    assert column(tmp_path / "run", "student_logits").dtype == np.float16
    assert verify(tmp_path / "run") == []


def test_labels_alone_are_kept_as_ever_whether_given_as_indices_or_one_hot(tmp_path):
    record(tmp_path / "labels", LABELS), record(tmp_path / "hot", HOT)
    assert parts(tmp_path / "labels") == parts(tmp_path / "hot") != {}
    run = kd.open_run(tmp_path / "labels")
    assert run.columns == (
        *("step", "epoch", "sample_id", "target", "teacher_logits", "student_logits"),
        *("residual", "rank"),
    )


def test_batches_with_and_without_share_parts_and_rows_without_are_nan(tmp_path):
    targets = [LABELS[0], SOFT[1], LABELS[2], SOFT[3]]
    path = record(tmp_path / "run", targets)
    assert len(parts(path)) == 2  # the rows before the first of them, and the rest
    found = column(path).reshape(4, 10, 6)
    assert found.dtype == np.float32
    for step in (1, 3):
        np.testing.assert_array_equal(found[step], SOFT[step].numpy())
    assert np.isnan(found[[0, 2]]).all()
    labels = column(path, "target").reshape(4, 10)
    assert (labels[[1, 3]] == -1).all()
    np.testing.assert_array_equal(labels[[0, 2]], torch.stack(LABELS)[[0, 2]].numpy())


def test_of_a_step_captured_twice_the_later_target_counts(tmp_path):
    path = record(tmp_path / "run", SOFT[:3])
    record(path, [LABELS[2], LABELS[3]], first=2, existing="resume")
    found, run = column(path).reshape(4, 10, 6), kd.open_run(path)
    assert run.duplicates == 10
    np.testing.assert_array_equal(found[:2], torch.stack(SOFT[:2]).numpy())
    assert np.isnan(found[2:]).all()


def test_ranks_with_other_targets_are_one_run(tmp_path, monkeypatch):
    for rank, targets in enumerate((SOFT[:2], LABELS[:2])):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        with kd.Recorder(tmp_path / "run", kd.KD(), schedule=kd.every(1)) as recorder:
            for step, target in enumerate(targets):
                student, teacher = LOGITS[step]
                ids = BATCHES[step][2] + 100 * rank
                recorder.observe(target, ids, student=student, teacher=teacher)
    (rows,) = kd.open_run(tmp_path / "run").batches(["rank", "soft_target"], 100)
    np.testing.assert_array_equal(np.isnan(rows["soft_target"]).all(1), rows["rank"] == 1)


def test_tables_of_two_ranks_are_those_of_one_process_where_some_rows_have_distributions(
    tmp_path, monkeypatch
):
    targets = [LABELS[0], SOFT[1], torch.cat((HOT[2][:3], SOFT[2][3:])), LABELS[3]]
    loss = kd.Sum(kd.CrossEntropy(), kd.DKD(partition="top1"))
    shares = {"one": [slice(None)], "two": [slice(3), slice(3, None)]}
    for name, cuts in shares.items():
        monkeypatch.setenv("WORLD_SIZE", str(len(cuts)))
        for rank, share in enumerate(cuts):
            monkeypatch.setenv("RANK", str(rank))
            with kd.Recorder(tmp_path / name, loss, schedule=kd.every(1)) as recorder:
                for step, target in enumerate(targets):
                    student, teacher = (side[share] for side in LOGITS[step])
                    ids = BATCHES[step][2][share]
                    recorder.observe(target[share], ids, student=student, teacher=teacher)
    one, two = (kd.open_run(tmp_path / name) for name in shares)
    assert one.columns == two.columns
    names = ["value", "magnitude", "direction", "agreement"]
    for found, right in zip(two.tables(names).values(), one.tables(names).values(), strict=True):
        loose = [column for column in right if column.endswith("_se")]  # roots of small differences
        pd.testing.assert_frame_equal(found[loose], right[loose], atol=1e-7)
        exact = right.columns.drop(loose)
        pd.testing.assert_frame_equal(found[exact], right[exact], rtol=1e-12, atol=0)


def test_only_the_sampled_rows_are_kept(tmp_path):
    path = record(tmp_path / "run", SOFT[:1], max_rows=4)
    (rows,) = kd.open_run(path).batches(["sample_id", "soft_target"], 100)
    np.testing.assert_array_equal(rows["soft_target"], SOFT[0].numpy()[rows["sample_id"]])


@pytest.mark.parametrize("kind", ["npz", "safetensors", "list"])
def test_an_export_is_read_with_the_same_targets(tmp_path, kind):
    path = record(tmp_path / "run", [SOFT[0], LABELS[1]])
    suffix = {"list": "parquet"}.get(kind, kind)
    exported = load_logits(export(path, tmp_path / f"x.{suffix}", kind))
    (rows,) = exported.batches(columns=("target", "soft_target"))
    np.testing.assert_array_equal(rows["soft_target"], column(path))
    np.testing.assert_array_equal(rows["target"], column(path, "target"))


def test_a_flipped_bit_in_a_distribution_is_found_and_its_part_left_out(tmp_path):
    path = record(tmp_path / "run", [LABELS[0], SOFT[1]])
    *_, last = sorted((path / "samples").rglob("*.parquet"))
    content = last.read_bytes()
    place = content.index(SOFT[1][3].numpy().tobytes())
    last.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    (finding,) = verify(path)
    assert finding.part == last.relative_to(path).as_posix()
    run = kd.open_run(path)
    assert run.num_rows == 10
    assert "soft_target" not in run.columns


def test_room_on_the_disk_counts_distributions_when_they_first_come(tmp_path, monkeypatch):
    size = 10 * (2 * 6 * 2 + 3 * 8 + 2 * 4)  # see test_limits
    wide = size + 10 * 6 * 4
    monkeypatch.setattr("kdanalysis.capture.outlet.free_bytes", lambda path: 1000 * wide - 1)
    words = "room for about 999 captured .* takes 1 kB, 0 kB of it targets over the classes,"
    with pytest.warns(RuntimeWarning, match=words) as caught:
        record(tmp_path / "run", [LABELS[0], SOFT[1], SOFT[2]])
    assert len(caught) == 1


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_wide_targets_that_are_no_floats_are_named_for_what_they_are(dtype):
    target = HOT[0].to(dtype)
    words = rf"shape \(10, 6\) hold {dtype}: class indices have the shape \(n,\), .* add up to 1"
    for check in (checked, check_batch):  # what every loss, and the recorder, begin with
        with pytest.raises(ValueError, match=words):
            check(*LOGITS[0], target, None)


def test_labels_in_a_column_are_told_to_be_a_row():
    target = HOT[0].argmax(1, keepdim=True)
    for check in (checked, check_batch):
        with pytest.raises(ValueError, match=r"\(10, 1\) are class indices .* as target\[:, 0\] "):
            check(*LOGITS[0], target, None)
