"""Work on several cores: forked processes do those tasks that this one has not begun."""

import logging
import multiprocessing
import os
import pickle
import select
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from math import ceil
from pathlib import Path
from typing import IO, Any

import torch

FEWEST = 4  # tasks that are worth a process
MOST = 4  # processes, this one among them
CGROUP = Path("/sys/fs/cgroup")
QUOTAS = (  # of a container: microseconds of all cores in a period, and the period
    ("cpu.max",),
    ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"),  # before cgroup v2
)
PATIENCE = 20.0  # seconds for the last tasks of the other processes
NUMBER = 2  # bytes of a task's place in the pipe
ENDING = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]


def on_cores(
    tasks: Sequence[Callable[[], Any]], meanwhile: Callable[[], object] = lambda: None
) -> list[Any]:
    """Return what every task returns; forked processes do some of them, where that is safe.

    It is on Linux, with two cores at least, and without other threads of Python's, whose locks
    would stay locked in a fork. What no fork does, because it was ended, or because a task raised,
    warned or logged something or what it returns cannot be sent, is done here in order; what was
    raised here is raised in its turn. So nothing is said that one process does not say.

    Args:
        tasks: to be done in any order, in any process, with no threads of OpenMP; a fork pickles
            what they return.
        meanwhile: what this process does first where another one has begun with the tasks, such
            as to load what is needed next; it may be left undone, and its errors are raised.
    """
    few = len(tasks) < FEWEST
    return _in_order(tasks, *({}, {}) if few else _shared(tasks, meanwhile, PATIENCE))


def beside(task: Callable[[], Any], meanwhile: Callable[[], object]) -> Any:
    """Return what a task returns, which a forked process does while this one does something else.

    Where no process can be forked, as of :func:`on_cores`, ``meanwhile`` is left undone.
    """
    return _in_order([task], *_shared([task], meanwhile, None))[0]


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread: OpenMP's are not there in a fork."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _forks() -> int:
    """How many processes can be forked beside this one."""
    safe = (
        sys.platform == "linux"
        and threading.active_count() == 1
        and not multiprocessing.current_process().daemon  # such a one has no children
    )
    return min(_cores(), MOST) - 1 if safe else 0


def _cores() -> int:
    """How many cores this process may use at a time, by its container's quota too."""
    cores = len(os.sched_getaffinity(0))
    for files in QUOTAS:
        with suppress(OSError, ValueError, ZeroDivisionError):  # no such file, or it says "max"
            texts = [(CGROUP / name).read_text() for name in files]
            time_each, period = map(int, " ".join(texts).split())
            cores = min(cores, ceil(time_each / period)) if time_each > 0 else cores  # -1: none
    return cores


def _in_order(
    tasks: Sequence[Callable[[], Any]], found: Mapping[int, Any], raised: Mapping[int, Exception]
) -> list[Any]:
    """Return what every task returns, and raise what the first one raised; each is done once."""
    done = []
    for place, task in enumerate(tasks):
        if place in raised:
            raise raised[place]
        done.append(found[place] if place in found else task())
    return done


def _shared(
    tasks: Sequence[Callable[[], Any]],
    meanwhile: Callable[[], object],
    patience: float | None,
) -> tuple[dict[int, Any], dict[int, Exception]]:
    """Return what all processes did, by its place, and the error that ended the work of this one.

    The others' last tasks are waited for as long as ``patience`` says, None: until they are done.
    Errors of ``meanwhile`` are raised.
    """
    found: dict[int, Any] = {}
    raised: dict[int, Exception] = {}
    with ExitStack() as stack:
        others = []
        with suppress(OSError):  # no process, or no file, is to be had, or no more of them
            places, count = stack.enter_context(_places(len(tasks))), min(_forks(), len(tasks))
            files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(count)]
            ending = stack.enter_context(ExitStack())
            for file in files:
                others.append((ending.enter_context(_forked(_help, tasks, places, file)), file))
        if not others:
            return found, raised
        meanwhile()
        for number in iter(partial(os.read, places, NUMBER), b""):
            place = int.from_bytes(number)
            try:
                found[place] = tasks[place]()
            except MemoryError:  # one process alone may have enough
                break
            except Exception as error:
                raised[place] = error
                break
        else:
            end = None if patience is None else time.monotonic() + patience
            for other, _ in others:
                other.join(None if end is None else max(0.0, end - time.monotonic()))
        ending.close()
        for _, file in others:
            file.seek(0)
            with suppress(EOFError, OSError, pickle.UnpicklingError):  # its end, or of an ended one
                while True:
                    place, done = pickle.load(file)
                    with suppress(Exception):  # it cannot be made again
                        found[place] = pickle.loads(done)
    return found, raised


@contextmanager
def _places(count: int) -> Iterator[int]:
    """Give a pipe from which all processes read what is to be done next, each place once."""
    queue, end = os.pipe()
    try:
        most = min(count, select.PIPE_BUF // NUMBER)  # what a pipe holds for certain
        os.write(end, b"".join(place.to_bytes(NUMBER) for place in range(most)))
        os.close(end)
        yield queue
    finally:
        os.close(queue)


@contextmanager
def _forked(run: Callable[..., None], *given: Any) -> Iterator[Any]:
    """Give a process that runs a function; none is left after the block, however it ends."""
    process = multiprocessing.get_context("fork").Process(target=run, args=given, daemon=True)
    held = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        with warnings.catch_warnings():  # Python 3.12 warns of threads, also of idle ones of torch
            warnings.filterwarnings("ignore", ".*use of fork", DeprecationWarning)
            process.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        yield process
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        if process.pid is not None:
            process.kill()
            process.join()


def _help(tasks: Sequence[Callable[[], Any]], places: int, file: IO[bytes]) -> None:
    """Do tasks, and write what is to be said of none, until all are begun or nobody waits."""
    for number in ENDING:  # Ctrl-C comes to all: the one that waits ends this one
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    heard: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record)
    for logger in (logging.root, *logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):  # not a mere part of a name
            logger.handlers, logger.propagate = [handler], False
    waiting = multiprocessing.parent_process()
    with suppress(OSError):
        for number in iter(partial(os.read, places, NUMBER), b""):
            if not waiting.is_alive():
                break
            place = int.from_bytes(number)
            file.write(_done(place, tasks[place], heard))
            file.flush()


def _done(place: int, task: Callable[[], Any], heard: list[logging.LogRecord]) -> bytes:
    """Return the place and what the task returned; nothing where it raised, warned or logged."""
    heard.clear()
    with suppress(Exception), warnings.catch_warnings(record=True) as said:
        done = pickle.dumps((place, pickle.dumps(task())))
        return b"" if said or heard else done
    return b""
