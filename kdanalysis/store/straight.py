"""Cells read from the pages of a part into their array, past a decoder that copies them twice."""

from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8

from kdanalysis.store.footer import Chunk, Page


class Straight:
    """The cells of a column, in order, of pages that hold nothing else.

    Args:
        file: the part, unbuffered.
        pages: of the column, in order.
        width: bytes of a cell.
    """

    def __init__(self, file: BinaryIO, pages: Sequence[Page], width: int) -> None:
        self._file, self._width = file, width
        self._pages, self._place, self._left = iter(pages), 0, 0

    def skip(self, count: int) -> None:
        """Leave out the next cells, unread."""
        for _ in self._spans(count):
            pass

    def take(self, count: int) -> UInt8[np.ndarray, " b"]:
        """Return the bytes of the next cells; an OSError where pages or file end before."""
        found, start = np.empty(count * self._width, np.uint8), 0
        for place, size in self._spans(count):
            self._file.seek(place)
            if self._file.readinto(found[start : start + size]) < size:
                raise OSError("it ends before its last cell")
            start += size
        return found

    def _spans(self, count: int) -> Iterator[tuple[int, int]]:
        """Yield place and size of the bytes of the next cells, page by page."""
        rest = count * self._width
        while rest:
            if not self._left:
                page = next(self._pages, None)
                if page is None:
                    raise OSError("its pages hold fewer cells than it has rows")
                self._place, self._left = page.start, page.stop - page.start
            place, size = self._place, min(rest, self._left)
            self._place, self._left, rest = place + size, self._left - size, rest - size
            yield place, size


def plain_pages(
    groups: Sequence[Sequence[tuple[Chunk, Sequence[Page]]]], widths: Mapping[str, int]
) -> dict[str, list[Page]]:
    """Return the pages of columns of cells; of those alone whose pages hold nothing else.

    Args:
        groups: the row groups to read, of a part that has been checked.
        widths: bytes of a cell by column.
    """
    found: dict[str, list[Page]] = {name: [] for name in widths}
    for chunk, pages in (each for group in groups for each in group if each[0].name in found):
        found[chunk.name] += pages
    return {name: pages for name, pages in found.items() if _plain(pages, widths[name])}


def _plain(pages: Sequence[Page], width: int) -> bool:
    return all(page.values and page.stop - page.start == page.values * width for page in pages)
