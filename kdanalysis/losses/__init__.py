"""Distillation losses: named weighted terms per sample, with closed-form gradients beside them."""

from kdanalysis.losses.around import Confident, LogitStandardized, Sum
from kdanalysis.losses.base import Loss, linear_ramp
from kdanalysis.losses.blocks import Blockwise
from kdanalysis.losses.decoupled import DKD, GDKD, GDKD3, Decoupled
from kdanalysis.losses.nkd import NKD
from kdanalysis.losses.plain import KD, CrossEntropy
from kdanalysis.losses.regions import SDD
from kdanalysis.losses.text import parse_loss, parse_losses, restore_loss

__all__ = [
    "DKD",
    "GDKD",
    "GDKD3",
    "KD",
    "NKD",
    "SDD",
    "Blockwise",
    "Confident",
    "CrossEntropy",
    "Decoupled",
    "LogitStandardized",
    "Loss",
    "Sum",
    "linear_ramp",
    "parse_loss",
    "parse_losses",
    "restore_loss",
]
