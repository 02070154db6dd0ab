"""A part keeps every bit of every number, and is the Parquet file that the contract describes."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from kdanalysis.store.floats import BFLOAT16, narrow, widen
from kdanalysis.store.info import RunInfo
from kdanalysis.store.run import StoredRun
from kdanalysis.store.writer import PartWriter

SPECIAL = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1.5]


def stored_bits(tmp_path, values, dtype=None, stored="same"):
    """Write logits and return the cells of the file as raw bytes."""
    rows, classes = values.shape
    with PartWriter(tmp_path / "run", 0, RunInfo(classes), stored) as writer:
        ids = np.arange(rows)
        columns = {"step": ids * 0, "epoch": ids * 0, "sample_id": ids, "student_logits": values}
        writer.write(columns, dtype=dtype)
    (path,) = (tmp_path / "run").rglob("*.parquet")
    cells = pq.read_table(path)["student_logits"].to_pylist()
    (batch,) = StoredRun(tmp_path / "run").batches(["student_logits"], rows)
    return b"".join(cells), batch["student_logits"]


def test_all_bfloat16_patterns_are_stored_bit_for_bit(tmp_path):
    patterns = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    raw, read = stored_bits(tmp_path, patterns, "bfloat16")
    assert raw == patterns.tobytes()
    expected = torch.from_numpy(patterns.view(np.int16)).view(torch.bfloat16).float().numpy()
    assert read.dtype == np.float32
    assert read.tobytes() == expected.tobytes()


def test_all_float16_patterns_are_stored_bit_for_bit(tmp_path):
    patterns = np.arange(65536, dtype=np.uint16).reshape(256, 256).view(np.float16)
    raw, read = stored_bits(tmp_path, patterns)
    assert raw == read.tobytes() == patterns.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_payloads_infinities_negative_zero_and_subnormals_keep_their_bits(tmp_path, dtype):
    smallest = np.finfo(dtype).smallest_subnormal
    values = np.array([[*SPECIAL, smallest, -smallest]], dtype)
    integers = values.view(f"u{values.itemsize}")
    integers[0, 0] |= 0xBAD  # a payload
    raw, read = stored_bits(tmp_path, values)
    assert raw == read.tobytes() == values.tobytes()


def test_big_endian_logits_are_stored_little_endian(tmp_path):
    values = np.arange(6, dtype=">f4").reshape(2, 3)
    raw, read = stored_bits(tmp_path, values)
    assert raw == values.astype("<f4").tobytes()
    np.testing.assert_array_equal(read, values)


def test_rounding_to_bfloat16_agrees_with_torch():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 200_000, dtype=np.uint32)
    values = np.concatenate([bits.view(np.float32), np.array(SPECIAL, np.float32)])
    expected = torch.from_numpy(values).bfloat16().float().numpy()
    fits = ~(np.isinf(expected) & np.isfinite(values))  # others are refused
    found = widen(narrow(values[fits], "bfloat16", "logits"))
    np.testing.assert_array_equal(found, expected[fits])


@pytest.mark.parametrize(
    ("stored", "value", "message"),
    [
        ("float16", 70000.0, r"teacher_logits reach 70000, beyond 65504, the largest float16"),
        ("float16", -65520.0, r"reach 65520.* in 1 values: store this run as 'float32'"),
        ("bfloat16", 3.4e38, r"the largest bfloat16.*store this run as 'float32'"),
        ("float16", 1e39, r"beyond 65504, .*store this run as 'float64'"),
        ("float32", 1e39, r"the largest float32.*store this run as 'float64'"),
    ],
)
def test_finite_values_beyond_the_store_are_refused(stored, value, message):
    values = np.array([[1.0, value, np.inf]], "float64" if value > 3.5e38 else "float32")
    with pytest.raises(ValueError, match=message):
        narrow(values, stored, "teacher_logits")


@pytest.mark.parametrize("stored", ["float16", "bfloat16", "float32"])
def test_infinities_nan_and_the_largest_values_pass_a_cast(stored):
    largest = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38, "float32": 3.4028234e38}
    values = np.array([[np.inf, -np.inf, np.nan, largest[stored]]], np.float64)
    found = widen(narrow(values, stored, "student_logits"))
    np.testing.assert_array_equal(found[0, :3], values[0, :3])
    assert np.isfinite(found[0, 3])


def test_bfloat16_logits_beyond_float16_are_refused_too(tmp_path):
    patterns = np.full((1, 2), 1e5, BFLOAT16)
    with pytest.raises(ValueError, match="beyond 65504"):
        stored_bits(tmp_path, patterns, "bfloat16", stored="float16")


def test_a_bfloat16_student_beside_a_float32_teacher_keeps_both_dtypes(tmp_path):
    ids, teacher = np.arange(2), np.array([[1.1, 2.2], [3.3, 4.4]], np.float32)
    columns = {"step": ids, "epoch": ids, "sample_id": ids, "teacher_logits": teacher}
    with PartWriter(tmp_path / "run", 0, RunInfo(2), "same") as writer:
        bits = np.full((2, 2), 0x3F80, np.uint16)
        writer.write(columns | {"student_logits": bits}, dtype="bfloat16")
    (batch,) = StoredRun(tmp_path / "run").batches(["teacher_logits", "student_logits"])
    assert batch["teacher_logits"].tobytes() == teacher.tobytes()
    assert batch["student_logits"].tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_the_file_states_dtype_shape_and_byte_order(stored):
    path = next(stored().rglob("*.parquet"))
    metadata = json.loads(pq.read_schema(path).metadata[b"kdanalysis"])
    entry = {"dtype": "float16", "shape": [6], "byte_order": "little"}
    logits = {"teacher_logits": entry, "student_logits": entry}
    assert metadata == {"schema_version": 1, "kind": "samples", "logits": logits}


def test_columns_are_plain_uncompressed_and_have_statistics_only_for_scalars(stored):
    group = pq.ParquetFile(next(stored().rglob("*.parquet"))).metadata.row_group(0)
    columns = {c.path_in_schema: c for c in map(group.column, range(group.num_columns))}
    assert {c.compression for c in columns.values()} == {"UNCOMPRESSED"}
    assert not any("DICTIONARY" in e for c in columns.values() for e in c.encodings)
    with_statistics = {name for name, c in columns.items() if c.is_stats_set}
    assert with_statistics == {"step", "epoch", "sample_id", "target"}


def test_half_the_bytes_of_savez(tmp_path):
    rng = np.random.default_rng(0)
    rows, classes = 2000, 1000
    logits = rng.standard_normal((2, rows, classes)).astype(np.float32)
    ids = {"step": np.arange(rows) // 250, "sample_id": rng.permutation(rows)}
    columns = ids | {"epoch": np.zeros(rows, np.int32), "target": rng.integers(0, classes, rows)}
    columns |= {"teacher_logits": logits[0], "student_logits": logits[1]}
    np.savez(tmp_path / "plain.npz", **columns)
    with PartWriter(tmp_path / "run", 0, RunInfo(classes)) as writer:
        for start in range(0, rows, 250):
            writer.write({name: values[start : start + 250] for name, values in columns.items()})
    ours = sum(p.stat().st_size for p in (tmp_path / "run").rglob("*") if p.is_file())
    assert ours <= 0.5 * (tmp_path / "plain.npz").stat().st_size
