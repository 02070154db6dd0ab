"""Shows what a knowledge-distillation loss really teaches: capture, analysis and figures.

Names are loaded on first use, so that ``import kdanalysis`` costs next to nothing.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "AutoK": "kdanalysis.core.partition",
    "Groups": "kdanalysis.core.partition",
    "Target": "kdanalysis.core.partition",
    "Top1": "kdanalysis.core.partition",
    "Top1TopK": "kdanalysis.core.partition",
    "TopK": "kdanalysis.core.partition",
    "Blockwise": "kdanalysis.losses",
    "Confident": "kdanalysis.losses",
    "CrossEntropy": "kdanalysis.losses",
    "DKD": "kdanalysis.losses",
    "Decoupled": "kdanalysis.losses",
    "GDKD": "kdanalysis.losses",
    "GDKD3": "kdanalysis.losses",
    "KD": "kdanalysis.losses",
    "LogitStandardized": "kdanalysis.losses",
    "NKD": "kdanalysis.losses",
    "SDD": "kdanalysis.losses",
    "Sum": "kdanalysis.losses",
    "linear_ramp": "kdanalysis.losses",
    "parse_loss": "kdanalysis.losses",
    "fit_connectors": "kdanalysis.stones",
    "Ladder": "kdanalysis.stones",
    "Layers": "kdanalysis.capture",
    "Recorder": "kdanalysis.capture",
    "RegionTap": "kdanalysis.capture",
    "Regions": "kdanalysis.capture",
    "Scaling": "kdanalysis.capture",
    "Side": "kdanalysis.capture",
    "Store": "kdanalysis.capture",
    "at": "kdanalysis.capture",
    "every": "kdanalysis.capture",
    "logarithmic": "kdanalysis.capture",
    "read_regions": "kdanalysis.capture",
    "region_bytes": "kdanalysis.capture",
    "load_logits": "kdanalysis.store",
    "load_regions": "kdanalysis.store",
    "region_cases": "kdanalysis.core.cases",
    "region_logits": "kdanalysis.core.regions",
    "feature_gradients": "kdanalysis.core.regions",
    "open_run": "kdanalysis.studies.run",
    "sweep": "kdanalysis.studies.sweeps",
    "sweep_samples": "kdanalysis.studies.sweeps",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> object:
    """Load a public name from the module it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module 'kdanalysis' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
