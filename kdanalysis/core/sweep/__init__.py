"""Every k at once: the split's terms and their gradients for all sizes of the top group."""
