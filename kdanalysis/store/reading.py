"""Bytes of others: whatever a library raises on them becomes one sentence of ours."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kdanalysis.core.wording import printable

_LONGEST = 200  # letters of what a library says
_MOST, _NAME = 6, 30  # names in a sentence, and letters of each


def listed(names: Iterable[object]) -> str:
    """Return names as a list that stays short, however many and however long they are."""
    names = [printable(name) for name in names]
    shown = [n if len(n) <= _NAME else f"{n[:_NAME]}..." for n in names[:_MOST]]
    more = [f"and {len(names) - _MOST:,} more"] if len(names) > _MOST else []
    return ", ".join([*shown, *more]) or "nothing"


def cause(error: BaseException) -> str:
    """Return the first line of what an error says, or its name where it says nothing."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if len(lines[0]) <= _LONGEST else f"{lines[0][:_LONGEST]}..."


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Name the file in errors of the libraries that read it.

    Raises:
        ValueError: the error was one of a library; those of ours pass.
    """
    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    except ValueError as error:
        if str(path) in str(error) and "\n" not in str(error):
            raise
        raise ValueError(f"{path} cannot be read: {cause(error)}") from error
    except MemoryError as error:
        raise ValueError(f"{path} asks for more memory than there is") from error
    except Exception as error:
        raise ValueError(f"{path} is damaged: {cause(error)}") from error
