"""What is summed over samples: its table, its reading and its pictures, a file a noun.

The package is itself the mapping of all nouns by name: ``kd.analyzers["magnitude"]`` is the class.
"""

import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pkgutil import walk_packages
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdanalysis.analyzers.noun import Noun


def load_nouns() -> "dict[str, type[Noun]]":
    """Import every noun of this package, and return all that are known by now, by name."""
    _import_all()
    return import_module(f"{__name__}.noun").NOUNS


@cache
def _import_all() -> None:
    """Import every module of this package; it need not be looked through again."""
    for module in walk_packages(__path__, f"{__name__}."):
        import_module(module.name)


class Nouns(ModuleType):
    """A module with the nouns by name."""

    def __getitem__(self, name: str) -> "type[Noun]":
        return load_nouns()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(load_nouns())

    def __len__(self) -> int:
        return len(load_nouns())

    def keys(self) -> list[str]:
        """Names of the nouns."""
        return list(load_nouns())


sys.modules[__name__].__class__ = Nouns
