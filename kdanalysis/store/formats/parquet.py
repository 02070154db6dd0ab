"""Parquet files: lists or fixed-size lists of floats from other tools, or our own cells."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kdanalysis.store.footer import read_pages
from kdanalysis.store.formats.table import ArrayInfo, Table
from kdanalysis.store.merge import rebatch
from kdanalysis.store.part import checksum, open_parquet
from kdanalysis.store.reading import cause
from kdanalysis.store.schema import decode, read_cells


class ParquetTable(Table):
    """Columns of one file, page checksums verified where the file has them.

    Raises:
        ValueError: where it is no Parquet file, or a part of a run that has been altered.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            read_pages(path)
            with open_parquet(path) as file:
                self._schema, self.num_rows = file.schema_arrow, file.metadata.num_rows
            self._cells = read_cells(self._schema)
            if self._cells is not None:
                checksum(path)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise ValueError(f"{path} is not a whole Parquet file: {cause(error)}") from error
        self._cells = self._cells or {}
        self.keys = tuple(self._schema.names)
        self._width: dict[str, int] = {}
        self.metadata = self._schema.metadata or {}

    def info(self, key: str) -> ArrayInfo:
        """Shape and dtype; the number of classes comes from the first row."""
        dtype = self._schema.field(key).type
        if key in self._cells:
            cells = self._cells[key]
            return ArrayInfo((self.num_rows, *cells.shape), cells.dtype)
        if not is_list(dtype):
            return ArrayInfo((self.num_rows,), _name(dtype))
        return ArrayInfo((self.num_rows, self._row_length(key)), _name(dtype.value_type))

    def batches(
        self, keys: Sequence[str], batch_size: int, rows: range
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield rows; row groups without any of them are not read.

        Raises:
            ValueError: for nulls and rows of another length, naming the row; for damage.
        """
        yield from rebatch(self._blocks(keys, batch_size, rows), batch_size)

    def _blocks(
        self, keys: Sequence[str], batch_size: int, rows: range
    ) -> Iterator[dict[str, np.ndarray]]:
        for row, batch in self.stream(keys, batch_size, rows):
            yield {key: self._decode(key, batch[key], row) for key in keys}

    def stream(
        self, keys: Sequence[str], batch_size: int, rows: range
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield the rows in batches, each with the number of its first row.

        Raises:
            ValueError: where the file is damaged.
        """
        try:
            with open_parquet(self.path) as file:
                groups, row = _groups_of(file.metadata, rows)
                for batch in file.iter_batches(batch_size, row_groups=groups, columns=list(keys)):
                    first, stop = max(rows.start - row, 0), min(rows.stop - row, len(batch))
                    if first < stop:
                        yield row + first, batch.slice(first, stop - first)
                    row += len(batch)
                    if row >= rows.stop:
                        return
        except (OSError, pa.ArrowException) as error:
            raise ValueError(f"{self.path} is damaged: {cause(error)}") from error

    def _row_length(self, key: str) -> int:
        if key not in self._width:
            _, first = next(self.stream([key], 1, range(1)), (0, None))
            length = 0 if first is None else pc.list_value_length(first[key])[0].as_py()
            self._width[key] = length or 0
        return self._width[key]

    def _decode(self, key: str, array: pa.Array, row: int) -> np.ndarray:
        if not is_list(array.type):
            self._refuse_null(key, array, row)
            return decode(array, self._cells.get(key))
        width = self._row_length(key)
        lengths = _lengths(array)
        if (lengths != width).any():
            bad = int(np.flatnonzero(lengths != width)[0])
            found = f"{lengths[bad]} values" if lengths[bad] >= 0 else "no values"
            raise ValueError(f"{self.path} ({key}) has {found} in row {row + bad}, need {width}")
        flat = array.flatten()
        self._refuse_null(key, flat, row, width)
        return decode(flat, None).reshape(len(array), width)

    def _refuse_null(self, key: str, array: pa.Array, row: int, width: int = 1) -> None:
        if array.null_count:
            first = array.is_null().index(True).as_py()
            need = "a number" + "; -1 is the target of a row without a label" * (width == 1)
            found = f"a null in row {row + first // width}"
            raise ValueError(f"{self.path} ({key}) has {found}, need {need}")


def _groups_of(metadata: pq.FileMetaData, rows: range) -> tuple[list[int], int]:
    """Row groups that hold some of the rows, and the number of their first row."""
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    starts = np.cumsum([0, *sizes]).tolist()
    held = [g for g in range(len(sizes)) if starts[g] < rows.stop and rows.start < starts[g + 1]]
    return held, starts[held[0]] if held else 0


def _lengths(array: pa.Array) -> np.ndarray:
    """Values in each row, -1 for a null."""
    lengths = pc.list_value_length(array)
    if not lengths.null_count:
        return decode(lengths, None)
    return np.array([-1 if length is None else length for length in lengths.to_pylist()])


def is_list(dtype: pa.DataType) -> bool:
    """Whether the values of a column are lists, of any or of one length."""
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_kind(dtype) for is_kind in kinds)


def _name(dtype: pa.DataType) -> str:
    known = pa.types.is_floating(dtype) or pa.types.is_integer(dtype) or pa.types.is_boolean(dtype)
    return np.dtype(dtype.to_pandas_dtype()).name if known else str(dtype)
