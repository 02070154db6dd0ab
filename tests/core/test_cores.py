"""Processes share tasks: what comes of it, and what is said, is what one process does."""

import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from functools import partial
from pathlib import Path

import pytest
from meeting import Meeting

from kdanalysis.core import cores
from kdanalysis.core.cores import beside, on_cores

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="one process elsewhere")
HERE = os.getpid()


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    """Two cores and no threads, whatever runs the tests; after the test no process is left."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    monkeypatch.setattr(cores, "CGROUP", Path("/nowhere"))
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield monkeypatch
    signal.signal(signal.SIGINT, before)
    assert multiprocessing.active_children() == []
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)  # nor one that nobody has waited for


def placed(place: int, there=lambda: None, here=lambda: None, seconds: float = 0.02):
    """Return the place and the process that did it, after what either has to do."""
    time.sleep(seconds)
    (here if os.getpid() == HERE else there)()
    return place, os.getpid()


def tasks(count: int = 8, **given):
    return [partial(placed, place, **given) for place in range(count)]


def meeting(there=lambda: None, **given):
    """Tasks of which either process does at least one."""
    meet = Meeting()
    return tasks(there=partial(meet, there), here=meet, **given)


def end_itself(number: int = signal.SIGKILL) -> None:
    os.kill(os.getpid(), number)


def fail(text: str) -> None:
    raise ValueError(text)


def test_two_processes_share_the_tasks_and_their_order_stays():
    found = on_cores(meeting())
    assert [place for place, _ in found] == list(range(8))
    processes = {process for _, process in found}
    assert (len(processes), HERE in processes) == (2, True)


def met(count: int) -> list:
    """Tasks of which each process does as many, if there are so many processes."""
    barrier = multiprocessing.get_context("fork").Barrier(count, timeout=60)
    return tasks(max(cores.FEWEST, 2 * count), there=barrier.wait, here=barrier.wait)


def test_more_cores_are_more_processes_up_to_a_few(two_cores):
    two_cores.setattr(os, "sched_getaffinity", lambda process: set(range(16)))
    found = on_cores(met(cores.MOST))
    assert [place for place, _ in found] == list(range(2 * cores.MOST))
    assert len({process for _, process in found}) == cores.MOST


@pytest.mark.parametrize(
    ("quota", "processes"),
    [
        *[("max 100000", 4), ("250000 100000", 3), ("50000 100000", 1), ("900000 100000", 4)],
        *[("-1 100000", 4), ("100000 0", 4), ("", 4), ("one of two", 4)],
    ],
)
def test_a_container_is_given_no_more_processes_than_its_quota_of_cores(
    two_cores, tmp_path, quota, processes
):
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    two_cores.setattr(cores, "CGROUP", tmp_path)
    two_cores.setattr(os, "sched_getaffinity", lambda process: set(range(16)))
    assert len({process for _, process in on_cores(met(processes))}) == processes


@pytest.mark.parametrize(("quota", "count"), [(-1, 16), (150_000, 2), (50_000, 1)])
def test_the_quota_of_a_container_before_cgroup_v2_is_known_too(two_cores, tmp_path, quota, count):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    two_cores.setattr(cores, "CGROUP", tmp_path)
    two_cores.setattr(os, "sched_getaffinity", lambda process: set(range(16)))
    assert cores._cores() == count


def test_where_no_more_processes_are_to_be_had_those_there_are_share(two_cores):
    fork, left = os.fork, [1]

    def scarce():
        if not left:
            raise BlockingIOError
        return left.pop() and fork()

    two_cores.setattr(os, "sched_getaffinity", lambda process: set(range(16)))
    two_cores.setattr(os, "fork", scarce)
    assert len({process for _, process in on_cores(met(2))}) == 2


def test_the_last_task_of_the_other_process_is_waited_for():
    found = on_cores(meeting(partial(time.sleep, 0.4)))
    assert len({process for _, process in found}) == 2


def test_this_process_does_something_first_while_the_other_one_has_begun():
    done, begun = [], Meeting()

    def meanwhile():
        begun()  # waits for the other process to take a task
        done.append(os.getpid())

    assert [place for place, _ in on_cores(tasks(there=begun), meanwhile)] == list(range(8))
    assert done == [HERE]


@pytest.mark.parametrize("error", [ValueError("not loaded"), OSError("no such library")])
def test_an_error_of_what_is_done_meanwhile_is_raised_as_it_is(error):
    def meanwhile():
        raise error

    for share in (partial(on_cores, tasks()), partial(beside, partial(placed, 3))):
        with pytest.raises(type(error), match=str(error)):
            share(meanwhile)


def test_nothing_is_done_meanwhile_where_there_is_no_other_process():
    assert [place for place, _ in on_cores(tasks(3), partial(fail, "loaded"))] == [0, 1, 2]


def test_one_task_is_done_by_the_other_process_while_this_one_does_something_else():
    done, begun = [], Meeting()

    def meanwhile():
        begun()
        done.append(os.getpid())

    place, process = beside(partial(placed, 3, there=begun), meanwhile)
    assert (place, process == HERE, done) == (3, False, [HERE])
    with pytest.raises(ValueError, match="no such data"):
        beside(partial(fail, "no such data"), lambda: None)


def test_one_task_is_waited_for_until_it_is_done(two_cores):
    two_cores.setattr(cores, "PATIENCE", 0.1)
    begun = Meeting()
    slow = partial(placed, 3, there=lambda: begun(partial(time.sleep, 0.5)))
    assert beside(slow, begun)[1] != HERE


def one_core(patch):
    patch.setattr(os, "sched_getaffinity", lambda process: {0})


def another_thread(patch):
    patch.setattr(threading, "active_count", lambda: 2)


def elsewhere(patch):
    patch.setattr(sys, "platform", "darwin")


def a_child_of_a_pool(patch):
    patch.setitem(multiprocessing.current_process()._config, "daemon", True)


def no_memory(patch):
    def fork():
        raise BlockingIOError

    patch.setattr(os, "fork", fork)


def no_disk(patch):
    patch.setattr("tempfile.tempdir", "/nowhere")


NO_FORK = [one_core, another_thread, elsewhere, a_child_of_a_pool, no_memory, no_disk]


@pytest.mark.parametrize("lacking", NO_FORK)
def test_where_a_fork_cannot_be_or_does_not_pay_one_process_does_all(two_cores, lacking):
    lacking(two_cores)
    assert on_cores(tasks()) == [(place, HERE) for place in range(8)]
    assert beside(partial(placed, 3), partial(fail, "loaded")) == (3, HERE)


def test_a_few_tasks_are_not_worth_a_process():
    assert {process for _, process in on_cores(tasks(cores.FEWEST - 1))} == {HERE}
    assert on_cores([]) == []


def test_what_a_killed_process_had_begun_is_done_here():
    found = on_cores(tasks(there=end_itself))
    assert found == [(place, HERE) for place in range(8)]


def test_half_a_result_is_no_result(two_cores):
    def write_half(tasks, places, file):
        file.write(pickle.dumps((0, "x" * 100))[:-20])
        file.flush()

    two_cores.setattr(cores, "_help", write_half)
    assert on_cores(tasks()) == [(place, HERE) for place in range(8)]


def test_nobody_waits_long_for_a_process_that_hangs(two_cores):
    two_cores.setattr(cores, "PATIENCE", 0.1)
    start = time.perf_counter()
    found = on_cores(tasks(there=partial(time.sleep, 60)))
    assert found == [(place, HERE) for place in range(8)]
    assert time.perf_counter() - start < 30


def test_what_cannot_be_sent_is_done_here():
    found = on_cores([lambda: time.sleep(0.02) or threading.Lock() for _ in range(8)])
    assert len({*map(id, found)}) == 8


class Twofold(ValueError):
    """An error that pickle takes and cannot make again."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} {other}")


def test_what_cannot_be_made_again_of_what_was_sent_is_done_here():
    found = on_cores([lambda: time.sleep(0.02) or Twofold("a", "b") for _ in range(8)])
    assert [str(one) for one in found] == ["a b"] * 8


def test_a_task_that_raises_here_is_not_begun_again(two_cores):
    begun = []

    def task():
        begun.append(os.getpid())
        raise ValueError("no such row")

    two_cores.setattr(cores, "_help", lambda *given: time.sleep(60))
    for share in (on_cores, lambda given: beside(given[0], lambda: None)):
        with pytest.raises(ValueError, match="no such row"):
            share([task] * 8)
    assert begun == [HERE, HERE]


def test_what_found_no_memory_beside_other_processes_is_done_once_more(two_cores):
    short = [MemoryError]

    def task():
        if short:
            raise short.pop()
        return "enough"

    two_cores.setattr(cores, "_help", lambda *given: time.sleep(60))
    assert on_cores([task] * 8) == ["enough"] * 8


@pytest.mark.parametrize("seconds", [0, 0.02])  # the first is done here, or by either
def test_of_several_errors_the_first_is_raised_once(seconds, capfd):
    given = tasks(20, seconds=seconds)
    for place in (7, 3, 12):
        given[place] = partial(fail, f"picture {place}")
    with pytest.raises(ValueError, match="picture 3"):
        on_cores(given)
    assert capfd.readouterr() == ("", "")


def test_an_error_of_the_other_process_alone_is_none():
    found = on_cores(tasks(there=partial(fail, "there")))
    assert found == [(place, HERE) for place in range(8)]


def test_a_warning_is_given_as_often_as_by_one_process():
    warn = partial(warnings.warn, "look", RuntimeWarning)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        on_cores(tasks(there=warn, here=warn))
    assert [str(one.message) for one in said] == ["look"] * 8


def test_so_is_one_of_what_is_deprecated():
    warn = partial(warnings.warn, "old", DeprecationWarning)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        on_cores(tasks(there=warn, here=warn))
    assert [str(one.message) for one in said] == ["old"] * 8


def test_a_line_for_a_handler_of_a_logger_is_written_as_often_as_by_one_process(two_cores, capfd):
    logger = logging.getLogger("kdanalysis.cores")
    two_cores.setattr(logger, "handlers", [logging.StreamHandler(sys.stderr)])
    log = partial(logger.warning, "wide")
    on_cores(tasks(there=log, here=log))
    assert capfd.readouterr().err.split() == ["wide"] * 8


def test_a_task_that_lets_no_error_through_is_not_told_of_the_lines_of_its_log():
    def careful():
        time.sleep(0.02)
        try:
            logging.getLogger("careful").warning("look")
        except Exception:
            return "nothing was logged"
        return "as ever"

    assert on_cores([careful] * 8) == ["as ever"] * 8


def test_a_line_of_a_log_is_written_as_often_as_by_one_process(caplog, capfd):
    log = partial(logging.getLogger("matplotlib.font_manager").warning, "no such font")
    on_cores(tasks(there=log, here=log))
    assert caplog.messages == ["no such font"] * 8
    assert capfd.readouterr() == ("", "")


def test_python_does_not_speak_of_forks_and_threads(two_cores):
    fork = os.fork

    def warning_fork():  # as Python 3.12 does where torch has threads
        warnings.warn("multi-threaded, use of fork() may lead to deadlocks", DeprecationWarning, 2)
        return fork()

    two_cores.setattr(os, "fork", warning_fork)
    assert len({process for _, process in on_cores(meeting())}) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_both(number, capfd):
    def leave(number, frame):
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        on_cores(tasks(here=partial(end_itself, number), there=partial(time.sleep, 60)))
    signal.signal(signal.SIGTERM, before)
    assert capfd.readouterr() == ("", "")


def test_ctrl_c_that_comes_to_both_is_left_to_this_one(capfd):
    found = on_cores(meeting(partial(end_itself, signal.SIGINT)))
    assert len({process for _, process in found}) == 2
    assert capfd.readouterr() == ("", "")


def test_who_can_end_this_process_can_end_the_other():
    before = signal.signal(signal.SIGTERM, lambda *given: None)
    found = on_cores(tasks(there=partial(end_itself, signal.SIGTERM)))
    signal.signal(signal.SIGTERM, before)
    assert found == [(place, HERE) for place in range(8)]


def test_signals_reach_this_process_as_before():
    before, masks = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP}), []
    on_cores(tasks(here=lambda: masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))))
    masks.append(signal.pthread_sigmask(signal.SIG_SETMASK, before))
    assert masks == [{*before, signal.SIGHUP}] * len(masks)


ORPHAN = """
import os, signal, sys, threading, time
from functools import partial
from kdanalysis.core.cores import beside, on_cores
os.sched_getaffinity = lambda process: {0, 1}
here = os.getpid()
def work():
    if os.getpid() == here:
        for _ in range(600):
            time.sleep(0.05)
            if os.path.exists(sys.argv[1]):  # the other process is at work
                os.kill(here, signal.SIGKILL)
    open(sys.argv[1], "a").write("x")
    time.sleep(0.1)
on_cores([work] * 50)"""


def test_nobody_works_on_for_a_process_that_was_killed(tmp_path):
    done = subprocess.run([sys.executable, "-c", ORPHAN, tmp_path / "log"])
    assert done.returncode == -signal.SIGKILL
    log, begun = tmp_path / "log", -1
    while begun != (begun := len(log.read_text())):  # four tasks' time without one
        time.sleep(0.4)
    assert 1 <= begun < 25
