"""The stepping stones between two networks."""
