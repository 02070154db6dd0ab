"""Runs on the disk, and logits from files; nothing here imports torch before it is needed."""

from kdanalysis.store.regions import Regions, load_regions
from kdanalysis.store.sources import Logits, load_logits

__all__ = ["Logits", "Regions", "load_logits", "load_regions"]
