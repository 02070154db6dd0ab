"""Damage is found, named, and never read as numbers."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from kdanalysis.store import inventory, load_logits
from kdanalysis.store.info import RunInfo
from kdanalysis.store.inventory import verify
from kdanalysis.store.part import checksum
from kdanalysis.store.run import StoredRun
from kdanalysis.store.writer import PartWriter


@pytest.fixture
def parts(stored):
    """A run of three parts, 64 rows each."""
    root = stored(range(12))
    return root, sorted(root.rglob("*.parquet"))


def steps_read(root):
    run = StoredRun(root)
    rows = [step for b in run.batches(["step", "teacher_logits"]) for step in b["step"]]
    return sorted(set(rows)), run.skipped


def page_of_logits(path):
    """A byte in the middle of the teacher's first page."""
    with pq.ParquetFile(path) as file:
        column = file.metadata.row_group(0).column(4)
    assert column.path_in_schema == "teacher_logits"
    return column.data_page_offset + column.total_compressed_size // 2


def assert_found(root, path):
    """The part is named by verify and left out on reading; the others are read."""
    name = path.relative_to(root).as_posix()
    (finding,) = verify(root)
    assert finding.part == name
    steps, skipped = steps_read(root)
    assert steps == [0, 1, 2, 3, 8, 9, 10, 11]
    assert skipped == [(name, finding.problem)]
    return finding.problem


def test_an_undamaged_run_has_no_findings(parts):
    root, _ = parts
    assert verify(root) == []
    assert steps_read(root) == (list(range(12)), [])


@pytest.mark.parametrize("recorded", [True, False])
def test_two_hundred_bit_flips_are_all_found(parts, recorded):
    root, (_, path, _) = parts
    if not recorded:  # the part must be able to tell by itself
        path.with_name("record.jsonl").unlink()
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    ends = [*range(64), *range(8 * len(whole) - 64, 8 * len(whole))]  # magic, length, magic
    for bit in [*rng.integers(0, 8 * len(whole), 200 - len(ends)), *ends]:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(damaged)
        if recorded and bit % 4 == 0:  # reading the others takes most of the time
            assert_found(root, path)
        else:
            assert path.relative_to(root).as_posix() in [finding.part for finding in verify(root)]
    path.write_bytes(whole)
    assert steps_read(root) == (list(range(12)), [])


def test_two_hundred_truncations_are_all_found(parts):
    root, (_, path, _) = parts
    whole = path.read_bytes()
    lengths = [*range(20), *np.random.default_rng(0).integers(0, len(whole), 180)]
    for length in lengths:
        path.write_bytes(whole[:length])
        if length % 4:  # reading the others takes most of the time
            assert [finding.part for finding in verify(root)] == [path.relative_to(root).as_posix()]
        else:
            assert_found(root, path)


def test_a_missing_part_in_the_middle_is_named(parts):
    root, (_, path, _) = parts
    path.unlink()
    assert assert_found(root, path) == "missing"


def test_a_missing_last_part_is_named(parts):
    root, (*_, path) = parts
    path.unlink()
    assert [f.problem for f in verify(root)] == ["missing"]


def test_a_part_in_place_of_another_is_named(parts):
    root, (first, second, _) = parts
    second.write_bytes(first.read_bytes())
    assert assert_found(root, second).startswith("replaced")


def test_a_lost_or_damaged_record_is_named(parts):
    root, (path, *_) = parts
    record = path.with_name("record.jsonl")
    lines = record.read_bytes()
    record.write_bytes(lines.replace(b'"crc32"', b'"crc33"', 1))
    assert verify(root)[0].problem == "line 1 is damaged"
    record.unlink()
    assert [f.problem for f in verify(root)] == ["missing"]
    record.with_name("ended").unlink()  # as a death leaves it
    assert [f.problem for f in verify(root)] == ["lists 0 of 3 parts"]


def test_a_torn_last_line_of_the_record_is_what_a_death_leaves(parts):
    root, (path, *_) = parts
    record = path.with_name("record.jsonl")
    record.write_bytes(record.read_bytes().splitlines(True)[0] + b'{"part": "part-000')
    assert verify(root)[0].problem == "truncated: the line of its end is missing"
    record.with_name("ended").unlink()
    assert verify(root)[0].problem == "lists 1 of 3 parts"
    path.with_name("part-00003.parquet").unlink()
    assert verify(root) == []  # one part without its line is not damage


def test_damaged_layers_are_named(tmp_path):
    with PartWriter(tmp_path / "run", 0, RunInfo(6)) as writer:
        row = {"step": [0], "epoch": [0], "layer": ["a"], "term_a": ["x"], "term_b": ["y"]}
        writer.write(row | {"dot": [0.5]}, kind="layers")
    (path,) = (tmp_path / "run" / "layers").rglob("*.parquet")
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    assert [f.part for f in verify(tmp_path / "run")] == [
        path.relative_to(tmp_path / "run").as_posix()
    ]


def test_a_part_that_changes_while_it_is_read_is_an_error(parts):
    root, (path, *_) = parts
    run = StoredRun(root)
    assert run.skipped == []
    data = bytearray(path.read_bytes())
    data[page_of_logits(path)] ^= 1
    path.write_bytes(data)
    with pytest.raises(OSError, match=r"part-00001\.parquet changed while it was read"):
        list(run.batches(["teacher_logits", "student_logits"]))


def test_a_part_of_a_newer_schema_is_skipped_with_the_reason(parts, monkeypatch):
    root, _ = parts
    monkeypatch.setattr("kdanalysis.store.schema.SCHEMA_VERSION", 2)
    with PartWriter(root, 1, RunInfo(6)) as writer:
        ids = np.arange(3)
        logits = np.zeros((3, 6), np.float16)
        writer.write({"step": ids, "epoch": ids, "sample_id": ids, "student_logits": logits})
    monkeypatch.undo()
    ((name, reason),) = StoredRun(root).skipped
    assert "rank-1" in name
    assert "schema version 2 is newer than 1" in reason
    assert json.loads((root / "run.json").read_bytes())["schema_version"] == 1


def test_every_part_is_checked_once_whatever_is_read(parts, monkeypatch):
    root, (_, second, _) = parts
    second.write_bytes(second.read_bytes()[:-9])
    checked = []
    monkeypatch.setattr(inventory, "checksum", lambda path: checked.append(path) or checksum(path))
    logits = load_logits(root)
    assert sum(len(batch["step"]) for batch in logits.batches(50)) == logits.num_rows == 128
    ((name, reason),) = logits.skipped
    assert name == second.relative_to(root).as_posix()
    assert "truncated" in reason
    assert sorted(checked) == sorted(root.rglob("*.parquet"))


def test_files_are_never_skipped(tmp_path):
    np.save(tmp_path / "logits.npy", np.zeros((3, 4)))
    assert load_logits(tmp_path / "logits.npy").skipped == ()
