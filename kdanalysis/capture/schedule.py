"""Schedules: functions that say at which steps to capture; they can be pickled."""

from collections.abc import Callable, Iterable
from functools import partial
from math import log10
from typing import Any

from kdanalysis.core.arguments import fitted, typed

Schedule = Callable[[int], bool]


class Count:
    """An attribute that counts from 0; a ValueError where it is set to anything else.

    Args:
        bits: of the whole number that it is stored as.
    """

    def __init__(self, bits: int) -> None:
        self._most = 2 ** (bits - 1) - 1

    def __set_name__(self, owner: type, name: str) -> None:
        self._named = owner.__name__, name

    def __get__(self, holder: object, owner: type | None = None) -> Any:
        if holder is None:
            return self
        try:
            return vars(holder)[self._named[1]]
        except KeyError:
            raise AttributeError(f"{self._named[1]} is not set yet") from None

    def __set__(self, holder: object, value: Any) -> None:
        owner, name = self._named
        count = fitted(f"{owner}: {name}", value, int)
        if not 0 <= count <= self._most:
            raise ValueError(f"{owner}: {name} must lie from 0 to {self._most:,}, got {count}")
        vars(holder)[name] = count


@typed
def every(n: int) -> Schedule:
    """Capture step 0 and every n-th step after it."""
    if n < 1:
        raise ValueError(f"every(n) needs n >= 1, got {n}")
    return partial(_is_multiple, n)


def never(step: int) -> bool:
    """Capture no step, as in a trial run."""
    return False


@typed
def at(steps: Iterable[int]) -> Schedule:
    """Capture the given steps."""
    chosen = frozenset(steps)
    if any(step < 0 for step in chosen):
        raise ValueError(f"steps count from 0, got {min(chosen)}")
    return chosen.__contains__


@typed
def logarithmic(per_decade: int = 10) -> Schedule:
    """Capture step 0 and then steps evenly spaced in log(step), so many for a factor of ten.

    Training changes fastest at its start; this follows it with few records.
    """
    if per_decade < 1:
        raise ValueError(f"logarithmic needs per_decade >= 1, got {per_decade}")
    return partial(_is_on_grid, per_decade)


def _is_multiple(n: int, step: int) -> bool:
    return step % n == 0


def _is_on_grid(per_decade: int, step: int) -> bool:
    if step < 1:
        return step == 0
    nearest = round(per_decade * log10(step))
    return step == round(10 ** (nearest / per_decade))
