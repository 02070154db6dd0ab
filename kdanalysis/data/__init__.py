"""Image data: built-in tasks and sets on disk, with deterministic batches."""

from kdanalysis.data.images import Images
from kdanalysis.data.load import load_data
from kdanalysis.data.splits import DataSplits, make_splits
from kdanalysis.data.strata import subset

__all__ = ["DataSplits", "Images", "load_data", "make_splits", "subset"]
