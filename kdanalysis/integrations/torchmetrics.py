"""An analyzer as a torchmetrics Metric, for those who log through it (Lightning's ``self.log``)."""

from typing import Any
from zlib import crc32

import torch
from torch import Tensor
from torchmetrics import Metric


class AnalyzerMetric(Metric):
    """Holds an analyzer's float64 sums as states that torchmetrics adds up across ranks.

        metric = AnalyzerMetric(kd.analyzers["agreement"]())
        metric.update(student_logits, teacher_logits, target)
        table = metric.table()

    In a ``MetricCollection`` differently configured analyzers stay apart, because the
    configuration is the name of an empty state.

    Args:
        analyzer: any ``kd.Analyzer``; it is used up: read the metric, not the analyzer.
    """

    full_state_update = False

    def __init__(self, analyzer: Any) -> None:
        super().__init__(compute_with_cache=False)
        self.analyzer = analyzer
        kind = f"{type(analyzer).__name__} {analyzer.configuration}".encode()
        for name, state in analyzer.states.items():
            self.add_state(name, state.clone(), dist_reduce_fx="sum")
        self.add_state(f"configuration_{crc32(kind):08x}", torch.zeros(0), dist_reduce_fx="sum")

    def update(self, *columns: Tensor, **more: Tensor) -> None:
        """Add one batch, as the analyzer's own ``update`` takes it."""
        self._lend()
        self.analyzer.update(*columns, **more)
        for name, state in self.analyzer.states.items():
            setattr(self, name, state)

    def compute(self) -> dict[str, Tensor]:
        """Return what the analyzer's ``compute`` does, over all ranks."""
        self._lend()
        return self.analyzer.compute()

    def table(self) -> Any:
        """Return the analyzer's table, over all ranks."""
        with self.sync_context(
            dist_sync_fn=self.dist_sync_fn, distributed_available=self.distributed_available_fn
        ):
            self._lend()
            return self.analyzer.table()

    def _lend(self) -> None:
        for name in self.analyzer.states:
            setattr(self.analyzer, name, getattr(self, name))
