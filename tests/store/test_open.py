"""Who may write where: one writer a rank, no run replaced by accident, no folder that is no run."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from kdanalysis.store.files import new_start
from kdanalysis.store.folder import refuse_existing
from kdanalysis.store.info import RunInfo
from kdanalysis.store.run import StoredRun
from kdanalysis.store.writer import PartWriter

HOLDER = """
import sys
from kdanalysis.store.folder import refuse_existing
from kdanalysis.store.info import RunInfo
from kdanalysis.store.writer import PartWriter
writer = PartWriter(sys.argv[1], 0, RunInfo(6))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.parametrize("existing", ["error", "resume", "overwrite"])
def test_a_second_writer_is_refused_within_a_second_and_free_after_a_kill(tmp_path, existing):
    root = tmp_path / "run"
    arguments = [sys.executable, "-c", HOLDER, root]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(arguments, text=True, **pipes) as process:
        assert process.stdout.readline() == "ready\n"
        begin = time.perf_counter()
        with pytest.raises(BlockingIOError, match=rf"being written by process {process.pid} on "):
            PartWriter(root, 0, RunInfo(6), existing=existing)
        assert time.perf_counter() - begin < 30  # it does not wait for the other
        PartWriter(root, 1, RunInfo(6)).close()  # another rank is free
        process.send_signal(signal.SIGKILL)
    PartWriter(root, 0, RunInfo(6), existing="resume").close()


def test_a_second_writer_in_the_same_process_is_refused_too(tmp_path):
    with (
        PartWriter(tmp_path / "run", 0, RunInfo(6)),
        pytest.raises(BlockingIOError, match=f"this very process {os.getpid()} on "),
    ):
        PartWriter(tmp_path / "run", 0, RunInfo(6), existing="resume")


def test_a_refused_opening_lets_the_rank_go(stored):
    root = stored()
    for _ in range(2):
        with pytest.raises(FileExistsError):
            PartWriter(root, 0, RunInfo(6))
    PartWriter(root, 0, RunInfo(6), existing="resume").close()


@pytest.mark.parametrize("rank", [0, 1])
def test_an_existing_run_is_refused_with_the_ways_out(stored, rank):
    root = stored(rank=rank)
    with pytest.raises(FileExistsError, match="existing='overwrite' to replace it or existing='r"):
        PartWriter(root, rank, RunInfo(6))


def test_an_existing_run_can_be_refused_early_and_nothing_is_made(stored, tmp_path):
    root = stored()
    before = sorted(tmp_path.rglob("*"))
    refuse_existing(root, "resume")
    refuse_existing(root, "error", rank=1)  # rank 0 of the same launch may have been here
    refuse_existing(tmp_path / "new", "error")
    with pytest.raises(FileExistsError, match="already holds a run"):
        refuse_existing(root, "error")
    with pytest.raises(ValueError, match="is no run name"):
        refuse_existing(tmp_path / "a b", "error")
    with pytest.raises(ValueError, match=r"existing is one of .* got 'append'"):
        refuse_existing(root, "append")
    assert sorted(tmp_path.rglob("*")) == before


def test_overwriting_replaces_every_rank_and_keeps_what_is_not_ours(stored):
    root = stored(range(8))
    stored(range(8), rank=1)
    (root / "report.html").write_text("mine")
    stored(range(2), existing="overwrite")
    run = StoredRun(root)
    assert run.steps().tolist() == [0, 1]
    assert (root / "report.html").read_text() == "mine"
    assert sorted(p.name for p in (root / "samples").iterdir()) == ["rank-0"]


def test_overwriting_leaves_a_rank_that_is_already_writing_again(stored):
    root = stored(range(8))
    other = PartWriter(root, 1, RunInfo(6), existing="overwrite")
    ids = np.arange(4)
    logits = np.zeros((4, 6), np.float16)
    other.write({"step": ids, "epoch": ids, "sample_id": ids - 100, "student_logits": logits})
    other.flush()
    stored(range(2), existing="overwrite")
    other.close()
    assert StoredRun(root).num_rows == 4 + 32


FOREIGN = ("notes.txt", "photos/1.jpg")
SONG = "samples/rank-0/song.wav"  # resuming beside it would delete nothing


@pytest.mark.parametrize(
    ("existing", "inside"),
    [
        *product(("error", "overwrite"), (*FOREIGN, SONG)),
        *product(("resume",), FOREIGN),
    ],
)
def test_a_folder_that_is_no_run_is_left_as_it_is(tmp_path, existing, inside):
    root = tmp_path / "mine"
    file = root / inside
    file.parent.mkdir(parents=True)
    file.write_text("precious")
    with pytest.raises(FileExistsError):
        PartWriter(root, 0, RunInfo(6), existing=existing)
    assert file.read_text() == "precious"


def test_a_run_json_that_another_rank_writes_just_now_is_no_foreign_file(stored, monkeypatch):
    run, exists = stored(), Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: path.name != "run.json" and exists(path))
    refuse_existing(run, "error", rank=1)


def test_a_foreign_run_json_is_no_licence_to_delete(tmp_path):
    root = tmp_path / "mine"
    (root / "samples" / "rank-0").mkdir(parents=True)
    (root / "run.json").write_text('{"engine": "diesel"}')
    with pytest.raises(ValueError, match="states no schema_version"):
        PartWriter(root, 0, RunInfo(6), existing="overwrite")
    assert (root / "samples" / "rank-0").is_dir()


def test_resuming_another_run_is_refused(stored):
    root = stored()
    with pytest.raises(ValueError, match="cannot be resumed: its num_classes is 6 and now it is 7"):
        PartWriter(root, 0, RunInfo(7), existing="resume")
    with pytest.raises(ValueError, match="its loss is '' and now it is 'KD"):
        PartWriter(root, 0, RunInfo(6, loss="KD()"), existing="resume")


def test_resuming_keeps_run_json_and_starts_a_new_folder(stored):
    root = stored(range(2))
    before = (root / "run.json").read_bytes()
    stored(range(2, 4), existing="resume")
    assert (root / "run.json").read_bytes() == before
    assert len(list((root / "samples" / "rank-0").iterdir())) == 2


def test_start_ids_sort_by_time_even_when_the_clock_went_back():
    future = "29990101T000000000000-00000000"
    assert new_start([future]) > future
    ids = [new_start([])]
    for _ in range(20):
        ids.append(new_start(ids))
    assert ids == sorted(set(ids))


def test_run_json_is_written_by_rank_0_alone(tmp_path):
    PartWriter(tmp_path / "run", 1, RunInfo(6)).close()
    assert not (tmp_path / "run" / "run.json").exists()
    PartWriter(tmp_path / "run", 0, RunInfo(6)).close()
    assert json.loads((tmp_path / "run" / "run.json").read_bytes())["num_classes"] == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"student_logits": None}, r"missing \['student_logits'\]"),
        ({"colour": np.zeros(16)}, r"unknown \['colour'\]"),
        ({"target": np.zeros(15, int)}, "need one length"),
        ({"target": np.zeros(16)}, "target is float64 of shape"),
        ({"target": np.zeros((16, 2), int)}, r"of shape \(16, 2\), need a row of int64"),
        ({"epoch": np.full(16, 2**40)}, "beyond the range of int32"),
        ({"teacher_logits": np.zeros((16, 5))}, r"shape \(16, 5\), need \(16, 6\)"),
        ({"teacher_logits": np.zeros((16, 6), np.uint16)}, "uint16 bit patterns with dtype="),
        ({"teacher_logits": np.zeros((16, 6), complex)}, "are complex128"),
        ({"step": np.arange(16)[::-1]}, "step goes back after 15: give the global step"),
    ],
)
def test_a_bad_batch_is_refused_and_nothing_of_it_kept(tmp_path, batch, change, message):
    with PartWriter(tmp_path / "run", 0, RunInfo(6)) as writer:
        with pytest.raises(ValueError, match=message):
            writer.write({k: v for k, v in (batch(0) | change).items() if v is not None})
        assert writer.pending() == 0
        writer.write(batch(0))
    assert StoredRun(tmp_path / "run").num_rows == 16


def test_steps_that_go_back_between_batches_are_refused(tmp_path, batch):
    with PartWriter(tmp_path / "run", 0, RunInfo(6)) as writer:
        writer.write(batch(5))
        writer.write(batch(5) | {"sample_id": np.arange(16) - 99})  # a micro-batch of that step
        with pytest.raises(ValueError, match="step goes back after 5"):
            writer.write(batch(4))


def test_of_two_long_losses_the_part_that_differs_is_said(tmp_path):
    one, two = (f"Sum({'CrossEntropy(weight=1.0), ' * 9}KD(temperature={t}))" for t in (8.0, 2.0))
    PartWriter(tmp_path / "run", 0, RunInfo(6, loss=one)).close()
    with pytest.raises(ValueError, match="cannot be resumed") as caught:
        PartWriter(tmp_path / "run", 0, RunInfo(6, loss=two), existing="resume")
    was, now = str(caught.value).split(" and now it is ")
    assert was.endswith("its loss is ...rossEntropy(weight=1.0), KD(temperature=8.0))'")
    assert now.startswith("...rossEntropy(weight=1.0), KD(temperature=2.0))';")
