"""Distillation losses: named weighted terms per sample, with closed-form gradients beside them."""

from kdanalysis.losses.around import LogitStandardized, Sum
from kdanalysis.losses.base import Loss, linear_ramp
from kdanalysis.losses.blocks import Blockwise
from kdanalysis.losses.confident import Confident
from kdanalysis.losses.decoupled import DKD, GDKD, GDKD3
from kdanalysis.losses.nkd import NKD
from kdanalysis.losses.parts import Decoupled, KDParts
from kdanalysis.losses.plain import KD, CrossEntropy
from kdanalysis.losses.regions import SDD
from kdanalysis.losses.registry import non_top_terms, term_colour_of
from kdanalysis.losses.sampled import RandomSampling, Sampled
from kdanalysis.losses.sides import Labels
from kdanalysis.losses.sigmoid import BinaryCrossEntropy, Sigmoid
from kdanalysis.losses.spelled import spelled
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
    "BinaryCrossEntropy",
    "Blockwise",
    "Confident",
    "CrossEntropy",
    "Decoupled",
    "KDParts",
    "Labels",
    "LogitStandardized",
    "Loss",
    "RandomSampling",
    "Sampled",
    "Sigmoid",
    "SkewKL",
    "Sum",
    "Truncated",
    "linear_ramp",
    "non_top_terms",
    "parse_loss",
    "parse_losses",
    "restore_loss",
    "spelled",
    "term_colour_of",
]
