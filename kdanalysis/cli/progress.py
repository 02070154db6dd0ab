"""Progress of long work: how much is done, how fast, and how long it still takes."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from kdanalysis.core.ranks import RANKS

Item = TypeVar("Item")


@contextmanager
def progress(label: str, total: int | None, unit: str = "samples") -> Iterator[Callable[..., None]]:
    """Give ``advance(n, note="")``: n more are done, and the note says how far that is.

    A bar on stderr where that is a terminal; elsewhere, in logs and notebooks, a line for every
    note, with the rate and the time left. In one rank of several.
    """
    if not RANKS.first:
        yield lambda n, note="": None
        return
    if not sys.stderr.isatty():
        yield in_lines(label, total, unit)
        return
    from rich import progress as bar
    from rich.console import Console

    columns = (
        bar.TextColumn("{task.description}"),
        bar.BarColumn(),
        bar.TaskProgressColumn(show_speed=False),
        bar.TextColumn("{task.fields[rate]}"),
        bar.TimeRemainingColumn(),
        bar.TextColumn("{task.fields[note]}"),
    )
    with bar.Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(label, total=total, rate="", note="")

        def advance(n: int, note: str = "") -> None:
            shown.advance(task, n)
            speed = shown.tasks[0].speed
            shown.update(task, rate=f"{speed:,.0f} {unit}/s" if speed else "")
            if note:
                shown.update(task, note=note)

        yield advance


def in_lines(label: str, total: int | None, unit: str) -> Callable[..., None]:
    """Return an ``advance`` that writes a line for every note, and nothing without one."""
    start, done = time.perf_counter(), 0

    def advance(n: int, note: str = "") -> None:
        nonlocal done
        done += n
        spent = time.perf_counter() - start
        if note and done and spent:
            left = f", {duration((total - done) * spent / done)} left" if total else ""
            line = f"{label}: {note}, {done / spent:,.0f} {unit}/s{left}"
            print(line, file=sys.stderr, flush=True)

    return advance


def duration(seconds: float | int) -> str:
    """Write 42 s, 3 min 5 s or 2 h 10 min."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def track(
    items: Iterable[Item], label: str, total: int | None, size: Callable[[Item], int]
) -> Iterator[Item]:
    """Yield the items, and advance by ``size(item)`` after each."""
    with progress(label, total) as advance:
        for item in items:
            yield item
            advance(size(item))


def watching(label: str) -> Callable[[Iterable[Mapping], Any], Iterable[Mapping]]:
    """Return what draws the progress of reading a source, batch by batch."""

    def watch(batches: Iterable[Mapping], source: Any) -> Iterable[Mapping]:
        shown, total = label.format(source.name), len(RANKS.share(source.num_rows))
        return track(batches, shown, total, lambda batch: len(next(iter(batch.values()))))

    return watch


def watching_images(batches: Iterable[tuple], label: str, total: int) -> Iterable[tuple]:
    """Draw the progress of looking at images."""

    def size(batch: Any) -> int:
        return len(batch["target"] if isinstance(batch, Mapping) else batch[1])

    return track(batches, label, total, size)
