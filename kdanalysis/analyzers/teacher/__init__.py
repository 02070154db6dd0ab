"""A teacher's predictive distribution."""
