"""Ctrl-C at any moment of a training loop: what was taken is stored, and nothing ever hangs."""

import subprocess
import sys

import pytest

BEGIN = """
import faulthandler, itertools, os, random, signal, statistics, sys, time
import numpy as np
from kdanalysis.store.info import RunInfo
from kdanalysis.store.queue import QueueWriter
from kdanalysis.store.run import StoredRun
from kdanalysis.store.writer import PartWriter

def batch(step):
    ids = np.arange(4)
    return {"step": ids * 0 + step, "epoch": ids, "sample_id": ids,
            "student_logits": np.zeros((4, 2), np.float16)}

def loop(queue, taken, steps):
    with queue:
        for step in range(steps):
            queue.put(batch(step))
            taken.append(step)
            if step == 1:
                queue.flush()

faulthandler.dump_traceback_later(60, exit=True)  # a hang is shown, and is an error
"""

# an interrupt before every single instruction of the calls, as deep as Python goes
EVERYWHERE = (
    BEGIN
    + """
class Nowhere:
    root, rows = "nowhere", 0
    def write(self, columns, dtype, kind): self.rows += 1
    def pending(self, kind): return 0
    def count_dropped(self, rows): pass
    def flush(self): pass
    def close(self): pass
    def dropped(self): return 0

def interrupt_at(number):
    count = 0
    def trace(frame, event, argument):
        nonlocal count
        frame.f_trace_opcodes = True
        if event == "opcode":
            count += 1
            if count == number:
                raise KeyboardInterrupt
        return trace
    return trace

sys._getframe().f_trace_opcodes = True  # 3.12 counts opcodes where a frame has it before settrace
for number in itertools.count(1):
    writer, taken = Nowhere(), []
    queue = QueueWriter(writer, max_batches=1)
    sys.settrace(interrupt_at(number))
    try:
        loop(queue, taken, 3)
    except KeyboardInterrupt:
        pass
    else:
        break
    finally:
        sys.settrace(None)
    queue.close()
    assert len(taken) <= writer.rows <= len(taken) + 1, (taken, writer.rows)
print(number)
"""
)

# real signals into real runs; SIGALRM with the handler of SIGINT, because it has a timer
AT_RANDOM = (
    BEGIN
    + """
signal.signal(signal.SIGALRM, signal.default_int_handler)
os.fsync = lambda descriptor: None  # no power cut here, and most of the time
draw = random.Random(0)

def begin(root):
    return QueueWriter(PartWriter(root, 0, RunInfo(2), rows_per_part=8), max_batches=1)

def seconds(root):
    start = time.perf_counter()
    loop(begin(root), [], 8)
    return time.perf_counter() - start

# how long a loop takes here, so that most signals land inside one
length = statistics.median(seconds(f"{sys.argv[1]}/whole{number}") for number in range(9))
interrupted = 0
for number in itertools.count():
    if interrupted == int(sys.argv[2]):
        break
    root, taken = f"{sys.argv[1]}/run{number}", []
    queue = begin(root)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, draw.uniform(1e-5, length))
            loop(queue, taken, 8)
        finally:  # the signal may come here too, once the loop is through
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        interrupted += 1
    queue.close()
    assert {*taken} <= {*StoredRun(root).steps().tolist()}, taken
    PartWriter(root, 0, RunInfo(2), existing="resume").close()  # the rank is free
    faulthandler.dump_traceback_later(60, exit=True)
print(interrupted)
"""
)


def printed(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_an_interrupt_at_any_instruction_hangs_nothing_and_loses_nothing_taken():
    assert printed(EVERYWHERE) > 200  # instructions; the last loop was not interrupted


@pytest.mark.skipif(sys.platform == "win32", reason="timers")
def test_signals_at_random_times_hang_nothing_and_lose_nothing_taken(tmp_path):
    assert printed(AT_RANDOM, tmp_path, 15) == 15  # as many were interrupted


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="timers")
def test_five_hundred_signals_hang_nothing_and_lose_nothing_taken(tmp_path):
    assert printed(AT_RANDOM, tmp_path, 500) == 500
