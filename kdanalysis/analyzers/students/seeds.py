"""Students of several seeds: which loss and seed a name says, and paired differences of losses.

A name such as ``gdkd-0``, ``kd seed 2`` ends with its seed where another name differs in that
number alone; ``gdkd-k-3`` by itself has none.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from math import isnan

from kdanalysis.analyzers.evidence import ENDS, UNTESTED, Interval, mean_of

ALONE = "One loss alone has nothing to be compared with."
MANY = 5  # losses above the base; of more a sentence counts
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


def base_of(losses: Iterable[str]) -> str:
    """Return plain KD among the losses, a name or the end of a path; the first where it lacks."""
    losses = list(losses)
    return next(
        (loss for loss in losses if re.split(r"[/\\]", loss.lower())[-1] == "kd"), losses[0]
    )


def above_base(
    found: Mapping[str, Interval], less: Callable[[str, str], Interval] | None = None
) -> dict[str, Interval]:
    """Return how far every other loss lies above :func:`base_of` them.

    Students of several seeds are compared seed by seed, with the interval over seeds; of one
    student each it is that of independent samples, and says nothing of another training.

    Args:
        found: by name of the student.
        less: the difference of two students by name, where it is not that of independent samples.
    """
    students, values = by_seed(found), {name: one.value for name, one in found.items()}
    base, above = base_of(students), {}
    for loss in students:
        if loss != base:
            above[loss] = paired(values, students, (loss, base))
            if isnan(above[loss].half):
                one, other = (next(iter(students[name].values())) for name in (loss, base))
                above[loss] = less(one, other) if less else found[one].less(found[other])
    return above


def verdicts_told(found: Mapping[str, Interval], spec: str) -> str:
    """Say how far each lies above, with its verdict; of many how many do, and the ends known.

    Args:
        found: by loss, as :func:`above_base` gives it.
        spec: as for ``Interval.text``.
    """
    if len(found) <= MANY:
        return ", ".join(f"{loss} {one.text(spec)} ({one.verdict})" for loss, one in found.items())
    counts = of_many(one.verdict for one in found.values())
    known = {loss: one for loss, one in found.items() if not isnan(one.value)}
    if not known:
        return counts
    ends = (end(known, key=lambda loss: known[loss].value) for end in (min, max))
    reach = " to ".join(f"{loss} {known[loss].text(spec)}" for loss in ends)
    return f"{counts}, from {reach}"


def of_many(verdicts: Iterable[str]) -> str:
    """Say of how many students each verdict is: seen for 3 of 12, not seen for 9."""
    counts = Counter(verdicts)
    told = [f"{verdict} for {counts[verdict]}" for verdict in ENDS if verdict in counts]
    told[0] += f" of {counts.total()}"
    return ", ".join(told)


def what_intervals_are_over(names: Iterable[str]) -> str:
    """Say what :func:`above_base` of these students can tell."""
    if all(len(of_loss) == 1 for of_loss in by_seed(names).values()):
        return (
            f"One student each, intervals over samples: what another training would give "
            f"{UNTESTED}."
        )
    return "Intervals are over seeds, seed by seed."
