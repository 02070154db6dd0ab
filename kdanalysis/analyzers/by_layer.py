"""Analyzers of what a run recorded at layers: sums by captured step and layer."""

from collections.abc import Sequence

import pandas as pd
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer
from kdanalysis.analyzers.by_step import ByStep
from kdanalysis.analyzers.setting import Setting
from kdanalysis.core.streams import finite_rows
from kdanalysis.core.wording import numeral
from kdanalysis.draw.panels import drawn_layers

ONLY_TERM = "{} is the loss's only term: there is nothing to compare it with."


class LayerAnalyzer(ByStep):
    """Sums over records, by captured step and layer; a record is one step of one rank at a layer.

    A record that holds NaN or inf enters no number and is counted in ``non_finite`` of its row.

    Args:
        layers: their names.
        terms: names of the loss's terms.
        steps: every captured step.
    """

    kind = "layers"
    made_for = ("layers", "terms", "steps")
    takes = ("epoch",)

    def __init__(self, layers: Sequence[str], terms: Sequence[str], steps: Sequence[int]) -> None:
        layers, terms = tuple(layers), tuple(terms)
        if not layers or not terms:
            raise ValueError(f"need at least one layer and one term, got {layers} and {terms}")
        super().__init__(steps, layers=layers, terms=terms)
        for name, shape in (self.of_layers() | {"n": (), "bad": ()}).items():
            self.add_sum(name, len(self.steps), len(self.layers), *shape)

    @classmethod
    def for_setting(cls, setting: Setting) -> "Analyzer | None":
        """Return the analyzer for the layers recorded; None where there are none."""
        return super().for_setting(setting) if setting.layers and setting.terms else None

    def of_layers(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the sums of every step and layer, by name."""
        raise NotImplementedError(f"{type(self).__name__} lacks of_layers")

    def analysed(self, given: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
        """Count the records, and return the finite ones, last their rows of (step, layer)."""
        layer, step, epoch = (given.pop(name) for name in ("layer", "step", "epoch"))
        row = self.place(step, epoch, layer) * len(self.layers) + layer
        values = [value.flatten(1) for value in given.values() if value.dim() > 1]
        finite = finite_rows(*values)
        self.add_rows(row, n=finite, bad=~finite)
        return {name: value[finite] for name, value in (given | {"row": row}).items()}

    def facts(self) -> dict[str, Tensor]:
        """n, non_finite by (step, layer) and epoch by step."""
        return {"n": self.n.clone(), "non_finite": self.bad.clone(), "epoch": self.epoch}

    def layer_frame(self, names: Sequence[tuple], columns: Sequence[str]) -> pd.DataFrame:
        """Table of (step, layer, name) rows; a layer without any record at a step has none.

        Args:
            names: of the values' last dimension.
            columns: what the parts of a name are called.
        """
        places = [(layer, *name) for layer in self.layers for name in names]
        frame = self.step_frame(places, ["layer", *columns])
        return frame[frame.n + frame.non_finite > 0].reset_index(drop=True)


def largest_by_layer(means: pd.DataFrame) -> str:
    """Name the largest term at every drawn layer; layers as rows, terms as columns."""
    rows = {layer: means.loc[layer] for layer in drawn_layers(means.reset_index())}
    return "; ".join(
        f"{layer}: {row.idxmax()} {numeral(row.max(), 2)}" for layer, row in rows.items()
    )
