"""The writer thread: nothing lost in silence, memory bounded, training never held by an error."""

import gc
import json
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings

import numpy as np
import pytest

from kdanalysis.store import shard
from kdanalysis.store.info import RunInfo
from kdanalysis.store.queue import QueueWriter
from kdanalysis.store.run import StoredRun
from kdanalysis.store.writer import PartWriter


@pytest.fixture
def slow_disk(monkeypatch):
    """Every part takes a while, but its memory is free."""
    real = shard.commit_file

    def slow(*args):
        time.sleep(0.05)
        real(*args)

    monkeypatch.setattr(shard, "commit_file", slow)


@pytest.fixture
def full_disk(monkeypatch):
    """The second part does not fit any more."""
    real = shard.commit_file

    def fails(path, chunks):
        if path.name == "part-00002.parquet":
            raise OSError(28, "No space left on device")
        real(path, chunks)

    monkeypatch.setattr(shard, "commit_file", fails)


def open_queue(tmp_path, classes=6, rows_per_part=16, **options):
    writer = PartWriter(tmp_path / "run", 0, RunInfo(classes), rows_per_part=rows_per_part)
    return QueueWriter(writer, **options)


def wait_for(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def writer_threads():
    return [t for t in threading.enumerate() if t.name == "kdanalysis-writer"]


def test_block_loses_nothing_on_a_slow_disk(tmp_path, batch, slow_disk):
    with open_queue(tmp_path, max_batches=2) as queue:
        assert all(queue.put(batch(step)) for step in range(10))
    run = StoredRun(tmp_path / "run")
    assert run.steps().tolist() == list(range(10))
    assert (run.dropped_rows, queue.dropped_rows) == (0, 0)
    assert not writer_threads()


def test_drop_counts_every_loss_in_the_record_of_the_run(tmp_path, batch, slow_disk):
    with open_queue(tmp_path, max_batches=2, full="drop") as queue:
        taken = [queue.put(batch(step)) for step in range(20)]
    run = StoredRun(tmp_path / "run")
    assert run.steps().tolist() == [step for step, ok in enumerate(taken) if ok]
    assert 0 < run.dropped_rows == queue.dropped_rows == 16 * taken.count(False)
    last = record_of(tmp_path / "run", "samples")
    assert last == {"closed": True, "dropped_rows": run.dropped_rows}


LAYER = {"step": [0], "epoch": [0], "layer": ["fc"], "term_a": ["a"], "term_b": ["b"], "dot": [1.0]}


def record_of(root, kind):
    (path,) = (root / kind).rglob("record.jsonl")
    values = json.loads(path.read_text().splitlines()[-1])
    assert values.pop("line_crc32")
    return values


def test_drop_counts_rows_of_layers_in_their_own_record(tmp_path, batch, slow_disk):
    with open_queue(tmp_path, max_batches=2, full="drop") as queue:
        queue.put(batch(0))
        taken = [queue.put(LAYER | {"step": [step]}, kind="layers") for step in range(20)]
    run = StoredRun(tmp_path / "run")
    kept = run.count("layers")
    assert 0 < kept == taken.count(True) < 20
    assert record_of(run.path, "layers") == {"closed": True, "dropped_rows": 20 - kept}
    assert run.dropped_rows == queue.dropped_rows == 0


def test_rows_of_layers_after_an_error_are_counted(tmp_path, batch, full_disk):
    queue = open_queue(tmp_path, on_error="warn")

    def train():
        for step in range(3):
            queue.put(batch(step))
            queue.put(LAYER | {"step": [step]}, kind="layers")
            wait_for(lambda step=step: step == 0 or queue._error is not None)
        queue.close()

    with pytest.warns(RuntimeWarning, match="training goes on"):
        train()
    (path,) = (tmp_path / "run" / "layers").rglob("record.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    kept = sum(line.get("rows", 0) for line in lines)
    assert kept + lines[-1]["dropped_rows"] == 3


def test_rows_of_layers_that_are_refused_are_counted(tmp_path):
    queue = open_queue(tmp_path)
    queue.put(LAYER, kind="layers")
    queue.put(LAYER | {"dot": ["x"]}, kind="layers")
    with pytest.raises(ValueError, match="dot is"):
        queue.close()
    assert record_of(tmp_path / "run", "layers")["dropped_rows"] == 1


def test_memory_on_a_slow_disk_is_the_queue_and_two_parts(tmp_path, slow_disk):
    rows, classes, waiting = 256, 500, 3
    batch_bytes = 2 * rows * classes * 4

    def put(queue, step):
        logits = np.zeros((2, rows, classes), np.float32)
        ids = {"step": np.full(rows, step), "epoch": np.zeros(rows, int)}
        columns = {"teacher_logits": logits[0], "student_logits": logits[1]}
        queue.put(ids | {"sample_id": np.arange(rows)} | columns)

    with open_queue(tmp_path, classes, 2 * rows, max_batches=waiting) as queue:
        put(queue, 0)
        put(queue, 1)
        gc.collect()
        tracemalloc.start()
        for step in range(2, 30):
            put(queue, step)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    part_bytes = 2 * batch_bytes // 2  # two batches, float16
    assert peak < (waiting + 2) * batch_bytes + 2 * part_bytes + 200_000
    assert peak > waiting * batch_bytes  # the control: the queue was full


def test_an_error_surfaces_at_the_next_put_and_only_once(tmp_path, batch, full_disk):
    queue = open_queue(tmp_path)
    queue.put(batch(0))
    queue.put(batch(1))
    wait_for(lambda: queue._error is not None)
    with pytest.raises(OSError, match="No space left on device"):
        queue.put(batch(2))
    assert not queue.put(batch(3))
    queue.close()
    queue.close()
    run = StoredRun(tmp_path / "run")
    assert run.steps().tolist() == [0]
    assert run.dropped_rows == queue.dropped_rows == 2 * 16  # what put raised for was never taken
    PartWriter(tmp_path / "run", 0, RunInfo(6), existing="resume").close()  # the rank is free


def test_an_error_of_the_last_part_surfaces_at_close(tmp_path, batch, full_disk):
    queue = open_queue(tmp_path, rows_per_part=32)
    for step in range(3):
        queue.put(batch(step))
    with pytest.raises(OSError, match="No space left on device"):
        queue.close()
    assert StoredRun(tmp_path / "run").steps().tolist() == [0, 1]


def test_warn_says_it_once_and_counts_what_is_missing(tmp_path, batch, full_disk):
    queue = open_queue(tmp_path, on_error="warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(20):
            queue.put(batch(step))
            time.sleep(0.005)
        queue.close()
    (message,) = [str(w.message) for w in caught]
    assert "stopped, training goes on: [Errno 28] No space left on device" in message
    run = StoredRun(tmp_path / "run")
    assert run.steps().tolist() == [0]
    assert run.dropped_rows == queue.dropped_rows == 19 * 16


def test_a_batch_that_is_refused_leaves_the_others_whole(tmp_path, batch):
    queue = open_queue(tmp_path, rows_per_part=1000)
    bad = batch(1, dtype="float32")
    bad["teacher_logits"][3, 2] = 1e6
    queue.put(batch(0))
    queue.put(bad)
    with pytest.raises(ValueError, match="teacher_logits reach 1e"):
        queue.close()
    run = StoredRun(tmp_path / "run")
    assert run.steps().tolist() == [0]
    assert run.dropped_rows == 16


def test_a_closed_queue_takes_nothing(tmp_path, batch):
    queue = open_queue(tmp_path)
    queue.close()
    with pytest.raises(ValueError, match="queue is closed"):
        queue.put(batch(0))


def test_a_forgotten_close_still_writes_what_waits(tmp_path):
    code = """
import sys, numpy as np
from kdanalysis.store.info import RunInfo
from kdanalysis.store.queue import QueueWriter
from kdanalysis.store.writer import PartWriter
queue = QueueWriter(PartWriter(sys.argv[1], 0, RunInfo(2)))
ids = np.arange(5)
queue.put({"step": ids, "epoch": ids, "sample_id": ids, "student_logits": np.zeros((5, 2), "f2")})
"""
    subprocess.run([sys.executable, "-c", code, tmp_path / "run"], check=True, timeout=60)
    assert StoredRun(tmp_path / "run").num_rows == 5
