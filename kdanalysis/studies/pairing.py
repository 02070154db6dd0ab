"""Looking at the first rows of a study: are they logits, and do its sides belong together?"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import permutations

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer
from kdanalysis.core.logits import as_tensor, check_logits
from kdanalysis.core.pairing import (
    ROWS,
    first_of,
    known_tops,
    seem_apart,
    tops_of,
    warn_of_mispairing,
)
from kdanalysis.core.ranks import RANKS
from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.core.streams import lost_to_masks, nothing_finite
from kdanalysis.studies.source import Source

SHOWN = 10  # rows that tell padding and masks
PAIRS = (("student", "teacher"), ("teacher", "target"))
COLUMNS = {"student": "student_logits", "teacher": "teacher_logits", "target": "target"}
KEPT = "teacher_kept"  # logits of the classes that "ids" names, the largest first
INSTEAD = "give logits (the logarithm of the probabilities will do)"


def look_at_sides(
    best: Int[Tensor, " n"] | None = None, **sides: Tensor | SparseTeacher | None
) -> str:
    """Warn where the first rows of two sides seem not to belong together, and return the warning.

    Args:
        best: the most probable class of rows from the first on, of a student that was checked.
        sides: of student, teacher and target those there are; several teachers as "teacher NAME".

    Raises:
        ValueError: a side holds probabilities instead of logits, or logarithms to another base.
    """
    given = {name: one for name, one in sides.items() if one is not None}
    for name, one in given.items():
        if isinstance(one, Tensor) and one.dim() == 2 and (name != "student" or best is None):
            check_logits(f"{name} logits", one, INSTEAD)
    rows = {name: one[:ROWS] for name, one in given.items()}
    known = best is not None and len(best) >= len(rows["student"])
    firsts = {"student": best[:ROWS].unsqueeze(-1)} if known else {}
    firsts |= {name: first_of(one) for name, one in rows.items() if name not in firsts}
    roles = {name: name.partition(" ")[0] for name in given}
    there = [(a, b) for a, b in permutations(given, 2) if (roles[a], roles[b]) in PAIRS]
    doubted = [pair for pair in there if seem_apart(*(firsts[name] for name in pair))]
    told = [warn_of_mispairing(pair, *(tops_of(rows[name]) for name in pair)) for pair in doubted]
    return "; ".join(filter(None, told))


def looked_at(
    batches: Iterable[Mapping[str, np.ndarray]], columns: Sequence[str], source: Source
) -> Iterator[Mapping[str, np.ndarray]]:
    """Yield batches, and warn where the first rows of two sides seem not to belong together.

    Of kept classes teacher and target alone are looked at: of the student one class is known, and
    of an untrained one, which repeats the token that it reads, that is the teacher's of the row
    before.

    Args:
        batches: columns by name.
        columns: which of them there are.
        source: of the batches; pairs that were looked at before are looked at no more, and what
            is warned of is added to its ``paired``.
    """
    held = {name: column for name, column in COLUMNS.items() if column in columns}
    held |= {"teacher": KEPT} if KEPT in columns else {}
    new = [pair for pair in PAIRS if pair not in source.paired and {*pair} <= held.keys()]
    source.paired.update(dict.fromkeys(new, ""))
    names = dict.fromkeys(name for pair in new for name in pair) if RANKS.first else ()
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    left = ROWS if parts else 0
    for batch in batches:
        if left > 0:
            for name, tops in parts.items():
                tops.append(_tops(batch, held[name], left))
            left -= len(tops[-1])
            if left <= 0:
                _judge(new, parts, source)
        yield batch
    if 0 < left < ROWS:
        _judge(new, parts, source)


def refuse_masked(source: Source, analyzers: Iterable[Analyzer]) -> None:
    """Raise a ValueError where no row of a file or run is finite, and -inf alone is why.

    Args:
        source: that was read.
        analyzers: that it was read for.
    """
    lost = [one for one in analyzers if 0 < source.num_rows == int(one.non_finite)]
    if not lost or source.kept:
        return
    needs = [name for name in lost[0].needs if name.endswith("_logits")]
    few = next(source.batches("samples", needs, SHOWN)).values()
    sides = [torch.from_numpy(side.astype(np.float32)) for side in few]
    if lost_to_masks(source.path, *sides):
        raise ValueError(nothing_finite(source.path, *sides))


def doubt(source: Source) -> str:
    """Return what was warned of: rows of two sides that seem not to belong together."""
    return "; ".join(filter(None, source.paired.values()))


def _tops(batch: Mapping[str, np.ndarray], column: str, count: int) -> Tensor:
    rows = as_tensor(batch[column][:count])
    if column != KEPT:
        return tops_of(rows)
    some = min(2, rows.shape[1] - 1)  # the last one may be the label
    ids = as_tensor(batch["ids"][:count])
    return known_tops(ids[:, :some].long(), rows[:, :some])


def _judge(
    pairs: Iterable[tuple[str, str]], parts: Mapping[str, list[Tensor]], source: Source
) -> None:
    for pair in pairs:
        tops = (torch.cat(parts[name]) for name in pair)
        source.paired[pair] = warn_of_mispairing(pair, *tops, of=source.name)
