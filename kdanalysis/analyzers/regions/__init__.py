"""The regions of an image."""
