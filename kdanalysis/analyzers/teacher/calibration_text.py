"""What the calibration of one network or of several says, in words and numbers."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from kdanalysis.analyzers.teacher.calibration_figure import (
    by_network,
    join_networks,
    least,
    one_network,
)

APART = 2**0.5  # temperatures within this factor count as the same: two steps of the ladder


def calibration_number(table: pd.DataFrame) -> str:
    """The T of least NLL and of least ECE, and both scores there, at T = 1 and at distillation."""
    scores = one_network(table)
    distilled = _distilled(table)
    parts = []
    for score, label in (("nll", "NLL"), ("ece", "ECE")):
        there = [t for t in (1.0, distilled) if t in scores.index]
        listed = "".join(f", {scores[score][t]:.3f} at T = {t:g}" for t in dict.fromkeys(there))
        found = least(scores, score)
        parts.append(f"{label} least at T = {found}: {found.value:.3f}{listed}")
    return "; ".join(parts)


def calibration_sentence(table: pd.DataFrame) -> str:
    """What to read: whether the T that distils is another than the T that calibrates.

    It is where both NLL and ECE are least at a T that is more than a factor of 1.41 from the one
    that distils.
    """
    scores, distilled = one_network(table), _distilled(table)
    found = {score: least(scores, score) for score in ("nll", "ece")}
    claim = (
        f"NLL is least at T = {found['nll']}, ECE at T = {found['ece']}; ECE is "
        f"{scores.ece.min():.3f} there and {scores.ece[distilled]:.3f} at T = {distilled:g}, where "
        f"the mean confidence is {scores.confidence[distilled]:.2f} and the accuracy "
        f"{scores.accuracy[distilled]:.2f}"
    )
    apart = [abs(np.log(one.temperature / distilled)) > np.log(APART) for one in found.values()]
    if all(apart):
        return f"The T that distils ({distilled:g}) is not the T that calibrates: {claim}."
    return (
        f"These data do not show that the T that distils ({distilled:g}) differs from the T that "
        f"calibrates: {claim}."
    )


def networks_number(tables: Mapping[str, pd.DataFrame]) -> str:
    """ECE at T = 1 and the T of least NLL, by network."""
    networks = by_network(join_networks(tables))
    return "; ".join(
        f"{name}: ECE {scores.ece[_plain(scores)]:.3f} at T = {_plain(scores):g}, NLL least at "
        f"T = {least(scores, 'nll')}"
        for name, scores in networks.items()
    )


def networks_sentence(tables: Mapping[str, pd.DataFrame]) -> str:
    """What to read: which network is calibrated best as it is, and the T each would take."""
    networks = by_network(join_networks(tables))
    errors = {name: float(scores.ece[_plain(scores)]) for name, scores in networks.items()}
    ordered = sorted(errors, key=errors.get)
    listed = ", ".join(f"{name} {errors[name]:.3f}" for name in ordered)
    found = ", ".join(f"{least(scores, 'nll')} for {n}" for n, scores in networks.items())
    silent = ", ".join(name for name in tables if name not in networks)
    missing = f" Without a finite sample: {silent}." if silent else ""
    plain = _plain(next(iter(networks.values())))
    return (
        f"Read at T = {plain:g} {ordered[0]} is calibrated best and {ordered[-1]} worst (ECE: "
        f"{listed}); NLL is least at T = {found}.{missing}"
    )


def _plain(scores: pd.DataFrame) -> float:
    """T = 1, at which a network is read; the nearest one of a ladder without it."""
    ladder = scores.index.to_numpy(float)
    return float(ladder[np.abs(np.log(ladder)).argmin()])


def _distilled(table: pd.DataFrame) -> float:
    return float(table.distilled.iloc[0])
