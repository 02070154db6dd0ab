"""Warnings that point at the user's own line, however deep in hooks and wrappers they arise."""

import sys
import warnings

BETWEEN = {  # whose frames lie between the user's line and ours
    *("kdanalysis", "torch", "lightning", "transformers", "accelerate"),
    *("contextlib", "weakref", "jaxtyping", "beartype"),
}


def warn(message: str) -> None:
    """Give a RuntimeWarning at the innermost line that neither we nor what called us wrote."""
    frame, level = sys._getframe(1), 2
    while frame is not None and _between(frame.f_globals.get("__name__", "")):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, RuntimeWarning, stacklevel=level)


def _between(module: str) -> bool:
    return module.partition(".")[0] in BETWEEN
