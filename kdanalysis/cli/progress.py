"""Progress of long work: how much is done, how fast, and how long it still takes."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from kdanalysis.core.ranks import RANKS

Item = TypeVar("Item")


@contextmanager
def progress(
    label: str, total: int | None, unit: str = "samples"
) -> Iterator[Callable[[int], None]]:
    """Give ``advance(n)``; draws on stderr, only where that is a terminal, and in one rank."""
    if not (sys.stderr.isatty() and RANKS.first):
        yield lambda n: None
        return
    from rich import progress as bar
    from rich.console import Console

    columns = (
        bar.TextColumn("{task.description}"),
        bar.BarColumn(),
        bar.TaskProgressColumn(show_speed=False),
        bar.TextColumn("{task.fields[rate]}"),
        bar.TimeRemainingColumn(),
    )
    with bar.Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(label, total=total, rate="")

        def advance(n: int) -> None:
            shown.advance(task, n)
            speed = shown.tasks[0].speed
            shown.update(task, rate=f"{speed:,.0f} {unit}/s" if speed else "")

        yield advance


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
