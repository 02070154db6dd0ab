"""Analyzers of what a run recorded at layers: sums by captured step and layer."""

from collections.abc import Sequence

import pandas as pd
from jaxtyping import Bool, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, flat_columns
from kdanalysis.analyzers.by_step import check_steps, epoch_column, epoch_sums, place_steps


class LayerAnalyzer(Analyzer):
    """Sums over records, by captured step and layer; a record is one step of one rank at a layer.

    A record that holds NaN or inf enters no number and is counted in ``non_finite`` of its row.

    Args:
        layers: their names.
        terms: names of the loss's terms.
        steps: every captured step.
    """

    def __init__(self, layers: Sequence[str], terms: Sequence[str], steps: Sequence[int]) -> None:
        layers, terms, ordered = tuple(layers), tuple(terms), check_steps(steps)
        if not layers or not terms:
            raise ValueError(f"need at least one layer and one term, got {layers} and {terms}")
        super().__init__(layers, terms, ordered)
        self.layers, self.terms, self.steps = layers, terms, ordered
        for state in ("n", "bad"):
            self.add_sum(state, len(ordered), len(layers))
        self.add_sum("epochs", 2, len(ordered))

    def rows(
        self,
        finite: Bool[Tensor, " m"],
        layer: Int[Tensor, " m"],
        step: Int[Tensor, " m"],
        epoch: Int[Tensor, " m"] | None,
    ) -> Int[Tensor, " k"]:
        """Count the records, and return the row of (step, layer) of each that is finite."""
        place = place_steps(self.steps, step, layer)
        self.accumulate(epochs=epoch_sums(len(self.steps), place, epoch))
        row = place * len(self.layers) + layer
        for state, which in (("n", finite), ("bad", ~finite)):
            getattr(self, state).view(-1).index_add_(0, row, which.double())
        return row[finite]

    def add_rows(self, state: str, row: Int[Tensor, " k"], values: Tensor) -> None:
        """Add the values (k, ...) of records to their rows of a state."""
        total = getattr(self, state)
        total.view(-1, *total.shape[2:]).index_add_(0, row, values.to(total))

    def facts(self) -> dict[str, Tensor]:
        """n, non_finite by (step, layer) and epoch by step."""
        return {
            "n": self.n.clone(),
            "non_finite": self.bad.clone(),
            "epoch": self.epochs[0] / self.epochs[1],
        }

    def frame(
        self, values: dict[str, Tensor], names: list[tuple], columns: list[str]
    ) -> pd.DataFrame:
        """Table of (step, layer, name) rows; a layer without any record at a step has none.

        Args:
            values: what ``compute`` returns; all but the facts have a last dimension for the names.
            names: of the last dimension.
            columns: what the parts of a name are called.
        """
        facts = {name: values.pop(name) for name in ("n", "non_finite", "epoch")}
        index = [(s, layer, *name) for s in self.steps for layer in self.layers for name in names]
        frame = pd.DataFrame(index, columns=["step", "layer", *columns])
        frame.insert(1, "epoch", epoch_column(facts["epoch"], len(self.layers) * len(names)))
        shape = (len(self.steps), len(self.layers), 1)
        counts = {
            name: facts[name].reshape(shape).expand(*shape[:2], len(names))
            for name in ("n", "non_finite")
        }
        frame = frame.assign(**flat_columns(values | counts))
        return frame[frame.n + frame.non_finite > 0].reset_index(drop=True)
