"""Runs on the disk, and logits from files; nothing here imports torch before it is needed."""

from kdanalysis.store.sources import Logits, load_logits

__all__ = ["Logits", "load_logits"]
