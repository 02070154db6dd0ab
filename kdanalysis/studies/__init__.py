"""Sources of logits, the one loop over them, and what users call."""
