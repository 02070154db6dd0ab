"""Progress of long work: how much is done, how fast, and how long it still takes."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

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
