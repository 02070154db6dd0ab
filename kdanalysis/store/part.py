"""One Parquet part that carries its own checksum.

Parquet's page checksums cover the pages only. Eight bytes between the last page and the footer,
where the format leaves room, hold the CRC-32 of everything else in the file, so that a flipped bit
in a header or the footer is found too, and before any decoder meets it. Other readers skip them.
"""

import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

_MAGIC = b"KDA1"
_END = 8  # footer length and PAR1
_TRAILER = len(_MAGIC) + 4
_GROUP_BYTES = 8 << 20
_READ_BYTES = 1 << 18  # at a time: they are still in the cache when they are looked at


class Serialised(NamedTuple):
    """A part as chunks to write in order, with its checksum."""

    chunks: tuple[memoryview, bytes, memoryview]
    crc32: int

    @property
    def num_bytes(self) -> int:
        """Size of the file."""
        return sum(len(chunk) for chunk in self.chunks)


def serialise(table: pa.Table) -> Serialised:
    """Encode a table: uncompressed, page checksums, statistics for scalars.

    Dictionaries are for texts only. Integers are delta-packed: a step
    costs no bytes and a shuffled sample id two or three.
    """
    sink = pa.BufferOutputStream()
    names = {field.name: field.type for field in table.schema}
    integers = [name for name, dtype in names.items() if pa.types.is_integer(dtype)]
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression="NONE",
        use_dictionary=[name for name, dtype in names.items() if pa.types.is_string(dtype)],
        write_statistics=[n for n, t in names.items() if not pa.types.is_fixed_size_binary(t)],
        column_encoding=dict.fromkeys(integers, "DELTA_BINARY_PACKED"),
        write_page_checksum=True,
    ) as writer:
        row = max(1, table.nbytes // max(1, len(table)))
        writer.write_table(table, row_group_size=max(1, _GROUP_BYTES // row))
    data = memoryview(sink.getvalue())
    split = len(data) - _END - int.from_bytes(data[-8:-4], "little")
    crc = zlib.crc32(data[split:], zlib.crc32(data[:split]))
    return Serialised((data[:split], _MAGIC + crc.to_bytes(4, "little"), data[split:]), crc)


def checksum(path: Path) -> int:
    """Return the verified CRC-32 of a part.

    Raises:
        ValueError: where the file is truncated, altered, or no part at all.
        FileNotFoundError: where it is missing.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _END))
        end = file.read(_END)
        split = size - _END - int.from_bytes(end[:4], "little") - _TRAILER
        if len(end) < _END or end[4:] != b"PAR1" or split < 0:
            raise ValueError(f"truncated or altered: no Parquet footer at the end of {size} bytes")
        file.seek(split)
        trailer = file.read(_TRAILER)
        if not trailer.startswith(_MAGIC):
            raise ValueError("altered: its checksum is not where its footer says")
        file.seek(0)
        crc = _crc_of(file, split, 0)
        file.seek(split + _TRAILER)
        crc = _crc_of(file, size - split - _TRAILER, crc)
    if crc != int.from_bytes(trailer[4:], "little"):
        raise ValueError("altered: its bytes do not fit its checksum")
    return crc


def _crc_of(file: BinaryIO, count: int, crc: int) -> int:
    block = memoryview(bytearray(_READ_BYTES))
    while count > 0:
        size = file.readinto(block[:count])
        if not size:
            raise ValueError("truncated while it was read")
        crc = zlib.crc32(block[:size], crc)
        count -= size
    return crc


def open_parquet(path: Path, pages: bool = True) -> pq.ParquetFile:
    """Open for streaming, no column held whole; with ``pages`` page checksums are verified."""
    return pq.ParquetFile(
        path, page_checksum_verification=pages, pre_buffer=False, buffer_size=_READ_BYTES
    )
