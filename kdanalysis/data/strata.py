"""Deterministic choices that keep the proportions of the classes: splits and subsets."""

import numpy as np
from jaxtyping import Int

VALID_SHARE = 0.2


def stratified_order(labels: Int[np.ndarray, " n"], seed: int) -> Int[np.ndarray, " n"]:
    """Order the samples at random so that every prefix holds each class in proportion.

    The r-th of the m samples of a class, in random order, stands at (r + 1/2) / m on a line shared
    by all classes; ties are broken at random.
    """
    shuffled = np.random.default_rng((seed, len(labels))).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, inverse, counts = np.unique(labels[by_class], return_inverse=True, return_counts=True)
    first = np.cumsum(counts) - counts
    place = (np.arange(len(labels)) - first[inverse] + 0.5) / counts[inverse]
    position = np.empty(len(labels))
    position[by_class] = place
    return shuffled[np.argsort(position[shuffled], kind="stable")]


def split(
    labels: Int[np.ndarray, " n"], seed: int
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " valid"]]:
    """Indices of the training and validation samples, each sorted; a fifth is for validation.

    Raises:
        ValueError: fewer than two samples.
    """
    if len(labels) < 2:
        raise ValueError(
            f"{len(labels)} image cannot be split: training and validation each need at least one"
        )
    order = stratified_order(labels, seed)
    valid = max(1, round(VALID_SHARE * len(labels)))
    return np.sort(order[valid:]), np.sort(order[:valid])


def subset(labels: Int[np.ndarray, " n"], limit: int | None, seed: int) -> Int[np.ndarray, " m"]:
    """Sorted indices of at most ``limit`` samples in the proportions of the classes; None: all."""
    if limit is None or limit >= len(labels):
        return np.arange(len(labels))
    return np.sort(stratified_order(labels, seed)[:limit])


def choose(
    train: Int[np.ndarray, " n"],
    valid: Int[np.ndarray, " m"] | None,
    seed: int,
    limit: int | None,
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " valid"]]:
    """Indices of the samples to use, from the labels of both sets.

    Without validation labels the training samples are split, and both results index those.
    ``limit`` is the most training samples; validation keeps at most a quarter of it.

    Raises:
        ValueError: the limit is below 1, or there is too little to split.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"the limit of training images must be at least 1, got {limit}")
    quarter = None if limit is None else max(1, limit // 4)
    if valid is not None:
        return subset(train, limit, seed), subset(valid, quarter, seed)
    for_training, for_validation = split(train, seed)
    return (
        for_training[subset(train[for_training], limit, seed)],
        for_validation[subset(train[for_validation], quarter, seed)],
    )
