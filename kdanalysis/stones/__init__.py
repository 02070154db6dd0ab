"""Stepping stones: models made of a student's first blocks and the rest of its teacher."""

from kdanalysis.stones.ladder import Ladder, LadderLogits
from kdanalysis.stones.ridge import FittedConnectors, fit_connectors

__all__ = ["FittedConnectors", "Ladder", "LadderLogits", "fit_connectors"]
