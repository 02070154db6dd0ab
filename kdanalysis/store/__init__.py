"""Runs on the disk, and logits from files; nothing here imports torch before it is needed."""
