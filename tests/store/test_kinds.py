"""A kind of rows is data: what the table says of it is written, read, merged and verified."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from kdanalysis.analyzers.stones.gradient import gradient_table
from kdanalysis.analyzers.stones.ladder import LadderProfile
from kdanalysis.store.info import RunInfo
from kdanalysis.store.inventory import verify
from kdanalysis.store.kinds import KINDS, Column, Kind
from kdanalysis.store.queue import QueueWriter
from kdanalysis.store.run import StoredRun
from kdanalysis.store.writer import PartWriter

TOY = Kind(
    {
        "step": Column(pa.int64()),
        "epoch": Column(pa.int32()),
        "head": Column(pa.string()),
        "prior": Column(axes=("classes",)),
        "weight": Column(pa.float64(), required=False),
    },
    key=("head",),
)


@pytest.fixture
def toy(monkeypatch):
    """A kind that only this test knows: one entry in the table."""
    monkeypatch.setitem(KINDS, "toys", TOY)


def rows(step, shift=0.0):
    return {
        "step": np.full(2, step),
        "epoch": np.zeros(2, np.int32),
        "head": ["a", "b"],
        "prior": np.arange(12, dtype=np.float32).reshape(2, 6) + step + shift,
        "weight": [0.25, step + shift],
    }


def read(run, kind, batch_size=3):
    columns = run.columns_of(kind)
    blocks = [
        pd.DataFrame(map(list, b.values()), index=list(b)).T
        for b in run.batches(columns, batch_size, kind=kind)
    ]
    return pd.concat(blocks, ignore_index=True)


def test_a_new_kind_is_written_and_read_back_by_its_entry_alone(tmp_path, toy):
    queue = QueueWriter(PartWriter(tmp_path / "run", 0, RunInfo(6), "float32", rows_per_part=4))
    for step in range(5):
        queue.put(rows(step), kind="toys")
    queue.close()
    with PartWriter(tmp_path / "run", 0, RunInfo(6), "float32", existing="resume") as writer:
        writer.write(rows(3, shift=0.5), kind="toys")  # supersedes what was written before

    run = StoredRun(tmp_path / "run")
    assert run.columns_of("toys") == (*TOY.columns, "rank")
    assert (run.count("toys"), run.num_rows, run.steps("toys").tolist()) == (10, 0, [*range(5)])
    found = read(run, "toys")
    expected = [rows(step, 0.5 * (step == 3)) for step in range(5)]
    for name in TOY.columns:
        whole = np.concatenate([batch[name] for batch in expected])
        np.testing.assert_array_equal(np.stack(found[name].to_list()), whole)
    (share,) = run.batches(["head", "prior"], rows=range(3, 6), kind="toys")
    assert share["head"].tolist() == ["b", "a", "b"]
    np.testing.assert_array_equal(share["prior"], np.stack(found["prior"][3:6].to_list()))


def test_a_flipped_bit_in_a_new_kind_is_found_and_its_part_left_out(tmp_path, toy):
    with PartWriter(tmp_path / "run", 0, RunInfo(6), rows_per_part=2) as writer:
        for step in range(3):
            writer.write(rows(step), kind="toys")
    assert verify(tmp_path / "run") == []
    path = sorted((tmp_path / "run" / "toys").rglob("*.parquet"))[1]
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)

    name = path.relative_to(tmp_path / "run").as_posix()
    assert [finding.part for finding in verify(tmp_path / "run")] == [name]
    run = StoredRun(tmp_path / "run")
    assert [part for part, _ in run.skipped] == [name]
    assert run.steps("toys").tolist() == [0, 2]


def test_a_new_kind_goes_with_the_run_that_is_overwritten(tmp_path, toy):
    for step, existing in ((0, "error"), (7, "overwrite")):
        with PartWriter(tmp_path / "run", 0, RunInfo(6), existing=existing) as writer:
            writer.write(rows(step), kind="toys")
    assert StoredRun(tmp_path / "run").steps("toys").tolist() == [7]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": None}, r"missing \['head'\]"),
        ({"other": [1, 2]}, r"unknown \['other'\]: need .*'head', 'prior'\] and at most"),
        ({"prior": np.zeros((2, 5))}, r"prior have shape \(2, 5\), need \(2, 6\)"),
        ({"weight": ["x", "y"]}, "need a row of float64"),
        ({"step": [4, 3]}, r"step goes back after 4: .* because \(step, head\) names a row"),
    ],
)
def test_what_does_not_fit_a_kind_is_refused(tmp_path, toy, change, message):
    columns = {name: v for name, v in (rows(0) | change).items() if v is not None}
    with (
        PartWriter(tmp_path / "run", 0, RunInfo(6)) as writer,
        pytest.raises(ValueError, match=message),
    ):
        writer.write(columns, kind="toys")


def test_a_kind_that_is_not_in_the_table_is_named(tmp_path):
    message = "'toys' is no kind of rows: need one of samples, terms, tokens, layers, regions"
    with PartWriter(tmp_path / "run", 0, RunInfo(6)) as writer:
        with pytest.raises(ValueError, match=message):
            writer.write(rows(0), kind="toys")
        queue = QueueWriter(writer)
        with pytest.raises(ValueError, match=message):
            queue.put(rows(0), kind="toys")
        queue.close()
    run = StoredRun(tmp_path / "run")
    with pytest.raises(ValueError, match=message):
        run.columns_of("toys")
    assert run.columns_of("stones") == ()


def test_every_kind_has_a_step_and_a_key_among_its_columns():
    for kind in KINDS.values():
        assert {name: kind.columns[name].type for name in ("step", "epoch")} == {
            "step": pa.int64(),
            "epoch": pa.int32(),
        }
        assert set(kind.key) <= {*kind.columns, "rank"}
        assert set(kind.key) <= {*kind.required, "rank"}
        assert all((column.type is None) != (not column.axes) for column in kind.columns.values())


def ladder_table(seed):
    generator = torch.Generator().manual_seed(seed)
    profile = LadderProfile(("student", "stone_1"), 6)
    logits = torch.randn(9, 6, 2, generator=generator)
    profile.update(logits, torch.randn(9, 6, generator=generator))
    return profile.table()  # without labels: its accuracy is NaN


def gradients(seed):
    root = torch.randn(2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return gradient_table({"layer1": root @ root.T, "fc": root.T @ root}, ("student", "stone"), 9)


@pytest.mark.parametrize(
    ("kind", "table"), [("stones", ladder_table), ("stone_gradients", gradients)]
)
def test_the_history_of_stepping_stones_comes_back_as_it_was(tmp_path, kind, table):
    history = [table(epoch).assign(step=100 * epoch, epoch=epoch) for epoch in range(3)]
    with PartWriter(tmp_path / "run", 0, RunInfo(6)) as writer:
        for one in history:
            writer.write({name: values.to_numpy() for name, values in one.items()}, kind=kind)
    run = StoredRun(tmp_path / "run")
    found = read(run, kind).drop(columns="rank")
    expected = pd.concat(history, ignore_index=True)[list(KINDS[kind].columns)]
    pd.testing.assert_frame_equal(found.astype(expected.dtypes), expected, check_exact=True)
