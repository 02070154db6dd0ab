"""Whether compiled loops serve: to load them takes longer than they save on few numbers."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

WORTH = 2**20  # logits of a side, to be looked at a few dozen times

_few = ContextVar("few", default=False)


@contextmanager
def expecting(logits: int) -> Iterator[None]:
    """Say how many logits there are altogether: few are looked at as whole arrays."""
    token = _few.set(logits < WORTH)
    try:
        yield
    finally:
        _few.reset(token)


def loops_serve(logits: Tensor) -> bool:
    """Whether loops are for this device, and there are enough logits to load them for."""
    return logits.device.type == "cpu" and not _few.get()
