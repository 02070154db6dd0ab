"""A run folder seen as a table of logits."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from kdanalysis.store.formats.table import ArrayInfo, Table
from kdanalysis.store.run import StoredRun
from kdanalysis.store.schema import LOGITS, NUMPY, SAMPLE_SCALARS


class RunFolder(Table):
    """The samples of a run, duplicates left out, ordered by step."""

    def __init__(self, path: Path) -> None:
        self.path, self.run = path, StoredRun(path)
        self.keys = self.run.columns
        self.classes = self.run.info.classes
        if not self.keys:
            raise ValueError(f"{path} holds no readable samples: see `kdanalysis verify {path}`")

    def info(self, key: str) -> ArrayInfo:
        """Shape without duplicates, and the dtype that batches have."""
        if key in LOGITS:
            shape = (self.run.num_rows, self.run.info.num_classes)
            return ArrayInfo(shape, self.run.dtype(key).name)
        dtype = NUMPY[SAMPLE_SCALARS[key]] if key in SAMPLE_SCALARS else "int32"
        return ArrayInfo((self.run.num_rows,), dtype)

    def batches(
        self, keys: Sequence[str], batch_size: int, rows: range
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield rows."""
        yield from self.run.batches(keys, batch_size, rows)
