"""NumPy files: .npy mapped into memory, .npz members streamed; never pickle."""

import io
import math
import os
import shutil
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kdanalysis.store.formats.table import CLASSES, UNNAMED, ArrayInfo, Sliced, Table, texts
from kdanalysis.store.reading import cause

_LONGEST_HEADER = 10_000
_LARGEST_RATIO = 1100  # deflate cannot pack more tightly than 1032 to 1
_SUFFIX = ".npy"
_LOCAL_HEADER = 30  # bytes before a member's name
NUMBERS, TEXTS = "fiub", "US"  # kinds of dtypes
_PASSED = 1 << 20  # bytes read at a time and passed over


class Header(NamedTuple):
    """The header of an array in NumPy's format."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    offset: int  # bytes before the values


def read_header(stream: io.BufferedIOBase, size: int, what: str, kinds: str = NUMBERS) -> Header:
    """Read a header and hold its claim against the ``size`` of the file or member.

    ``kinds`` are the letters of the dtypes that will do.

    Raises:
        ValueError: for another format, arrays of objects (which need pickle), or false sizes.
    """
    start = stream.read(8)
    width = {(1, 0): 2, (2, 0): 4}.get(tuple(start[6:8]), 0)
    length = stream.read(width)
    count = int.from_bytes(length, "little")
    if start[:6] != b"\x93NUMPY" or not width or len(length) < width or count > _LONGEST_HEADER:
        raise ValueError(f"{what} is not a NumPy array of numbers")
    shape, fortran, dtype = _parse(length + stream.read(count), width, what)
    need = "plain numbers" if kinds == NUMBERS else "texts, as np.array(names) makes them"
    if dtype.hasobject:
        raise ValueError(
            f"{what} holds Python objects, need {need}: objects would have to be unpickled, "
            "which can run code"
        )
    if dtype.kind not in kinds:
        held = {"U": "text", "S": "bytes"}.get(dtype.kind, f"{dtype}"[:80])
        more = "; of labels those of the classes, of sample ids whole ones" * (kinds == NUMBERS)
        raise ValueError(f"{what} holds {held}, need {need}{more}")
    offset = 8 + width + count
    claimed = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or claimed != size - offset:
        raise ValueError(
            f"{what} claims {claimed} bytes for shape {shape!s:.60} but holds {size - offset}: it "
            "is truncated or forged"
        )
    return Header(shape, fortran, dtype, offset)


def _parse(raw: bytes, width: int, what: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    reader = (
        np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about headers written by Python 2
            return reader(io.BytesIO(raw))
    except Exception as error:  # of numpy, of its parser and of the tokenizer below that
        raise ValueError(f"{what} has a damaged NumPy header: {cause(error)}") from error


class NpyFile(Sliced):
    """One array without a name."""

    keys = (UNNAMED,)

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self._header = read_header(file, path.stat().st_size, str(path))

    def info(self, key: str) -> ArrayInfo:
        """Shape and dtype from the header."""
        return ArrayInfo(self._header.shape, self._header.dtype.name)

    def rows(self, key: str, start: int, stop: int) -> np.ndarray:
        """Copy rows out of a map, which goes at once: the pages of one that stays add up."""
        array = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return np.array(array[start:stop], order="C")


class NpzFile(Table):
    """Named arrays in a zip archive, packed or not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.endswith(_SUFFIX)]
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise ValueError(f"{path} is not an .npz archive: {cause(error)}") from error
        keys = [name.removesuffix(_SUFFIX) for name in names]
        self.classes = self._names() if CLASSES in keys else None
        self.keys = tuple(key for key in keys if key != CLASSES or self.classes is None)

    def info(self, key: str) -> ArrayInfo:
        """Shape and dtype from the member's header, which alone is read."""
        with zipfile.ZipFile(self.path) as archive:
            header = self._header(archive, key)
        return ArrayInfo(header.shape, header.dtype.name)

    def batches(
        self, keys: Sequence[str], batch_size: int, rows: range
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield rows, every member unpacked as it is read.

        Rows before the first one are passed over. Where the last row of a member is read, all of
        its bytes are, because its checksum is verified there.

        Raises:
            ValueError: where a member is damaged.
        """
        try:
            with zipfile.ZipFile(self.path) as archive:
                columns = [self._rows(archive, key, batch_size, rows) for key in keys]
                for values in zip(*columns, strict=True):
                    yield dict(zip(keys, values, strict=True))
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise ValueError(f"{self.path} is damaged: {cause(error)}") from error

    def _names(self) -> list[str] | None:
        """Return the names of the classes; None where the array holds numbers."""
        with zipfile.ZipFile(self.path) as archive:
            header = self._header(archive, CLASSES, NUMBERS + TEXTS)
            if header.dtype.kind not in TEXTS:
                return None
            try:
                with archive.open(CLASSES + _SUFFIX) as stream:
                    data = stream.read()[header.offset :]
                return texts(np.frombuffer(data, header.dtype)) or []
            except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
                raise ValueError(f"{self.path} ({CLASSES}) is damaged: {cause(error)}") from error

    def _header(self, archive: zipfile.ZipFile, key: str, kinds: str = NUMBERS) -> Header:
        member = archive.getinfo(key + _SUFFIX)
        what = f"{self.path} ({key})"
        size, packed = member.file_size, member.compress_size
        if packed > self.path.stat().st_size or size > packed * _LARGEST_RATIO:
            raise ValueError(f"{what} claims {size} bytes from {packed}: it is truncated or forged")
        try:
            with archive.open(member) as stream:
                return read_header(stream, size, what, kinds)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise ValueError(f"{what} is damaged: {cause(error)}") from error

    def _rows(
        self, archive: zipfile.ZipFile, key: str, batch_size: int, rows: range
    ) -> Iterator[np.ndarray]:
        header = self._header(archive, key)
        if header.fortran and len(header.shape) > 1:
            with archive.open(key + _SUFFIX) as stream:
                stream.read(header.offset)
                yield from _by_columns(stream, header, batch_size, rows)
            return
        row = math.prod(header.shape[1:]) * header.dtype.itemsize
        whole = rows.stop == header.shape[0]
        with self._open_at(archive, key, header.offset + rows.start * row, whole) as stream:
            for start in range(rows.start, rows.stop, batch_size):
                count = min(batch_size, rows.stop - start)
                data = bytearray(_exactly(stream, count * row))
                yield np.frombuffer(data, header.dtype).reshape(count, *header.shape[1:])

    def _open_at(
        self, archive: zipfile.ZipFile, key: str, offset: int, whole: bool
    ) -> io.BufferedIOBase:
        """Open a member at a byte of its content; read up to there where packed or ``whole``."""
        member = archive.getinfo(key + _SUFFIX)
        if member.compress_type == zipfile.ZIP_STORED and not whole:
            file = self.path.open("rb")
            file.seek(member.header_offset + _LOCAL_HEADER - 4)
            lengths = file.read(4)  # of the member's name and of what else stands before it
            names = int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
            file.seek(names + offset, os.SEEK_CUR)
            return file
        stream = archive.open(member)
        while offset:
            offset -= len(_exactly(stream, min(offset, _PASSED)))
        return stream


def _by_columns(
    stream: io.BufferedIOBase, header: Header, batch_size: int, rows: range
) -> Iterator[np.ndarray]:
    """Columns lie one after the other: unpack them onto the disk, and read rows through a map."""
    with tempfile.TemporaryFile() as file:
        shutil.copyfileobj(stream, file)
        file.flush()
        for start in range(rows.start, rows.stop, batch_size):
            array = np.memmap(file, header.dtype, "r", shape=header.shape, order="F")
            yield np.array(array[start : min(start + batch_size, rows.stop)], order="C")


def _exactly(stream: io.BufferedIOBase, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError(f"{count - len(data)} bytes are missing")
    return data
