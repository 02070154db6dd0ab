"""load_regions: region logits, and the labels beside them, from a file of the user's own."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kdanalysis.store.formats.table import Table
from kdanalysis.store.schema import REGIONS
from kdanalysis.store.sources import open_table

_FLOATS = ("float16", "float32", "float64", "bfloat16")
_IDS = ("target", "sample_id")


class Regions:
    """Columns of region logits, read in batches; made by ``load_regions``.

    ``columns`` names what there is: teacher_regions and target always, student_regions and
    sample_id where the file has them.
    """

    def __init__(self, table: Table) -> None:
        self.path, self._table = table.path, table
        self.columns = tuple(name for name in (*REGIONS, *_IDS) if name in table.keys)
        for name in ("teacher_regions", "target"):
            if name not in self.columns:
                raise ValueError(
                    f"{self.path} has no {name}: regions are teacher_regions (n, c, r), target "
                    f"and, where there is one, student_regions"
                )
        self.num_rows, self.num_classes, self.num_regions = self._shape("teacher_regions")
        for name in self.columns[1:]:
            self._check(name)

    def batches(self, batch_size: int = 256) -> Iterator[dict[str, np.ndarray]]:
        """Yield dicts of arrays with ``batch_size`` rows, the last one shorter.

        Region logits come in their stored dtype, the others as int64. Memory is bounded by the
        batch.

        Raises:
            ValueError: for a label outside the classes, or a damaged file.
        """
        row = 0
        for batch in self._table.batches(self.columns, batch_size, range(self.num_rows)):
            batch |= {name: batch[name].astype(np.int64) for name in _IDS if name in batch}
            self._check_labels(batch["target"], row)
            yield batch
            row += len(batch["target"])

    def _shape(self, name: str) -> tuple[int, int, int]:
        shape, dtype = self._table.info(name)
        if dtype not in _FLOATS or len(shape) != 3 or min(shape) < 1 or shape[1] < 2:
            raise ValueError(
                f"{name} of {self.path} are {dtype} of shape {shape}, need floats of shape "
                f"(samples, classes, regions) with samples and at least 2 classes"
            )
        return shape

    def _check(self, name: str) -> None:
        need = (self.num_rows, self.num_classes, self.num_regions)
        if name in REGIONS:
            found = self._shape(name)
        else:
            (found, dtype), need = self._table.info(name), need[:1]
            if not dtype.startswith(("int", "uint")):
                raise ValueError(f"{name} of {self.path} is {dtype}, need integers")
        if tuple(found) != need:
            raise ValueError(
                f"{name} of {self.path} has shape {tuple(found)}, need {need} to fit its "
                f"teacher_regions"
            )

    def _check_labels(self, target: np.ndarray, row: int) -> None:
        outside = np.flatnonzero((target < 0) | (target >= self.num_classes))
        if len(outside):
            raise ValueError(
                f"{self.path} has target {target[outside[0]]} in row {row + outside[0]}, need 0 to "
                f"{self.num_classes - 1}, the {self.num_classes} classes of its regions"
            )


def load_regions(path: str | Path) -> Regions:
    """Open region logits in .npz, .pt, .safetensors or .parquet: what ``read_regions`` yields.

    Args:
        path: a file with teacher_regions (n, c, r), target (n,) and, where there is a student,
            student_regions.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: for unknown kinds, missing columns, shapes that do not fit, damaged or forged
            files, and files that would run code.
    """
    return Regions(open_table(Path(path).expanduser()))
