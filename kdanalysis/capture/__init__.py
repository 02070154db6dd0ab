"""Capture of logits and sent gradients from a training loop, without changing it."""

from kdanalysis.capture.read import read_regions
from kdanalysis.capture.recorder import Recorder
from kdanalysis.capture.region_rows import region_bytes
from kdanalysis.capture.regions import RegionTap
from kdanalysis.capture.schedule import at, every, logarithmic

__all__ = ["Recorder", "RegionTap", "at", "every", "logarithmic", "read_regions", "region_bytes"]
