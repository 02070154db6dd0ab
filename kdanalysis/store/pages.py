"""Headers of a Parquet file's pages, held against the file before a decoder believes them.

Arrow allocates what a page's header claims, and only then finds out that the file ends. A header
is a Thrift struct in the compact protocol: fields of varints, of which two are the sizes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow.parquet as pq

_ROOMS = (1 << 12, 1 << 16, 16 << 20)  # bytes tried for a header; Arrow reads none that is longer
_UNPACKED, _RATIO = 64 << 20, 1100  # a page that unpacks to more, and more than so many times
_UNPACKED_SIZE, _PACKED_SIZE = 2, 3  # fields of the header
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_DEEPEST = 8


def check_pages(path: Path, metadata: pq.FileMetaData) -> None:
    """Refuse a file whose pages claim to be longer than it is, or than they can be.

    Raises:
        ValueError: such a page, or a header that cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        for start, stop in _chunks(metadata):
            if not 0 <= start <= stop <= size:
                raise ValueError(f"a column claims the bytes {start} to {stop} of {size}")
            while start < stop:
                length, packed, unpacked = _page(file, start)
                start += length + packed
                if packed < 0 or start > stop or unpacked < 0:
                    raise ValueError(f"a page claims {packed} bytes, more than its column has")
                if unpacked > max(_UNPACKED, _RATIO * packed):
                    raise ValueError(f"a page claims to unpack {packed} bytes to {unpacked}")


def _chunks(metadata: pq.FileMetaData) -> Iterator[tuple[int, int]]:
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            first = [column.data_page_offset]
            if column.has_dictionary_page and column.dictionary_page_offset:
                first.append(column.dictionary_page_offset)
            yield min(first), min(first) + column.total_compressed_size


def _page(file: BinaryIO, place: int) -> tuple[int, int, int]:
    """Length of the header at a place, and the sizes that it states, packed and unpacked."""
    for room in _ROOMS:
        file.seek(place)
        header = _Header(file.read(room))
        try:
            fields = header.struct()
            return header.place, fields[_PACKED_SIZE], fields[_UNPACKED_SIZE]
        except IndexError:
            continue
        except KeyError:
            break
    raise ValueError(f"the header of a page at byte {place} cannot be read")


class _Header:
    """Reads a struct from bytes; an IndexError where they end before it does."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def struct(self, depth: int = 0) -> dict[int, int]:
        """Return the whole numbers of a struct by their field; what else it has is passed over."""
        found, field = {}, 0
        while byte := self._byte():
            field = field + (byte >> 4) if byte >> 4 else self._number()
            found[field] = self._value(byte & 15, depth)
        return found

    def _value(self, kind: int, depth: int) -> int:
        if depth > _DEEPEST:
            raise KeyError(kind)
        if kind in (_TRUE, _FALSE):
            return kind
        if kind in (4, 5, 6):
            return self._number()
        if kind == _STRUCT:
            self.struct(depth + 1)
        elif kind in (_LIST, _SET):
            self._list(depth)
        elif kind in (_BYTE, _DOUBLE, _BINARY):
            self._pass({_BYTE: 1, _DOUBLE: 8}.get(kind) or self._varint())
        else:
            raise KeyError(kind)
        return 0

    def _list(self, depth: int) -> None:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint()
        for _ in range(min(count, len(self.data))):  # each takes a byte at least
            self._value(head & 15 if head & 15 != _FALSE else _BYTE, depth + 1)

    def _number(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise KeyError("a number of more than 64 bits")

    def _byte(self) -> int:
        self.place += 1
        return self.data[self.place - 1]

    def _pass(self, count: int) -> None:
        self.place += count
        if self.place > len(self.data):
            raise IndexError
