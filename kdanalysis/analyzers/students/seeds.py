"""Students of several seeds: which loss and seed a name says, and paired differences of losses.

A name such as ``gdkd-0``, ``kd seed 2`` ends with its seed where another name differs in that
number alone; ``gdkd-k-3`` by itself has none.
"""

import re
from collections.abc import Iterable, Mapping

from kdanalysis.analyzers.evidence import Interval, mean_of

SEED = re.compile(r"(.+?)[-_ /](?:seed[-_ ]?)?(\d+)")

# What GDKD differs in from KD, crossed: pairs of losses that differ in one thing alone.
EFFECTS = {
    "partition": (("gdkd 1/1/1", "dkd-top1 1"), ("gdkd 1/1/8", "dkd-top1 8")),
    "weight": (("dkd-top1 8", "dkd-top1 1"), ("gdkd 1/1/8", "gdkd 1/1/1")),
    "step": (("kd x 6", "kd"),),
}


def by_seed(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the names by loss and then by seed, in their order; "" for a name without a seed."""
    names = list(names)
    found = {name: SEED.fullmatch(name) for name in names}
    losses = [match[1] for match in found.values() if match]
    grouped: dict[str, dict[str, str]] = {}
    for name, match in found.items():
        seeded = match is not None and losses.count(match[1]) > 1
        loss, seed = (match[1], match[2]) if seeded else (name, "")
        grouped.setdefault(loss, {})[seed] = name
    return grouped


def paired(
    values: Mapping[str, float], students: Mapping[str, Mapping[str, str]], *pairs
) -> Interval:
    """Return the mean difference of pairs of losses, each of the pairs in every seed both have.

    The interval is over seeds, of the means over the pairs; NaN where no seed is shared.

    Args:
        values: by name of the student.
        students: names by loss and seed.
        pairs: (loss, other), of which the difference is value less value of the other.
    """
    seeds = set.intersection(*(set(students.get(loss, {})) for pair in pairs for loss in pair))
    return mean_of([
        sum(values[students[a][seed]] - values[students[b][seed]] for a, b in pairs) / len(pairs)
        for seed in sorted(seeds)
    ])  # fmt: skip
