"""What checks the arguments of functions that say shapes; ``tests/conftest.py`` puts it in."""

from collections.abc import Callable

from beartype import beartype


def check(made: Callable) -> Callable:
    """Check a function's arguments; not those of a class, which says itself what it needs."""
    return made if made.__name__ == "__init__" else beartype(made)
