"""What a Parquet file says of itself, held against the file before a decoder believes it.

Arrow allocates what the header of a page claims, and only then finds out that the file ends; and
where the footer is damaged, asking pyarrow for a column's metadata may end the process. So footer
and headers are read here. They are Thrift structs in the compact protocol.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

_END = 8  # length of the footer and PAR1
_ROOMS = (1 << 12, 1 << 16, 16 << 20)  # bytes tried for a header; Arrow reads none that is longer
_UNPACKED, _RATIO = 64 << 20, 1100  # a page that unpacks to more, and more than so many times
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_WHOLE = (4, 5, 6)  # numbers of 16, 32 and 64 bits
_DEEPEST = 20


class Chunk(NamedTuple):
    """The bytes of a column in a row group, and its largest value where that is known."""

    name: str
    start: int
    stop: int
    largest: bytes | None
    packed: bool


class Page(NamedTuple):
    """The bytes behind a page's header; how many values they are, where they are nothing else."""

    start: int
    stop: int
    values: int | None


def read_footer(path: Path) -> list[list[Chunk]]:
    """Return the chunks of every row group.

    Raises:
        ValueError: the footer cannot be read, or a chunk leaves the file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _END))
        length = int.from_bytes(file.read(4), "little")
        file.seek(max(0, size - _END - length))
        data = file.read(length)
    try:
        groups = Thrift(data).struct()[4]
        found = [[_chunk(column[3]) for column in group[1]] for group in groups]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError("its footer cannot be read") from error
    for chunk in (chunk for group in found for chunk in group):
        if not 0 <= chunk.start <= chunk.stop <= size:
            raise ValueError(f"a column claims the bytes {chunk.start} to {chunk.stop} of {size}")
    return found


def read_pages(path: Path) -> list[list[tuple[Chunk, list[Page]]]]:
    """Return the chunks of every row group with their pages.

    Raises:
        ValueError: a page claims to be longer than its file, or than it can be, or what cannot be
            read.
    """
    groups = read_footer(path)
    with path.open("rb") as file:
        return [[(chunk, list(_pages_of(file, chunk))) for chunk in group] for group in groups]


def _pages_of(file: BinaryIO, chunk: Chunk) -> Iterator[Page]:
    place = chunk.start
    while place < chunk.stop:
        length, fields = _header(file, place)
        try:
            unpacked, size = fields[2] + 0, fields[3] + 0
        except (KeyError, TypeError) as error:
            raise _unreadable(place) from error
        start, place = place + length, place + length + size
        if size < 0 or unpacked < 0 or place > chunk.stop:
            raise ValueError(f"a page claims {size} bytes, more than its column has")
        if unpacked > max(_UNPACKED, _RATIO * size):
            raise ValueError(f"a page claims to unpack {size} bytes to {unpacked}")
        values = None
        match fields:
            case {1: 0, 5: {1: int(count), 2: 0}} if size == unpacked and not chunk.packed:
                values = count
        yield Page(start, place, values)


def _chunk(values: dict[int, Any]) -> Chunk:
    places = [place for field in (9, 11) if (place := values.get(field))]  # 0: no such page
    start, largest = min(places) + 0, values.get(12, {}).get(5)
    name = ".".join(part.decode(errors="replace") for part in values[3])
    return Chunk(name, start, start + values[7], largest or None, values.get(4) != 0)


def _header(file: BinaryIO, place: int) -> tuple[int, dict[int, Any]]:
    """Length of the header of a page at a place, and its fields."""
    for room in _ROOMS:
        file.seek(place)
        header = Thrift(file.read(room))
        try:
            fields = header.struct()
            return header.place, fields
        except IndexError:
            continue
        except (KeyError, TypeError):
            break
    raise _unreadable(place)


def _unreadable(place: int) -> ValueError:
    return ValueError(f"the header of a page at byte {place} cannot be read")


class Thrift:
    """Reads structs from bytes; an IndexError where they end first, a KeyError where they lie."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Return values by the number of their field."""
        found, field = {}, 0
        while byte := self._byte():
            field = field + (byte >> 4) if byte >> 4 else self._number()
            found[field] = self._value(byte & 15, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if depth > _DEEPEST:
            raise KeyError(kind)
        if kind in (_TRUE, _FALSE):
            return kind == _TRUE
        if kind in _WHOLE:
            return self._number()
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_LIST, _SET):
            return self._list(depth)
        sizes = {_BYTE: 1, _DOUBLE: 8}
        if kind in sizes or kind == _BINARY:
            return self._bytes(sizes[kind] if kind in sizes else self._varint())
        raise KeyError(kind)

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        count, kind = head >> 4, head & 15
        count = self._varint() if count == 15 else count
        kind = _BYTE if kind in (_TRUE, _FALSE) else kind  # here, a truth value takes a byte
        return [self._value(kind, depth + 1) for _ in range(count)]

    def _number(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) >= 128:
            value |= (byte & 127) << shift
            shift += 7
            if shift > 63:
                raise KeyError("a number of more than 64 bits")
        return value | byte << shift

    def _byte(self) -> int:
        self.place += 1
        return self.data[self.place - 1]

    def _bytes(self, count: int) -> bytes:
        self.place += count
        if self.place > len(self.data):
            raise IndexError(count)
        return self.data[self.place - count : self.place]
