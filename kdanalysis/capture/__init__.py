"""Capture of logits and sent gradients from a training loop, without changing it."""

from kdanalysis.capture.layers import Layers
from kdanalysis.capture.options import Scaling, Store
from kdanalysis.capture.projected import Projected
from kdanalysis.capture.recorder import Recorder
from kdanalysis.capture.regions import Regions, read_regions, region_bytes
from kdanalysis.capture.schedule import at, every, logarithmic
from kdanalysis.capture.side import RegionTap, Side

__all__ = [
    "Layers",
    "Projected",
    "Recorder",
    "RegionTap",
    "Regions",
    "Scaling",
    "Side",
    "Store",
    "at",
    "every",
    "logarithmic",
    "read_regions",
    "region_bytes",
]
