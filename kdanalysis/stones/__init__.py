"""Stepping stones: models made of a student's first blocks and the rest of its teacher."""

from kdanalysis.stones.ladder import Ladder, LadderLogits

__all__ = ["Ladder", "LadderLogits"]
