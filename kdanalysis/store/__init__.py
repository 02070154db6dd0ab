"""Runs on the disk, and logits from files; nothing here imports torch before it is needed."""

from kdanalysis.store.sources import Logits, Regions, load_logits, load_regions

__all__ = ["Logits", "Regions", "load_logits", "load_regions"]
