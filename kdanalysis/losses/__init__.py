"""Distillation losses: named weighted terms per sample, with closed-form gradients beside them."""

from kdanalysis.losses.base import Loss, linear_ramp
from kdanalysis.losses.blocks import Blockwise
from kdanalysis.losses.compose import LogitStandardized, Sum
from kdanalysis.losses.confident import Confident
from kdanalysis.losses.decoupled import DKD, GDKD, GDKD3, Decoupled
from kdanalysis.losses.listing import parse_losses
from kdanalysis.losses.nkd import NKD
from kdanalysis.losses.parse import parse_loss
from kdanalysis.losses.plain import KD, CrossEntropy
from kdanalysis.losses.restore import restore_loss
from kdanalysis.losses.scale import SDD

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
