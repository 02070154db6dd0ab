"""Training of teachers and students on image data, as the ``train`` command does it."""

from kdanalysis.training.cached import CachedTeacher
from kdanalysis.training.checkpoint import SUFFIXES, load_network
from kdanalysis.training.experiment import (
    Experiment,
    announce_regions,
    check_names,
    refuse_full_disk,
)
from kdanalysis.training.fit import Fit
from kdanalysis.training.predict import predict
from kdanalysis.training.run import Outcome, run_experiment, train_teacher
from kdanalysis.training.settings import Settings
from kdanalysis.training.stones import Stones

__all__ = [
    "SUFFIXES",
    "CachedTeacher",
    "Experiment",
    "Fit",
    "Outcome",
    "Settings",
    "Stones",
    "announce_regions",
    "check_names",
    "load_network",
    "predict",
    "refuse_full_disk",
    "run_experiment",
    "train_teacher",
]
