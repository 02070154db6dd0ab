"""A full disk: the error says what was being written, which a write by itself does not know."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # of a disk, a quota, a file


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let the error of a full disk name what is written.

    Raises:
        OSError: in place of what torch raises after one.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in FULL:
            error.filename = str(path)
        raise
    except RuntimeError as error:
        first = error.__context__
        if isinstance(first, OSError) and first.errno in FULL:
            raise OSError(first.errno, first.strerror, str(path)) from error
        raise
