"""Marks: the steps, or epochs, that tables tell apart, and what belongs to each."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Int64

from kdanalysis.store.run import StoredRun

LOOK = 65_536  # rows of a batch of steps
TIMED = ("epoch", "sample_id", "target")


def ramps_of(run: StoredRun, marks: Sequence[int]) -> dict[str, tuple[float, ...]]:
    """Return the mean warm-up factor by term and mark; nothing where all that are known are 1."""
    columns = ("step", "term", "ramp")
    there = run.columns_of("terms")
    batches = [*run.batches(columns, LOOK, kind="terms")] if there else []
    if all((batch["ramp"] == 1).all() for batch in batches):
        return {}
    step, term, ramp = (np.concatenate([b[name] for b in batches]) for name in columns)
    place = np.searchsorted(np.array(marks), step, side="right") - 1
    found = {}
    for name in dict.fromkeys(term):
        chosen = (term == name) & (place >= 0)
        total, count = (
            np.bincount(place[chosen], weights, len(marks)) for weights in (ramp[chosen], None)
        )
        found[str(name)] = tuple((total / np.where(count, count, np.nan)).tolist())
    return found


def times_of(batches: Iterable[Mapping]) -> float:
    """Return how often an image is there, of a row's on average: sum t^2 / sum t of t rows each.

    As often as there are epochs where one id has several labels, as row numbers in place of ids do.

    Args:
        batches: of the columns ``TIMED``.
    """
    parts = [[batch[name] for name in TIMED] for batch in batches]
    if not parts:
        return 1.0
    epoch, image, label = (np.concatenate(of) for of in zip(*parts, strict=True))
    known = label >= 0
    pairs = np.unique(np.stack([image[known], label[known]]), axis=1)
    if (np.diff(pairs[0]) == 0).any():
        return float(len(np.unique(epoch)))
    times = np.unique(image, return_counts=True)[1]
    return float((times**2).sum() / times.sum())


def thinned(steps: Int64[np.ndarray, " s"], most: int) -> Int64[np.ndarray, " t"]:
    """Return at most ``most`` of the ascending steps, evenly spread, the first one included."""
    return steps[:: max(1, -(-len(steps) // most))]


def on_marks(batch: Mapping, marks: Int64[np.ndarray, " t"], column: str = "step") -> dict:
    """Replace every step, or epoch, by the last mark that is not after it."""
    if column not in batch:
        return dict(batch)
    place = np.searchsorted(marks, batch[column], side="right") - 1
    return {**batch, column: marks[place]}
