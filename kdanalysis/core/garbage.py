"""Memory that work is to keep: it is neither searched for garbage nor given back in between."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

LARGEST = 2**25 - 2**14  # bytes of a block, a little less than the most that glibc learns from


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


def keep_freed_memory() -> None:
    """Let glibc keep what is freed for what is made next, up to twice this many bytes.

    Its threshold follows the largest block that was freed, up to 32 MiB. Otherwise it returns the
    memory to the system each time, and every array is made of fresh pages, at twice the time.
    """
    import torch  # which takes a while to load: to ask for help there is no work

    torch.empty(LARGEST, dtype=torch.uint8)
