"""Shows what a knowledge-distillation loss really teaches: capture, analysis and figures.

Names are loaded on first use, so that ``import kdanalysis`` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the same names for type checkers and editors
    # isort: off
    from kdanalysis.analyzers import Nouns
    from kdanalysis.analyzers.base import Analyzer as Analyzer
    from kdanalysis.analyzers.noun import Reading as Reading
    from kdanalysis.analyzers.setting import Setting as Setting
    from kdanalysis.capture import (
        Layers as Layers,
        Projected as Projected,
        Recorder as Recorder,
        RegionTap as RegionTap,
        Regions as Regions,
        Scaling as Scaling,
        Side as Side,
        Store as Store,
        at as at,
        every as every,
        logarithmic as logarithmic,
        read_regions as read_regions,
        region_bytes as region_bytes,
    )
    from kdanalysis.core.cases import region_cases as region_cases
    from kdanalysis.core.mixture import mix as mix
    from kdanalysis.core.partition import (
        AutoK as AutoK,
        Groups as Groups,
        Target as Target,
        Top1 as Top1,
        Top1TopK as Top1TopK,
        TopK as TopK,
    )
    from kdanalysis.core.regions import (
        feature_gradients as feature_gradients,
        region_logits as region_logits,
    )
    from kdanalysis.core.sparse import SparseTeacher as SparseTeacher
    from kdanalysis.core.support import Support as Support
    from kdanalysis.draw.look import new_axes as new_axes
    from kdanalysis.integrations.tokens import Tokens as Tokens, tokens as tokens
    from kdanalysis.losses import (
        AlphaBeta as AlphaBeta,
        BinaryCrossEntropy as BinaryCrossEntropy,
        Blockwise as Blockwise,
        Confident as Confident,
        CrossEntropy as CrossEntropy,
        DKD as DKD,
        Decoupled as Decoupled,
        GDKD as GDKD,
        GDKD3 as GDKD3,
        JSD as JSD,
        KD as KD,
        LogitStandardized as LogitStandardized,
        Loss as Loss,
        NKD as NKD,
        SDD as SDD,
        RandomSampling as RandomSampling,
        Sampled as Sampled,
        Sigmoid as Sigmoid,
        SkewKL as SkewKL,
        Sum as Sum,
        TVD as TVD,
        Truncated as Truncated,
        linear_ramp as linear_ramp,
        parse_loss as parse_loss,
    )
    from kdanalysis.networks.teachers import Teachers as Teachers
    from kdanalysis.pages.compare import compare as compare
    from kdanalysis.pages.ladder import ladder as ladder
    from kdanalysis.pages.opened import open as open
    from kdanalysis.pages.regions import regions as regions
    from kdanalysis.pages.sweep import sweep_study as sweep_study
    from kdanalysis.pages.teacher import diagnose as diagnose
    from kdanalysis.pages.truncation import (
        truncation as truncation,
        truncation_study as truncation_study,
    )
    from kdanalysis.stones import Ladder as Ladder, fit_connectors as fit_connectors
    from kdanalysis.store import load_logits as load_logits, load_regions as load_regions
    from kdanalysis.studies.mixture import mixture as mixture
    from kdanalysis.studies.run import open_run as open_run
    from kdanalysis.studies.sparse import read_sparse as read_sparse
    from kdanalysis.studies.sparsify import sparsify as sparsify
    from kdanalysis.studies.sweeps import sweep as sweep, sweep_samples as sweep_samples
    # isort: on

    analyzers: Nouns

__version__ = "0.1.0"

_HOMES = {
    "AutoK": "kdanalysis.core.partition",
    "Groups": "kdanalysis.core.partition",
    "Support": "kdanalysis.core.support",
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
    "Loss": "kdanalysis.losses",
    "NKD": "kdanalysis.losses",
    "SDD": "kdanalysis.losses",
    "Sum": "kdanalysis.losses",
    "AlphaBeta": "kdanalysis.losses",
    "BinaryCrossEntropy": "kdanalysis.losses",
    "JSD": "kdanalysis.losses",
    "RandomSampling": "kdanalysis.losses",
    "Sampled": "kdanalysis.losses",
    "Sigmoid": "kdanalysis.losses",
    "SkewKL": "kdanalysis.losses",
    "TVD": "kdanalysis.losses",
    "Truncated": "kdanalysis.losses",
    "linear_ramp": "kdanalysis.losses",
    "parse_loss": "kdanalysis.losses",
    "fit_connectors": "kdanalysis.stones",
    "Ladder": "kdanalysis.stones",
    "Layers": "kdanalysis.capture",
    "Projected": "kdanalysis.capture",
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
    "SparseTeacher": "kdanalysis.core.sparse",
    "Tokens": "kdanalysis.integrations.tokens",
    "tokens": "kdanalysis.integrations.tokens",
    "mix": "kdanalysis.core.mixture",
    "Teachers": "kdanalysis.networks.teachers",
    "mixture": "kdanalysis.studies.mixture",
    "open_run": "kdanalysis.studies.run",
    "Analyzer": "kdanalysis.analyzers.base",
    "Reading": "kdanalysis.analyzers.noun",
    "Setting": "kdanalysis.analyzers.setting",
    "compare": "kdanalysis.pages.compare",
    "diagnose": "kdanalysis.pages.teacher",
    "ladder": "kdanalysis.pages.ladder",
    "new_axes": "kdanalysis.draw.look",
    "open": "kdanalysis.pages.opened",
    "regions": "kdanalysis.pages.regions",
    "sweep_study": "kdanalysis.pages.sweep",
    "truncation": "kdanalysis.pages.truncation",
    "truncation_study": "kdanalysis.pages.truncation",
    "read_sparse": "kdanalysis.studies.sparse",
    "sparsify": "kdanalysis.studies.sparsify",
    "sweep": "kdanalysis.studies.sweeps",
    "sweep_samples": "kdanalysis.studies.sweeps",
}

__all__ = [*_HOMES, "analyzers", "__version__"]


if not TYPE_CHECKING:  # where a misspelt name must be none

    def __getattr__(name: str) -> object:
        """Load a public name from the module it lives in."""
        if name == "analyzers":  # the room itself is the mapping of nouns by name
            return import_module("kdanalysis.analyzers")
        if name not in _HOMES:
            raise AttributeError(f"module 'kdanalysis' has no attribute {name!r}")
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
