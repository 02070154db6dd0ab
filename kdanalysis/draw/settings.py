"""Settings of matplotlib that all figures share, as far as their user has not set them."""

from typing import Any

FINE = 0.9  # of the font's size: ticks, legends and numbers in cells


RC = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
    "figure.max_open_warning": 0,
}


def settings() -> dict[str, Any]:
    """Return the shared settings, but for those that the caller has set otherwise.

    A setting that is not matplotlib's default is the caller's. Sizes follow the caller's font.
    """
    import matplotlib as mpl

    size = mpl.rcParams["font.size"]
    fine_names = ("xtick.labelsize", "ytick.labelsize", "legend.fontsize")
    sizes = dict.fromkeys(("axes.labelsize", "axes.titlesize"), size)
    sizes |= dict.fromkeys(fine_names, FINE * size)
    usual = mpl.rcParamsDefault
    return {k: value for k, value in (RC | sizes).items() if mpl.rcParams[k] == usual[k]}


def fine() -> float:
    """Size of small texts, in points."""
    import matplotlib as mpl

    return FINE * mpl.rcParams["font.size"]
