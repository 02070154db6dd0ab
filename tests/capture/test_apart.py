"""Ranks that no launcher holds together: padded, empty, and one of them killed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from record_apart import KILLED, SAMPLES, padded, record

from kdanalysis import (
    Store,
    open_run,
)
from kdanalysis.store.inventory import verify

PROGRAM = Path(__file__).parents[1] / "record_apart.py"


@pytest.fixture(scope="module")
def apart(tmp_path_factory) -> dict:
    """What two ranks recorded, their exit codes, and how long one lived after the other."""
    folder = tmp_path_factory.mktemp("apart")
    path = os.pathsep.join([str(PROGRAM.parents[1]), str(PROGRAM.parent)])
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    options = {"env": environment | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}}
    command = [sys.executable, str(PROGRAM), str(folder)]
    ranks = [subprocess.Popen([*command, str(rank)], **options) for rank in range(2)]
    ranks[KILLED].wait(timeout=200)
    killed = time.monotonic()
    ranks[1 - KILLED].wait(timeout=200)
    codes = [rank.returncode for rank in ranks]
    return {"folder": folder, "codes": codes, "held": time.monotonic() - killed}


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """What one process records of all samples, twice over."""
    folder = tmp_path_factory.mktemp("alone")
    record(folder / "run", 2 * list(range(SAMPLES)), SAMPLES)
    return folder / "run"


def rows(path: Path) -> pd.DataFrame:
    names = ("step", "sample_id", "target", "student_logits", "teacher_logits")
    parts = open_run(path).batches(names, 1000)
    frame = pd.concat(pd.DataFrame({k: list(v) for k, v in part.items()}) for part in parts)
    return frame.sort_values(["step", "sample_id"], ignore_index=True)


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert len(expected)
    assert found.columns.tolist() == expected.columns.tolist()
    for name in expected:
        a, b = (np.stack(frame[name].to_numpy()) for frame in (found, expected))
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_what_padding_brings_twice_into_a_step_is_counted_and_read_once(apart, alone):
    assert sorted(padded(0) + padded(1)) == [0, *range(SAMPLES)]  # the control
    run = open_run(apart["folder"] / "padded")
    assert run.info.world_size == 2
    assert_same(rows(run.path), rows(alone))
    assert run.duplicates == 2


@pytest.mark.parametrize("noun", ["magnitude", "confidence", "agreement"])
def test_tables_of_padded_ranks_are_those_of_one_process(apart, alone, noun):
    found = open_run(apart["folder"] / "padded").table(noun)
    # the networks see batches of other sizes, whose float32 products round otherwise: the spread
    # of one sample seen twice is 0 in one and some 1e-8 in the other
    pd.testing.assert_frame_equal(found, open_run(alone).table(noun), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("empty", [0, 1])
def test_an_empty_rank_ends_nothing_whichever_it_is(apart, empty):
    run = open_run(apart["folder"] / f"empty-{empty}")
    assert rows(run.path)["sample_id"].tolist() == list(range(SAMPLES))
    assert run.info.world_size == 2
    assert not run.skipped
    assert not verify(run.path)


def test_a_run_whose_first_rank_was_empty_is_gone_on_with(apart, tmp_path):
    path = shutil.copytree(apart["folder"] / "empty-0", tmp_path / "run")
    assert not (path / "run.json").exists()  # the control
    record(path, list(range(SAMPLES)), store=Store("float32", existing="resume"))
    found = rows(path)
    assert found["sample_id"].tolist() == 2 * list(range(SAMPLES))
    assert found["step"].tolist() == 7 * [0] + 6 * [1] + 7 * [2] + 6 * [3]
    assert [entry.name for entry in path.glob("*run.json*")] == ["run.json"]


def test_a_killed_rank_loses_nothing_acknowledged_and_holds_nobody(apart):
    assert apart["codes"] == [0, -signal.SIGKILL]
    assert apart["held"] < 30
    found = rows(apart["folder"] / "killed")
    for rank in range(2):
        acknowledged = int((apart["folder"] / f"acknowledged-{rank}").read_text())
        mine = found[found.sample_id % 2 == rank]
        steps = mine.groupby("step")["sample_id"].apply(sorted)
        assert set(range(acknowledged + 1)) <= set(steps.index)
        assert all(ids == list(range(rank, SAMPLES - 1, 2)) for ids in steps)
    assert acknowledged == 3  # of the one that was killed
    assert found["step"].max() == 11  # the other went on to its end
    assert not verify(apart["folder"] / "killed")
