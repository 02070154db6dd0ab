"""Which method taught a student, read from the name it has: ``kd``, ``runs/dkd``, ``gdkd-k-3``."""

import re
from collections.abc import Iterable

METHODS = ("gdkd", "dkd", "kd")  # as the papers rank them, best first
NAME = re.compile(r"(?:.*[/\\])?(gdkd|dkd|kd)(?![a-z0-9])")


def name_by_method(names: Iterable[str]) -> dict[str, str]:
    """Return the names by method, best first; without methods that no name or several have."""
    found: dict[str, list[str]] = {method: [] for method in METHODS}
    for name in names:
        if match := NAME.match(name.lower()):
            found[match[1]].append(name)
    return {method: those[0] for method, those in found.items() if len(those) == 1}
