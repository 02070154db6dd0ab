"""Tensors in, tensors out: partitions, the exact split, regions, gradients, sums that merge."""
