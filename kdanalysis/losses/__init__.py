"""Distillation losses: named weighted terms per sample, with closed-form gradients beside them."""

from kdanalysis.losses.around import Confident, LogitStandardized, Sum
from kdanalysis.losses.base import Loss, linear_ramp
from kdanalysis.losses.blocks import Blockwise
from kdanalysis.losses.decoupled import DKD, GDKD, GDKD3
from kdanalysis.losses.nkd import NKD
from kdanalysis.losses.parts import Decoupled, KDParts
from kdanalysis.losses.plain import KD, CrossEntropy
from kdanalysis.losses.regions import SDD
from kdanalysis.losses.registry import non_top_terms, term_colour_of
from kdanalysis.losses.sampled import RandomSampling, Sampled
from kdanalysis.losses.text import parse_loss, parse_losses, restore_loss
from kdanalysis.losses.truncated import Truncated
from kdanalysis.losses.vocabulary import JSD, TVD, AlphaBeta, SkewKL

__all__ = [
    "DKD",
    "GDKD",
    "GDKD3",
    "JSD",
    "KD",
    "NKD",
    "SDD",
    "TVD",
    "AlphaBeta",
    "Blockwise",
    "Confident",
    "CrossEntropy",
    "Decoupled",
    "KDParts",
    "LogitStandardized",
    "Loss",
    "RandomSampling",
    "Sampled",
    "SkewKL",
    "Sum",
    "Truncated",
    "linear_ramp",
    "non_top_terms",
    "parse_loss",
    "parse_losses",
    "restore_loss",
    "term_colour_of",
]
