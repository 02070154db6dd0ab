"""All tables of truncation from one look at every row."""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.truncation.bias import TruncationBias
from kdanalysis.analyzers.truncation.direction import TruncatedDirection
from kdanalysis.analyzers.truncation.lost import LostGradient
from kdanalysis.analyzers.truncation.part import KS, Looked, Truncation
from kdanalysis.analyzers.truncation.payers import Payers
from kdanalysis.analyzers.truncation.tail import TailMass
from kdanalysis.analyzers.truncation.temperature import TruncatedTemperature

PARTS = (
    *(LostGradient, TruncatedDirection, TailMass, Payers),
    *(TruncationBias, TruncatedTemperature),
)

KEPT = tuple(kind for kind in PARTS if kind is not TruncationBias)  # of rows without all logits
SPARSE = PARTS[:3]  # the tables of a teacher whose tail has no known shape


class EveryTruncation(Truncation):
    """The analyzers of truncation side by side: a row's distributions are laid out once for all.

    ``tables`` has theirs by noun, in the order in which people look; ``table`` is the first.

    Args:
        num_classes: c, at least 2.
        ks: how many classes are known.
        temperatures: every T > 0.
        kinds: which of them.
    """

    def __init__(
        self,
        num_classes: int,
        ks: Sequence[int] = KS,
        temperatures: Sequence[float | int] = (1,),
        kinds: Sequence[type[Truncation]] = PARTS,
    ) -> None:
        super().__init__(num_classes, ks, temperatures)
        self.parts: Mapping[str, Truncation] = {
            kind.noun: kind(num_classes, ks, temperatures) for kind in kinds
        }
        self.whole = any(kind.whole for kind in kinds)

    @property
    def states(self) -> dict[str, Tensor]:
        """The sums of all parts, by their noun and name."""
        own = {"non_finite": self.non_finite}
        return own | {
            f"{noun}.{name}": state
            for noun, part in self.parts.items()
            for name, state in part.states.items()
        }

    def accumulate(self, **sums: Tensor) -> None:
        """Add sums to the states of the same names."""
        for name, value in sums.items():
            state = self.states[name]
            state += value.to(state)

    def to(self, device: torch.device | str) -> "EveryTruncation":
        """Move the sums to a device, and return this."""
        self.non_finite = self.non_finite.to(device)
        for part in self.parts.values():
            part.to(device)
        return self

    def add_rows(self, looked: Looked) -> None:
        """Add rows at one temperature to every part."""
        for part in self.parts.values():
            part.add_rows(looked)

    def tables(self) -> dict[str, pd.DataFrame]:
        """The table of every part, by noun."""
        return {
            noun: part.table().assign(non_finite=int(self.non_finite))
            for noun, part in self.parts.items()
        }

    def table(self) -> pd.DataFrame:
        """The first of the tables."""
        return next(iter(self.tables().values()))
