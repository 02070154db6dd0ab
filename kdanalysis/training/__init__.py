"""Training of teachers and students on image data, as the ``train`` command does it."""

from kdanalysis.training.experiment import Experiment, announce_regions
from kdanalysis.training.fit import Fit
from kdanalysis.training.run import Outcome, run_experiment, train_teacher
from kdanalysis.training.settings import Settings
from kdanalysis.training.stones import Stones

__all__ = [
    "Experiment",
    "Fit",
    "Outcome",
    "Settings",
    "Stones",
    "announce_regions",
    "run_experiment",
    "train_teacher",
]
