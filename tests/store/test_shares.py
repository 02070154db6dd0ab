"""A share of the rows is what lies there in the whole, and the rest of the file is left alone."""

import zipfile
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stored_files import KINDS, C, N, save

from kdanalysis.store import inventory
from kdanalysis.store.info import RunInfo
from kdanalysis.store.run import StoredRun
from kdanalysis.store.sources import load_logits
from kdanalysis.store.writer import PartWriter

CUTS = (0, 0, 1, 9, 14, 23)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    teacher, student = rng.standard_normal((2, N, C)).astype(np.float32)
    return {
        "teacher_logits": teacher,
        "student_logits": student,
        "target": rng.integers(0, C, N),
    }


@pytest.mark.parametrize("batch_size", [4, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_every_share_of_every_kind_is_the_slice_of_the_whole(tmp_path, arrays, kind, batch_size):
    logits = load_logits(save(tmp_path, arrays, kind))
    for start, stop in pairwise(CUTS):
        batches = list(logits.batches(batch_size, rows=range(start, stop)))
        assert [len(b["target"]) for b in batches] == [
            min(batch_size, stop - row) for row in range(start, stop, batch_size)
        ]
        for name, values in arrays.items():
            found = [batch[name] for batch in batches]
            assert b"".join(v.tobytes() for v in found) == values[start:stop].tobytes()
            assert all(v.flags.writeable for v in found)


@pytest.mark.parametrize("rows", [range(20, 24), range(9, 3), range(0, 10, 2), range(-1, 3)])
def test_rows_that_are_not_there_are_refused(tmp_path, arrays, rows):
    logits = load_logits(save(tmp_path, arrays, "a.npz"))
    with pytest.raises(ValueError, match="need consecutive rows of the 23 there are"):
        next(logits.batches(4, rows=rows))


@pytest.mark.parametrize("kind", ["a.npz", "lists.parquet"])
def test_a_bad_label_in_a_share_is_named_by_its_row_in_the_file(tmp_path, arrays, kind):
    arrays["target"][17] = C
    logits = load_logits(save(tmp_path, arrays, kind))
    assert len(list(logits.batches(4, rows=range(17)))) == 5
    with pytest.raises(ValueError, match=f"has target {C} in row 17, need 0 to 4"):
        list(logits.batches(4, rows=range(15, 20)))


def run_of_two_ranks(root, seed: int):
    """Steps of uneven sizes, some long, with copies between the ranks and within them."""
    rng = np.random.default_rng(seed)
    steps = np.cumsum(rng.integers(1, 4, 9))
    for rank in range(2):
        with PartWriter(root, rank, RunInfo(C), "float32", rows_per_part=40) as writer:
            for step in steps[rank : rank + 8]:
                size = int(rng.choice([1, 12, 90]))
                ids = rng.integers(0, 60, size)
                logits = (ids + 100 * rank)[:, None] + np.arange(C, dtype=np.float32)
                writer.write(
                    {
                        "step": np.full(size, step),
                        "epoch": np.zeros(size, np.int32),
                        "sample_id": ids,
                        "student_logits": logits.astype(np.float32),
                    }
                )
    return StoredRun(root)


@pytest.mark.parametrize("seed", range(6))
def test_shares_of_a_run_with_copies_make_up_the_whole(tmp_path, seed):
    run = run_of_two_ranks(tmp_path / "run", seed)
    assert run.duplicates > 0
    names = ("step", "sample_id", "student_logits")
    whole = next(run.batches(names, run.num_rows))
    for world in (2, 3, 7):
        cuts = [run.num_rows * rank // world for rank in range(world + 1)]
        shares = [
            batch
            for rank in range(world)
            for batch in run.batches(names, 13, range(cuts[rank], cuts[rank + 1]))
        ]
        for name in names:
            found = np.concatenate([share[name] for share in shares])
            assert found.tobytes() == whole[name].tobytes()


def test_only_the_row_groups_of_a_share_of_a_run_are_decoded(tmp_path, monkeypatch):
    ids = np.arange(4000)
    with PartWriter(tmp_path / "run", 0, RunInfo(500), "float64", rows_per_part=4000) as writer:
        writer.write(
            {
                "step": ids // 10,
                "epoch": np.zeros(4000, np.int32),
                "sample_id": ids,
                "student_logits": np.ones((4000, 500)),
            }
        )
    run = StoredRun(tmp_path / "run")
    read, view = [], inventory.as_cells
    assert run.num_rows == 4000
    monkeypatch.setattr(inventory, "as_cells", lambda *given: read.append(view(*given)) or read[-1])
    batches = run.batches(["student_logits", "step"], 100, range(3000, 3500))
    assert sum(len(batch["step"]) for batch in batches) == 500
    assert 500 <= sum(map(len, read)) <= 900  # the share, and what a block holds beyond it


def test_row_groups_before_a_share_are_not_read(tmp_path):
    cells = [[float(i), 1.0] for i in range(20)]
    cells[2] = [0.0, None]
    pq.write_table(pa.table({"logits": pa.array(cells)}), tmp_path / "a.parquet", row_group_size=5)
    logits = load_logits(tmp_path / "a.parquet")
    (batch,) = logits.batches(100, rows=range(7, 9))
    assert batch["teacher_logits"][:, 0].tolist() == [7.0, 8.0]
    with pytest.raises(ValueError, match="a null in row 2"):  # the control
        list(logits.batches(100, rows=range(1, 9)))


def flip(path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def offset_of(path, member: str, values: np.ndarray) -> int:
    """Where the bytes of some values of a member lie in the file."""
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo(member).header_offset
    return path.read_bytes().index(values.tobytes(), start)


def test_the_share_with_the_last_row_of_an_npz_verifies_the_checksum_of_all(tmp_path):
    values = np.random.default_rng(0).standard_normal((9000, C))
    np.savez(tmp_path / "a.npz", teacher_logits=values)
    flip(tmp_path / "a.npz", offset_of(tmp_path / "a.npz", "teacher_logits.npy", values[300]))
    logits = load_logits(tmp_path / "a.npz")
    (batch,) = logits.batches(9000, rows=range(1000, 8000))
    assert batch["teacher_logits"].tobytes() == values[1000:8000].tobytes()
    with pytest.raises(ValueError, match="is damaged: Bad CRC-32"):
        list(logits.batches(9000, rows=range(8000, 9000)))
