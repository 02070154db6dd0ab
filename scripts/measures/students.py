"""Accuracies of students that differ in their loss alone, and their spread over seeds."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from scipy.stats import ttest_1samp
from torch.nn.functional import cross_entropy

from kdanalysis.data import DataSplits
from kdanalysis.networks.zoo import build_model
from kdanalysis.training import Experiment, Fit, Settings, Stones, run_experiment

CPU = torch.device("cpu")


def train_teacher(data: DataSplits, network: str, settings: Settings, path: Path) -> Fit:
    """Train a teacher with cross-entropy; its checkpoint is at ``path``."""
    torch.manual_seed(0)
    facts = {"model": network, "classes": list(data.classes)}
    fit = Fit(build_model(network, len(data.classes)), data, settings, CPU, path, facts)
    fit.run(lambda x, y, ids, epoch: cross_entropy(fit.model(x), y), "teacher")
    return fit


def train_students(
    data: DataSplits,
    teacher: Path,
    settings: Settings,
    losses: Sequence[str],
    network: str = "resnet8",
    stones: Stones | None = None,
) -> dict[str, float]:
    """Return the accuracy of a student a loss, all from one start, images in one order."""
    with tempfile.TemporaryDirectory() as folder:
        experiment = Experiment(data, str(teacher), network, losses, settings, stones=stones)
        students = run_experiment(experiment, Path(folder), CPU).students
    return dict(zip(losses, students.accuracy.iloc[1:], strict=True))


def spread(values: pd.Series) -> str:
    """Mean and 95 % t interval, in percent."""
    low, high = ttest_1samp(values, 0).confidence_interval(0.95)
    return f"{100 * values.mean():6.2f} %  [{100 * low:.2f}, {100 * high:.2f}]"


def print_spreads(found: pd.DataFrame, first: str) -> None:
    """Print every loss's accuracy, and how far ``first`` is above each other one in its seeds."""
    for loss in found:
        print(f"{loss:60} {spread(found[loss])}")
    for other in found.columns.drop(first):
        print(f"{first + ' - ' + other:60} {spread(found[first] - found[other])}")
