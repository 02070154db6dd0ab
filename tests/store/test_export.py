"""Exports are read by the tools they are for, and hold what the run holds."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.numpy

from kdanalysis.store.export import export
from kdanalysis.store.info import RunInfo
from kdanalysis.store.sources import load_logits
from kdanalysis.store.writer import PartWriter


def from_parquet(path):
    table = pq.read_table(path, page_checksum_verification=True).to_pydict()
    return {name: np.array(values) for name, values in table.items()}


READERS = {
    "list": (".parquet", from_parquet),
    "npz": (".npz", lambda path: dict(np.load(path, allow_pickle=False))),
    "safetensors": (".safetensors", safetensors.numpy.load_file),
}


@pytest.mark.parametrize("fmt", READERS)
def test_exports_hold_the_rows_of_the_run(stored, batch, tmp_path, fmt):
    suffix, read = READERS[fmt]
    out = export(stored(range(6)), tmp_path / f"out{suffix}", fmt)
    found = read(out)
    expected = [batch(step) for step in range(6)]
    assert set(found) == set(expected[0])
    for name, values in found.items():
        np.testing.assert_array_equal(values, np.concatenate([b[name] for b in expected]))
    assert fmt == "list" or found["teacher_logits"].dtype == np.float16
    (again,) = load_logits(out).batches(100)
    np.testing.assert_array_equal(again["student_logits"], found["student_logits"])


def test_an_npz_has_the_names_of_the_classes(batch, tmp_path):
    names = [f"class {place}" for place in range(6)]
    with PartWriter(tmp_path / "named", 0, RunInfo(6, names)) as writer:
        writer.write(batch(0))
    out = export(tmp_path / "named", tmp_path / "out.npz", "npz")
    assert load_logits(out).classes == names


@pytest.mark.parametrize("fmt", READERS)
def test_bfloat16_is_exported_as_float32_and_copies_left_out(tmp_path, fmt):
    suffix, read = READERS[fmt]
    bits, ids = np.array([[0x3F80, 0x4000], [0xC040, 0x7F80]], np.uint16), np.array([7, 8])
    for rank in range(2):
        with PartWriter(tmp_path / "run", rank, RunInfo(2), "bfloat16") as writer:
            columns = {"step": ids, "epoch": ids, "sample_id": ids, "student_logits": bits}
            writer.write(columns, dtype="bfloat16")
    found = read(export(tmp_path / "run", tmp_path / f"out{suffix}", fmt))
    assert found["student_logits"].tolist() == [[1.0, 2.0], [-3.0, np.inf]]
    assert found["sample_id"].tolist() == [7, 8]


def test_an_existing_file_and_another_suffix_are_refused(stored, tmp_path):
    root, out = stored(), tmp_path / "out.npz"
    out.write_text("mine")
    with pytest.raises(FileExistsError, match=r"out\.npz exists already"):
        export(root, out, "npz")
    assert out.read_text() == "mine"
    with pytest.raises(ValueError, match=r"need one of list \(\.parquet\), npz"):
        export(root, tmp_path / "out.csv", "npz")


def test_an_export_that_fails_leaves_nothing(stored, tmp_path, monkeypatch):
    root = stored()
    monkeypatch.setattr("kdanalysis.store.run.StoredRun.batches", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(root, tmp_path / "out.npz", "npz")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_without_samples_is_refused(tmp_path):
    PartWriter(tmp_path / "run", 0, RunInfo(3)).close()
    with pytest.raises(ValueError, match="no readable samples to export"):
        export(tmp_path / "run", tmp_path / "out.npz", "npz")
    with pytest.raises(ValueError, match="no readable samples"):
        load_logits(tmp_path / "run")
