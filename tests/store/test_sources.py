"""Logits from every kind of file are the same logits, and bad files get one clear sentence."""

import json
import struct
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from stored_files import KINDS, C, N, save

from kdanalysis.store.formats import torch_file
from kdanalysis.store.info import RunInfo
from kdanalysis.store.run import StoredRun
from kdanalysis.store.sources import load_logits
from kdanalysis.store.writer import PartWriter


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    teacher, student = rng.standard_normal((2, N, C)).astype(np.float32)
    teacher[0, 0], student[1, 1] = np.nan, -np.inf
    target = rng.integers(0, C, N)
    return {"teacher_logits": teacher, "student_logits": student, "target": target}


@pytest.mark.parametrize("batch_size", [1, 7, 23, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_the_same_batches(tmp_path, arrays, kind, batch_size):
    logits = load_logits(save(tmp_path, arrays, kind))
    assert (logits.num_rows, logits.num_classes) == (N, C)
    assert logits.has_student
    assert logits.has_target
    batches = list(logits.batches(batch_size))
    assert [len(b["target"]) for b in batches] == [
        min(batch_size, N - start) for start in range(0, N, batch_size)
    ]
    for name, values in arrays.items():
        found = np.concatenate([b[name] for b in batches])
        assert found.dtype == values.dtype
        assert found.tobytes() == values.tobytes()
        assert all(b[name].flags.writeable for b in batches)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_columns_asked_for_are_given(tmp_path, arrays, kind):
    logits = load_logits(save(tmp_path, arrays, kind))
    (batch,) = logits.batches(100, ["target", "teacher_logits"])
    assert list(batch) == ["target", "teacher_logits"]
    with pytest.raises(ValueError, match=r"not \['residual'\]"):
        next(logits.batches(5, ["residual"]))


def test_bare_arrays_are_the_teachers_and_a_second_file_the_students(tmp_path, arrays):
    np.save(tmp_path / "t.npy", np.asfortranarray(arrays["teacher_logits"]))
    torch.save(torch.from_numpy(arrays["student_logits"]), tmp_path / "s.pt")
    np.savez(tmp_path / "y.npz", labels=arrays["target"])
    alone = load_logits(tmp_path / "t.npy")
    assert alone.columns == ("teacher_logits",)
    both = load_logits(
        tmp_path / "t.npy", student=tmp_path / "s.pt", target=str(tmp_path / "y.npz")
    )
    (batch,) = both.batches(100)
    for name, values in arrays.items():
        assert batch[name].tobytes() == values.tobytes()


@pytest.mark.parametrize(
    "names",
    [
        ("logits", None, "labels"),
        ("logits_t", "logits_s", "label"),
        ("teacher", "student", "targets"),
        ("teacher_logits", "logits_student", "y"),
    ],
)
def test_the_names_that_others_use_are_known(tmp_path, arrays, names):
    pairs = zip(names, arrays, strict=True)
    np.savez(tmp_path / "x.npz", **{theirs: arrays[ours] for theirs, ours in pairs if theirs})
    (batch,) = load_logits(tmp_path / "x.npz").batches(100)
    assert set(batch) == {ours for ours, theirs in zip(arrays, names, strict=True) if theirs}
    for name in batch:
        np.testing.assert_array_equal(batch[name], arrays[name])


def test_other_names_are_given_by_hand_and_a_single_array_needs_none(tmp_path, arrays):
    np.savez(tmp_path / "x.npz", a=arrays["teacher_logits"], b=arrays["target"])
    keys = {"teacher_logits": "a", "target": "b"}
    assert load_logits(tmp_path / "x.npz", keys=keys).columns == ("teacher_logits", "target")
    with pytest.raises(
        ValueError, match=r"no teacher logits: it has a, b, need one of teacher_log"
    ):
        load_logits(tmp_path / "x.npz")
    with pytest.raises(ValueError, match=r"x\.npz has no c: it has a, b"):
        load_logits(tmp_path / "x.npz", keys={"target": "c"})
    with pytest.raises(ValueError, match=r"keys= names \['teacher'\], which is no column"):
        load_logits(tmp_path / "x.npz", keys={"teacher": "a"})
    np.savez(tmp_path / "one.npz", arrays["teacher_logits"])
    assert load_logits(tmp_path / "one.npz").num_rows == N


def test_lists_of_numbers_beside_tensors_are_columns_where_they_have_a_number_a_row(
    tmp_path, arrays
):
    """Not others, such as a curve of losses, which leave a single tensor the only one."""
    logits = torch.from_numpy(arrays["teacher_logits"])
    lists = {"student_logits": arrays["student_logits"].tolist()}
    lists["labels"] = tuple(arrays["target"].tolist())
    torch.save({"teacher_logits": logits, "epoch": [1, 2], **lists}, tmp_path / "x.pt")
    found = load_logits(tmp_path / "x.pt")
    assert found.columns == ("teacher_logits", "student_logits", "target")
    parts = list(found.batches(N - 1))
    for name, values in arrays.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), values)
    torch.save({"mine": logits, "curve": [0.5] * (N + 1)}, tmp_path / "one.pt")
    assert load_logits(tmp_path / "one.pt").columns == ("teacher_logits",)


def test_lists_beside_tensors_are_loaded_once_and_not_for_every_batch(
    tmp_path, arrays, monkeypatch
):
    """Unless so much was copied out of the map that its pages add up."""
    logits = torch.from_numpy(arrays["teacher_logits"])
    torch.save({"logits": logits, "labels": arrays["target"].tolist()}, tmp_path / "x.pt")
    loads, load = [], torch_file.load_content
    monkeypatch.setattr(torch_file, "load_content", lambda *given: loads.append(1) or load(*given))
    for most, expected in ((2**28, 1), (1, N)):
        loads.clear()
        monkeypatch.setattr(torch_file, "MAPPED", most)
        parts = list(load_logits(tmp_path / "x.pt").batches(1))
        found = np.concatenate([part["teacher_logits"] for part in parts])
        np.testing.assert_array_equal(found, logits.numpy())
        assert (len(parts), len(loads)) == (N, expected)


def test_a_list_under_a_columns_name_is_no_hindrance_where_the_column_is_given_apart(
    tmp_path, arrays
):
    logits = torch.from_numpy(arrays["teacher_logits"])
    np.save(tmp_path / "y.npy", arrays["target"])
    torch.save({"teacher_logits": logits, "labels": ["cat", "dog"]}, tmp_path / "x.pt")
    (batch,) = load_logits(tmp_path / "x.pt", target=tmp_path / "y.npy").batches()
    np.testing.assert_array_equal(batch["target"], arrays["target"])
    with pytest.raises(ValueError, match="labels as a list of 2"):  # nor passed over otherwise
        load_logits(tmp_path / "x.pt")


@pytest.mark.parametrize("kind", ["pt", "safetensors", "run"])
def test_all_bfloat16_patterns_come_back_as_their_float32_values(tmp_path, kind):
    patterns = (
        torch.arange(65536).to(torch.int32).to(torch.int16).view(torch.bfloat16).view(256, 256)
    )
    path = tmp_path / f"x.{kind}" if kind != "run" else tmp_path / "run"
    if kind == "run":
        bits, ids = patterns.view(torch.int16).numpy().view(np.uint16), np.arange(256)
        columns = {"step": ids, "epoch": ids, "sample_id": ids, "student_logits": bits}
        with PartWriter(path, 0, RunInfo(256), "bfloat16") as writer:
            writer.write(columns | {"teacher_logits": bits}, dtype="bfloat16")
    else:
        write = torch.save if kind == "pt" else safetensors.torch.save_file
        write({"teacher_logits": patterns}, path)
    (batch,) = load_logits(path).batches(256)
    assert batch["teacher_logits"].tobytes() == patterns.float().numpy().tobytes()


def test_a_run_brings_its_ids_and_class_names(tmp_path, batch):
    with PartWriter(tmp_path / "run", 0, RunInfo(6, list("abcdef"))) as writer:
        writer.write(batch(3))
    logits = load_logits(tmp_path / "run")
    assert logits.classes == list("abcdef")
    (found,) = logits.batches(100)
    assert found["step"].tolist() == [3] * 16
    assert sorted(found) == sorted([*batch(3)])
    (part,) = StoredRun(tmp_path / "run").parts
    (alone,) = load_logits(tmp_path / "run" / part).batches(100)
    assert alone["teacher_logits"].tobytes() == found["teacher_logits"].tobytes()


Z = np.zeros((4, 3), np.float32)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"teacher_logits": Z[0]}, r"shape \(3,\), need \(samples, classes\)"),
        (
            {"teacher_logits": Z[None]},
            r"\(1, 4, 3\), need \(samples, classes\): of .* kd\.tokens\(",
        ),
        ({"teacher_logits": Z[:0]}, r"shape \(0, 3\), need \(samples, classes\) with samples"),
        ({"teacher_logits": Z[:, :1]}, "have 1 class, need at least 2"),
        ({"teacher_logits": Z.astype(int)}, "are int64, need one of float16"),
        ({"teacher_logits": Z, "student_logits": Z[:3]}, r"shape \(3, 3\), need \(4, 3\) to fit"),
        ({"teacher_logits": Z, "student_logits": Z[:, :2]}, r"shape \(4, 2\), need \(4, 3\)"),
        (
            {"teacher_logits": Z, "target": np.zeros((4, 3), int)},
            r"target of .* is int64 of shape \(4, 3\): class indices have the shape \(n,\)",
        ),
        ({"teacher_logits": Z, "target": np.zeros(5, int)}, r"of .* shape \(5,\), need \(4,"),
        ({"teacher_logits": Z, "target": np.zeros(4)}, "is float64, need integers"),
        ({"teacher_logits": Z, "target": np.array([0, 1, 3, 0])}, "target 3 in row 2, need 0 to 2"),
        ({"teacher_logits": Z, "target": np.array([0, -2, 1, 0])}, "target -2 in row 1"),
        ({"student_logits": Z}, "has no teacher logits: it has student_logits, need one of"),
        ({}, "it has nothing, need one of"),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        list(load_logits(tmp_path / "x.npz").batches(2))
    assert "\n" not in str(caught.value)


def test_a_number_beyond_int64_is_refused_and_not_wrapped(tmp_path):
    ids = np.array([7, 2**63 - 1, 2**63, 5], np.uint64)
    np.savez(tmp_path / "x.npz", teacher_logits=Z, sample_id=ids)
    logits = load_logits(tmp_path / "x.npz")
    (first, *_) = logits.batches(2, rows=range(2))
    assert first["sample_id"].tolist() == [7, 2**63 - 1]
    with pytest.raises(ValueError, match=r"sample_id 9223372036854775808 in row 2, need a number"):
        list(logits.batches(2))


@pytest.mark.parametrize("name", ["sample_id", "step", "epoch"])
def test_no_column_of_fractions_is_cut_to_whole_numbers(tmp_path, name):
    np.savez(tmp_path / "x.npz", teacher_logits=Z, **{name: np.full(4, 0.5)})
    with pytest.raises(ValueError, match=rf"{name} of .* is float64, need integers"):
        load_logits(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1.0, 2.0], [1.0]], "has 1 values in row 1, need 2"),
        ([[1.0, 2.0], None], "has no values in row 1, need 2"),
        ([[1.0, 2.0], [1.0, None]], "has a null in row 1, need a number$"),
        ([[], []], "have 0 class, need at least 2"),
    ],
)
def test_ragged_parquet_lists_are_refused_with_their_row(tmp_path, rows, message):
    column = pa.array(rows, pa.list_(pa.float32()))
    pq.write_table(pa.table({"logits": column}), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=message):
        list(load_logits(tmp_path / "x.parquet").batches(5))


def test_a_null_among_labels_is_refused_with_what_says_that_there_is_none(tmp_path):
    columns = {"logits": pa.array([[1.0, 2.0]] * 2), "target": pa.array([0, None])}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    said = "has a null in row 1, need a number; -1 is the target of a row without a label"
    with pytest.raises(ValueError, match=said):
        list(load_logits(tmp_path / "x.parquet").batches(5))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "run"])
def test_truncated_files_are_refused(tmp_path, arrays, kind):
    path = save(tmp_path, arrays, kind)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"^[^\n]*$"):
            list(load_logits(path).batches(5))


@pytest.mark.parametrize("kind", ["a.npz", "packed.npz", "fortran.npz"])
def test_a_flipped_bit_in_an_archive_is_found(tmp_path, arrays, kind):
    path = save(tmp_path, arrays, kind)
    data = bytearray(path.read_bytes())
    data[400] ^= 4  # inside the first member's values
    path.write_bytes(data)
    with pytest.raises(ValueError, match="is damaged"):
        list(load_logits(path).batches(5))


@pytest.mark.parametrize("kind", ["a.npz", "packed.npz", "fortran.npz"])
def test_the_checksum_of_an_archive_is_compared_to_the_end(tmp_path, arrays, kind):
    many = {
        name: np.zeros((4096, *values.shape[1:]), values.dtype) for name, values in arrays.items()
    }
    path = save(tmp_path, many, kind)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 16] ^= 1  # the first member's checksum in the directory
    path.write_bytes(data)
    with pytest.raises(ValueError, match="is damaged: Bad CRC-32"):
        list(load_logits(path).batches(4096))


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"x\.npz does not exist"):
        load_logits(tmp_path / "x.npz")
    with pytest.raises(FileNotFoundError, match="is not a run folder"):
        load_logits(tmp_path)


def test_safetensors_with_false_offsets_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    for begin, size in ((8, 48), (8, 56), (0, 40), (0, 56), (0, 48)):
        entry = {"dtype": "F32", "shape": [4, 3], "data_offsets": [begin, begin + 48]}
        header = json.dumps({"logits": entry}).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
        if (begin, size) == (0, 48):  # the control
            assert load_logits(path).num_rows == 4
            continue
        with pytest.raises(ValueError, match="truncated, forged or no safetensors file"):
            load_logits(path)


STREAM = """
import sys
import numpy as np
from kdanalysis.store.sources import load_logits

def held():
    fields = dict(line.split(":") for line in open("/proc/self/status"))
    return int(fields["VmRSS"].split()[0]) / 1024  # with the pages of a map that stays

if sys.argv[1].endswith("pt"):
    import torch
start = held()
batches = load_logits(sys.argv[1]).batches(256)
for _ in range(20):
    next(batches)
warm = peak = held()
for batch in batches:
    peak = max(peak, held())
print(warm - start, peak - warm)
"""


BOUNDED = ["run", "x.npy", "packed.npz", "fortran.npz", "a.pt", "a.safetensors", "fixed.parquet"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", BOUNDED)
def test_memory_is_bounded_by_the_batch(tmp_path, kind):
    values = np.zeros((40_000, 500), np.float32)
    if kind == "run":
        with PartWriter(tmp_path / kind, 0, RunInfo(500), "float32", 2000) as writer:
            for start in range(0, 40_000, 1000):
                ids = np.arange(start, start + 1000)
                rows = {"teacher_logits": values[:1000], "student_logits": values[:1000]}
                writer.write({"step": ids, "epoch": ids, "sample_id": ids} | rows)
    elif kind == "x.npy":
        np.save(tmp_path / kind, values)
    else:
        save(tmp_path, {"teacher_logits": values}, kind)
    out = subprocess.run(
        [sys.executable, "-c", STREAM, tmp_path / kind], capture_output=True, text=True, check=True
    )
    start, growth = map(float, out.stdout.split())
    assert start < 60  # MiB with Arrow's pools; the file has 76
    assert growth < 12
