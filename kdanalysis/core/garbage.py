"""Work during which Python looks for no garbage, because next to none is made."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Let Python look for no garbage inside the block; afterwards it does again, if it did before.

    It would go through all objects there are again and again: hundreds of thousands that imports
    make, and as many that the figures of a page are made of, which stay until the page is written.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
