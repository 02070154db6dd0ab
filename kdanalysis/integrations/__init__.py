"""Adapters of the recorder to other people's training loops: Lightning and Hugging Face's Trainer.

Each is a module of its own, imported by name, because it needs a package that kdanalysis does not.
"""
