"""Shared settings of the tests."""

import matplotlib
from hypothesis import settings

matplotlib.use("Agg")
collect_ignore = ["typing"]  # read by a type checker, never run
settings.register_profile("default", deadline=None, derandomize=True)
settings.load_profile("default")
