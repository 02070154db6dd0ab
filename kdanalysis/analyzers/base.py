"""Analyzer: a torchmetrics Metric whose states are sums and whose result is a tidy table."""

from zlib import crc32

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics import Metric

from kdanalysis.core.streams import check_batch, finite_rows

COUNTS = ("n", "no_gradient", "no_relation", "non_finite")


class Analyzer(Metric):
    """Streams over batches, merges across ranks and runs, ends in one pandas table.

    ``compute`` sees the states of all ranks; ``table`` is made from what it returns and from
    nothing else, so that every rank gets the same table.

    Rows whose logits hold NaN or inf enter no number: they are counted in ``non_finite``, which
    every table repeats, and left out. They are never set to zero.

    Args:
        configuration: whatever tells this analyzer from another of its class. It becomes the name
            of an empty state, so that ``MetricCollection`` and ``merge_state`` keep differently
            configured analyzers apart even when their numbers agree.
    """

    full_state_update = False
    also_needed: frozenset[str] = frozenset()  # columns optional in ``update``, but needed here

    def __init__(self, *configuration: object) -> None:
        super().__init__(compute_with_cache=False)
        self.add_sum(f"configuration_{crc32(repr(configuration).encode()):08x}")
        self.add_sum("non_finite")

    def add_sum(self, name: str, *shape: int) -> None:
        """Add a float64 state starting at zero; with sums as the only states, merging is exact."""
        self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def accumulate(self, **sums: Tensor) -> None:
        """Add one batch's sums to the states of the same names."""
        for name, value in sums.items():
            state = getattr(self, name)
            state += value.to(state)

    def keep(
        self,
        teacher: Float[Tensor, "n c"],
        student: Float[Tensor, "n c"] | None = None,
        target: Int[Tensor, " n"] | None = None,
        num_classes: int | None = None,
    ) -> Bool[Tensor, " n"]:
        """Check a batch, count its rows with NaN or inf, and return which rows to analyse.

        Raises:
            ValueError: no samples, fewer than two classes, or shapes that do not agree.
        """
        check_batch(teacher, student, target, num_classes)
        kept = finite_rows(teacher, student)
        self.accumulate(non_finite=(~kept).sum())
        return kept

    def hold_all(self) -> None:
        """Say that the sums are those of all ranks already, so that none is gathered again."""
        self._update_count = max(self._update_count, 1)  # this rank may have had no rows
        self.distributed_available_fn = nothing_to_gather

    def merge_state(self, incoming_state: "dict | Metric") -> None:
        """Add another analyzer's sums to this one's.

        Raises:
            ValueError: the other is of another class, or was configured otherwise.
        """
        if isinstance(incoming_state, Metric):
            if incoming_state._defaults.keys() != self._defaults.keys():
                raise ValueError(
                    f"cannot merge {type(incoming_state).__name__} into {type(self).__name__}: "
                    f"class and arguments must be the same on both sides"
                )
            self._update_count += incoming_state._update_count
        super().merge_state(incoming_state)

    def table(self) -> pd.DataFrame:
        """One observation a row, one variable a column; units in the column's docstring."""
        raise NotImplementedError


def nothing_to_gather() -> bool:
    """Answer torchmetrics' question whether there are other ranks to gather from."""
    return False


def flat_columns(values: dict[str, Tensor]) -> dict[str, list]:
    """Tensors as columns of a table, flattened; counts as integers."""
    return {
        name: (value.long() if name in COUNTS else value).reshape(-1).tolist()
        for name, value in values.items()
    }
