"""Training of teachers and students on image data, as the ``train`` command does it."""

from kdanalysis.training.experiment import Experiment, Outcome, run_experiment
from kdanalysis.training.settings import Settings

__all__ = ["Experiment", "Outcome", "Settings", "run_experiment"]
