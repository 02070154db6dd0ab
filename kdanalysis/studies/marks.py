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
    """Return how often an image is there, of a row's on average.

    As often as there are epochs where an id is no image's (:func:`appearances`).

    Args:
        batches: of the columns ``TIMED``.
    """
    epoch, image, label = columns_of(batches, TIMED)
    times = appearances(image, label)
    return float(len(np.unique(epoch))) if times is None else of_a_row(times)


def columns_of(batches: Iterable[Mapping], names: Sequence[str]) -> Int64[np.ndarray, "k n"]:
    """Return columns of whole numbers, all batches after each other."""
    parts = [np.stack([batch[name].astype(np.int64) for name in names]) for batch in batches]
    return np.concatenate([np.zeros((len(names), 0), np.int64), *parts], axis=1)


def appearances(
    image: Int64[np.ndarray, " n"], label: Int64[np.ndarray, " n"]
) -> Int64[np.ndarray, " i"] | None:
    """Return how many rows every image has; None where an id has several labels.

    So have row numbers in place of ids; labels below 0 say nothing.
    """
    order = np.lexsort((label, image))
    image, label = image[order], label[order]
    other = image[1:] != image[:-1]
    if ((label[1:] != label[:-1]) & ~other & (label[:-1] >= 0)).any():
        return None
    return np.diff(np.flatnonzero(np.r_[True, other, True])) if len(image) else image


def of_a_row(times: Int64[np.ndarray, " i"]) -> float:
    """Return how many rows a row's image has on average, sum t^2 / sum t; 1 where there is none."""
    return float((times**2).sum() / times.sum()) if len(times) else 1.0


def thinned(steps: Int64[np.ndarray, " s"], most: int) -> Int64[np.ndarray, " t"]:
    """Return at most ``most`` of the ascending steps, evenly spread, the first one included."""
    return steps[:: max(1, -(-len(steps) // most))]


def on_marks(batch: Mapping, marks: Int64[np.ndarray, " t"], column: str = "step") -> dict:
    """Replace every step, or epoch, by the last mark that is not after it."""
    if column not in batch:
        return dict(batch)
    place = np.searchsorted(marks, batch[column], side="right") - 1
    return {**batch, column: marks[place]}
