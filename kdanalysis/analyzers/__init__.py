"""What is summed over samples: its table, its reading and its pictures, a file a noun."""

from importlib import import_module
from pkgutil import walk_packages


def load_nouns() -> dict:
    """Import every noun of this package, and return all that are known by now, by name."""
    for module in walk_packages(__path__, f"{__name__}."):
        import_module(module.name)
    return import_module(f"{__name__}.noun").NOUNS
