"""A part is acknowledged only when it is safe, at whatever system call the machine gives up."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kdanalysis.store.files import append_line
from kdanalysis.store.info import RunInfo
from kdanalysis.store.inventory import verify
from kdanalysis.store.run import StoredRun
from kdanalysis.store.writer import PartWriter

CALLS = ("write", "fsync", "replace")


class Disk:
    """Counts the system calls of a commit and fails, or ends the process, at the n-th."""

    def __init__(self, monkeypatch, fail_at=0, error=errno.ENOSPC):
        self.count, self.fail_at, self.error, self.log = 0, fail_at, error, []
        for name in CALLS:
            monkeypatch.setattr(os, name, self.wrap(name, getattr(os, name)))

    def wrap(self, name, call):
        def wrapped(*args, **kwargs):
            self.count += 1
            if self.count == self.fail_at:
                raise OSError(self.error, os.strerror(self.error))
            self.log.append((name, self.place(args[0])))
            return call(*args, **kwargs)

        return wrapped

    @staticmethod
    def place(target):
        path = Path(f"/proc/self/fd/{target}").readlink() if isinstance(target, int) else target
        return re.sub(r"\.[0-9a-f]{8}\.tmp$", ".RANDOM.tmp", Path(path).name)


def columns(batch, step):
    return batch(step, rows=8, classes=4)


def whole_parts(root):
    """Rows of committed files, each read whole; fails where a committed file is unreadable."""
    run = StoredRun(root)
    assert run.skipped == []
    batches = list(run.batches(["step", "sample_id", "teacher_logits"]))
    return {int(step) for b in batches for step in b["step"]}


linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc")


@linux
def test_bytes_are_synced_before_the_name_and_the_name_before_the_record(
    tmp_path, monkeypatch, batch
):
    with PartWriter(tmp_path / "run", 0, RunInfo(4), rows_per_part=8) as writer:
        writer.write(columns(batch, 0))
        disk = Disk(monkeypatch)
        writer.write(columns(batch, 1))
        monkeypatch.undo()
    part = ".part-00002.parquet.RANDOM.tmp"
    assert disk.log == [
        *[("write", part)] * 3,
        ("fsync", part),
        ("replace", part),
        ("fsync", writer.start),
        ("write", "record.jsonl"),
        ("fsync", "record.jsonl"),
    ]


@linux
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_an_error_at_any_call_loses_nothing_acknowledged(tmp_path, monkeypatch, batch, error):
    total = 0
    for fail_at in range(1, 1000):
        root = tmp_path / f"run{fail_at}"
        writer = PartWriter(root, 0, RunInfo(4), rows_per_part=8)
        with monkeypatch.context() as patch:
            disk = Disk(patch, fail_at, error)
            failed, acknowledged = [], set()
            for step in range(3):
                try:
                    writer.write(columns(batch, step))
                except OSError as problem:
                    failed.append(problem.errno)
                else:
                    acknowledged = set(range(step + 1))
        assert not list(root.rglob("*.tmp"))
        assert acknowledged <= whole_parts(root)
        writer.close()
        assert whole_parts(root) == {0, 1, 2}  # what failed was kept and went with the next part
        assert verify(root) == []
        if disk.count < fail_at:
            assert not failed
            break
        assert failed == [error]
        total += 1
    assert total == 3 * 8 + 4  # 8 calls a part, and those that make the folders and the record


EXIT = """
import os, sys
import numpy as np
from kdanalysis.store.files import append_line
from kdanalysis.store.info import RunInfo
from kdanalysis.store.writer import PartWriter

def child(root, fail_at, acknowledge):
    count = 0
    def wrap(call):
        def wrapped(*args, **kwargs):
            nonlocal count
            count += 1
            if count == fail_at:
                os._exit(9)
            return call(*args, **kwargs)
        return wrapped
    with PartWriter(root, 0, RunInfo(4), rows_per_part=8) as writer:
        real = {name: getattr(os, name) for name in ("write", "fsync", "replace")}
        for name, call in real.items():
            setattr(os, name, wrap(call))
        for step in range(3):
            rows = np.arange(8)
            writer.write({"step": rows * 0 + step, "epoch": rows * 0, "sample_id": rows,
                          "teacher_logits": np.zeros((8, 4), np.float16),
                          "student_logits": np.zeros((8, 4), np.float16)})
            real["write"](acknowledge, b"%d\\n" % step)
        for name, call in real.items():
            setattr(os, name, call)
    os._exit(0)

for fail_at in range(1, 1000):
    root = os.path.join(sys.argv[1], f"run{fail_at}")
    out = os.open(root + ".acknowledged", os.O_CREAT | os.O_WRONLY)
    pid = os.fork()
    if pid == 0:
        try:
            child(root, fail_at, out)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, 9), code
    if code == 0:
        break
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_sudden_death_at_any_call_loses_nothing_acknowledged(tmp_path):
    subprocess.run([sys.executable, "-W", "ignore", "-c", EXIT, tmp_path], check=True, timeout=120)
    runs = [path.with_suffix("") for path in tmp_path.glob("*.acknowledged")]
    assert len(runs) == 3 * 8 + 4 + 1  # the last one lived
    for root in runs:
        acknowledged = {int(n) for n in root.with_suffix(".acknowledged").read_text().split()}
        assert acknowledged <= whole_parts(root)
        assert verify(root) == []
        assert len(list(root.rglob("*.tmp"))) <= 1
        PartWriter(root, 0, RunInfo(4), existing="resume").close()
        assert not list(root.rglob("*.tmp"))


KILLED = """
import sys
import numpy as np
from kdanalysis.store.files import append_line
from kdanalysis.store.info import RunInfo
from kdanalysis.store.writer import PartWriter

writer = PartWriter(sys.argv[1], 0, RunInfo(500), rows_per_part=256, existing="resume")
logits = np.random.default_rng(0).standard_normal((256, 500)).astype(np.float16)
step = int(sys.argv[2])
while True:
    writer.write({"step": np.full(256, step), "epoch": np.zeros(256, int),
                  "sample_id": np.arange(256), "teacher_logits": logits, "student_logits": logits})
    print(step, flush=True)
    step += 1
"""


def kill_repeatedly(root, times, seed=0):
    """Kill a writer at random moments; every acknowledged step must be there, nothing half."""
    rng = np.random.default_rng(seed)
    acknowledged: set[int] = set()
    for _ in range(times):
        first = max(acknowledged, default=-1) + 1
        arguments = [sys.executable, "-c", KILLED, root, str(first)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
            acknowledged.add(int(process.stdout.readline()))
            time.sleep(rng.uniform(0, 0.15))
            process.send_signal(signal.SIGKILL)
            acknowledged |= {int(line) for line in process.stdout.read().split()}
        assert len(list(root.rglob("*.tmp"))) <= 1
        assert verify(root) == []
        assert acknowledged <= whole_parts(root)
    with PartWriter(root, 0, RunInfo(500), existing="resume"):
        assert not list(root.rglob("*.tmp"))
    assert len(acknowledged) > times
    return acknowledged


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_six_kills_lose_nothing_acknowledged(tmp_path):
    kill_repeatedly(tmp_path / "run", 6)


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_two_hundred_kills_lose_nothing_acknowledged(tmp_path):
    for group in range(10):
        kill_repeatedly(tmp_path / f"run{group}", 20, seed=group)


def test_a_line_replaces_all_that_a_failed_attempt_left(tmp_path):
    path = tmp_path / "record.jsonl"
    end = append_line(path, 0, b"first\n")
    append_line(path, end, b"a failed and longer line\n")
    assert append_line(path, end, b"second\n") == path.stat().st_size
    assert path.read_bytes() == b"first\nsecond\n"


def test_a_stale_temporary_file_is_gone_at_the_next_open(stored):
    root = stored(range(4))
    folder = next(root.glob("samples/rank-0/*"))
    stale = [folder / ".part-00002.parquet.tmp", root / ".run.json.tmp"]
    for path in stale:
        path.write_bytes(b"half")
    assert verify(root) == []
    PartWriter(root, 0, RunInfo(6), existing="resume").close()
    assert not any(path.exists() for path in stale)
