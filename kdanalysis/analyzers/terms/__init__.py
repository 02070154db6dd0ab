"""The gradients of loss terms."""
