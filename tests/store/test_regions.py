"""Region logits in a run: every bit in its place, beside samples and under the same protection."""

import json

import numpy as np
import pytest
import torch

from kdanalysis.store.info import RunInfo, sealed
from kdanalysis.store.inventory import verify
from kdanalysis.store.queue import QueueWriter
from kdanalysis.store.run import StoredRun
from kdanalysis.store.writer import PartWriter

INFO = RunInfo(6, scales=(1, 2))
SIDES = ("teacher_regions", "student_regions")
ALL = ("step", "epoch", "sample_id", "target", *SIDES)


def make(step: int, rows: int = 5, dtype: str = "float16", first: int = 0) -> dict:
    rng = np.random.default_rng(step)
    teacher, student = rng.standard_normal((2, rows, 6, 5)).astype(dtype)
    return {
        "step": np.full(rows, step),
        "epoch": np.full(rows, step // 2, np.int32),
        "sample_id": first + np.arange(rows),
        "target": rng.integers(0, 6, rows),
        "teacher_regions": teacher,
        "student_regions": student,
    }


def write(root, steps, rank=0, **options):
    with PartWriter(root, rank, INFO, rows_per_part=8, **options) as writer:
        for step in steps:
            writer.write(make(step, first=100 * rank), kind="regions")
    return StoredRun(root)


def read(run, batch_size=3) -> dict:
    batches = list(run.batches(ALL, batch_size, kind="regions"))
    return {name: np.concatenate([batch[name] for batch in batches]) for name in ALL}


def test_region_logits_come_back_bit_for_bit_whatever_the_batch(tmp_path):
    run = write(tmp_path / "run", range(7))
    expected = [make(step) for step in range(7)]
    for size in (1, 3, 100):
        found = read(run, size)
        for name in ALL:
            whole = np.concatenate([batch[name] for batch in expected])
            assert found[name].tobytes() == whole.astype(found[name].dtype).tobytes(), name
    assert run.columns_of("regions") == (*ALL, "rank")
    assert run.info.scales == (1, 2)


def test_ranks_are_merged_by_step_and_copies_read_once(tmp_path):
    write(tmp_path / "run", range(3))
    write(tmp_path / "run", [1], rank=1)
    run = write(tmp_path / "run", [1], existing="resume")
    found = read(run)
    assert found["step"].tolist() == [0] * 5 + [1] * 10 + [2] * 5
    assert sorted(found["sample_id"][5:15]) == [0, 1, 2, 3, 4, 100, 101, 102, 103, 104]


def test_bfloat16_bits_are_widened_on_reading(tmp_path):
    values = torch.randn(5, 6, 5).bfloat16()
    bits = values.view(torch.uint16).numpy()
    with PartWriter(tmp_path / "run", 0, INFO, "bfloat16") as writer:
        writer.write(make(0) | dict.fromkeys(SIDES, bits), "bfloat16", "regions")
    found = read(StoredRun(tmp_path / "run"))
    np.testing.assert_array_equal(found["student_regions"], values.float().numpy())


def test_a_run_without_regions_has_no_region_columns_and_no_batches(tmp_path):
    PartWriter(tmp_path / "run", 0, RunInfo(6)).close()
    run = StoredRun(tmp_path / "run")
    assert (run.columns_of("regions"), list(run.batches(ALL, kind="regions"))) == ((), [])
    assert run.info.scales == ()


def test_a_run_json_from_before_regions_is_read(tmp_path):
    PartWriter(tmp_path / "run", 0, INFO).close()
    path = tmp_path / "run" / "run.json"
    values = json.loads(path.read_text())
    assert values.pop("scales") == [1, 2]
    assert values.pop("crc32")
    path.write_bytes(sealed(json.dumps(values, indent=2).encode()))
    assert StoredRun(tmp_path / "run").info.scales == ()


def test_a_damaged_part_of_regions_is_named_and_left_out(tmp_path):
    write(tmp_path / "run", range(6))
    first = min((tmp_path / "run" / "regions").rglob("*.parquet"))
    first.write_bytes(first.read_bytes()[:-100])
    run = StoredRun(tmp_path / "run")
    assert [name for name, _ in run.skipped] == [first.relative_to(tmp_path / "run").as_posix()]
    assert [finding.part for finding in verify(tmp_path / "run")] == [run.skipped[0][0]]
    assert read(run)["step"].min() > 0


def test_a_kind_of_its_own_survives_overwriting_and_counts_what_a_queue_drops(tmp_path):
    write(tmp_path / "run", range(3))
    queue = QueueWriter(PartWriter(tmp_path / "run", 0, INFO, existing="overwrite"))
    queue.put(make(7), kind="regions")
    queue.close()
    assert set(read(StoredRun(tmp_path / "run"))["step"]) == {7}
    (record,) = (tmp_path / "run" / "regions").rglob("record.jsonl")
    assert json.loads(record.read_text().splitlines()[-1])["dropped_rows"] == 0


def test_rows_after_an_error_are_counted_as_lost(tmp_path):
    queue = QueueWriter(PartWriter(tmp_path / "run", 0, INFO), on_error="warn")
    queue.put(make(0), kind="regions")
    queue.put(make(1) | {"student_regions": np.zeros((5, 6, 4), np.float16)}, kind="regions")
    with pytest.warns(RuntimeWarning, match="training goes on"):
        fill(queue)
    (record,) = (tmp_path / "run" / "regions").rglob("record.jsonl")
    assert json.loads(record.read_text().splitlines()[-1])["dropped_rows"] == 10


def fill(queue):
    """Put a batch before or after the thread met its error, then close."""
    queue.put(make(2), kind="regions")
    queue.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"student_regions": np.zeros((5, 6, 4), np.float16)}, r"need \(5, 6, 5\)"),
        ({"teacher_regions": np.full((5, 6, 5), 70000.0)}, "teacher_regions reach 70000, beyond"),
        ({"target": None}, "missing .*'target'"),
        ({"residual": np.zeros(5)}, "unknown .*'residual'"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, change, message):
    columns = {name: v for name, v in (make(0) | change).items() if v is not None}
    with (
        PartWriter(tmp_path / "run", 0, INFO) as writer,
        pytest.raises(ValueError, match=message),
    ):
        writer.write(columns, kind="regions")


def test_a_run_is_not_resumed_at_other_scales(tmp_path):
    write(tmp_path / "run", range(2))
    with pytest.raises(ValueError, match=r"its scales is \(1, 2\) and now it is \(1, 2, 4\)"):
        PartWriter(tmp_path / "run", 0, RunInfo(6, scales=(1, 2, 4)), existing="resume")
