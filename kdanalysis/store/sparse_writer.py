"""A truncated teacher as Parquet, row group by row group; ``read_sparse`` reads it back."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kdanalysis.store.files import whole_file
from kdanalysis.store.formats.sparse_arrays import SCHEMA_KEY

Columns = Mapping[str, np.ndarray]


class SparseWriter:
    """Writes batches of columns: (n, K) as lists of K numbers, (n,) as numbers.

    Args:
        file: to write to.
        stated: what the file says of itself: vocabulary, T, and how many tokens a row.
    """

    def __init__(self, file: object, stated: Mapping[str, object]) -> None:
        self._file, self._stated = file, {SCHEMA_KEY: json.dumps(dict(stated)).encode()}
        self._writer: pq.ParquetWriter | None = None

    def write(self, columns: Columns) -> None:
        """Add rows; the first batch says what columns there are."""
        arrays = {name: _array(np.ascontiguousarray(values)) for name, values in columns.items()}
        table = pa.table(arrays).replace_schema_metadata(self._stated)
        if self._writer is None:
            options = {"use_dictionary": False, "write_page_checksum": True}
            self._writer = pq.ParquetWriter(self._file, table.schema, **options)
        self._writer.write_table(table)

    def close(self) -> None:
        """Write the end of the file."""
        if self._writer is not None:
            self._writer.close()


@contextmanager
def writing_sparse(path: Path, stated: Mapping[str, object]) -> Iterator[SparseWriter]:
    """Give a writer of a file that appears as ``path`` whole or not at all."""
    with whole_file(path) as file:
        writer = SparseWriter(file, stated)
        try:
            yield writer
        finally:  # after an error too: pyarrow would write the end later, into a closed file
            writer.close()


def _array(values: np.ndarray) -> pa.Array:
    flat = pa.Array.from_buffers(
        pa.from_numpy_dtype(values.dtype), values.size, [None, pa.py_buffer(values.reshape(-1))]
    )
    if values.ndim == 1:
        return flat
    ends = np.arange(len(values) + 1, dtype=np.int32) * np.int32(values.shape[1])
    return pa.ListArray.from_arrays(pa.array(ends), flat)
