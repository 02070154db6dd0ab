"""What a Parquet file says of itself, held against the file before a decoder believes it.

Arrow allocates what the header of a page claims, and only then finds out that the file ends; and
where the footer is damaged, asking pyarrow for a column's metadata may end the process. So footer
and headers are read here. They are Thrift structs in the compact protocol.
"""

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


def check_pages(path: Path) -> None:
    """Refuse a file whose pages claim to be longer than it is, or than they can be.

    Raises:
        ValueError: such a page, or what cannot be read.
    """
    chunks = [chunk for group in read_footer(path) for chunk in group]
    with path.open("rb") as file:
        for chunk in chunks:
            place = chunk.start
            while place < chunk.stop:
                length, unpacked, packed = _page(file, place)
                place += length + packed
                if packed < 0 or unpacked < 0 or place > chunk.stop:
                    raise ValueError(f"a page claims {packed} bytes, more than its column has")
                if unpacked > max(_UNPACKED, _RATIO * packed):
                    raise ValueError(f"a page claims to unpack {packed} bytes to {unpacked}")


def _chunk(values: dict[int, Any]) -> Chunk:
    places = [place for field in (9, 11) if (place := values.get(field))]  # 0: no such page
    start, largest = min(places) + 0, values.get(12, {}).get(5)
    name = ".".join(part.decode(errors="replace") for part in values[3])
    return Chunk(name, start, start + values[7], largest or None)


def _page(file: BinaryIO, place: int) -> tuple[int, int, int]:
    """Length of the header at a place, and the sizes that it states, unpacked and packed."""
    for room in _ROOMS:
        file.seek(place)
        header = Thrift(file.read(room))
        try:
            fields = header.struct()
            return header.place, fields[2] + 0, fields[3] + 0
        except IndexError:
            continue
        except (KeyError, TypeError):
            break
    raise ValueError(f"the header of a page at byte {place} cannot be read")


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
