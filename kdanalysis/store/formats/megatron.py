"""Truncated teachers as Megatron-LM keeps them: a tar of zstd-packed tensors, one an iteration.

A member ``{iteration}.pt.zst`` holds three lists of (positions, sequences, K) tensors, one a
microbatch: ``values``, log-probabilities at T = 1; ``indices_low``, the lower 16 bits of the ids;
``bit_17``, the bit above them. Places outside a nucleus hold -1e4 or -1e3 and no id
(https://github.com/NVIDIA/Megatron-LM/pull/5019).
"""

import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kdanalysis.store.formats.torch_file import check_archive, load_content
from kdanalysis.store.reading import cause, listed
from kdanalysis.store.sparse_rows import Rows, stacked

_MEMBER = re.compile(r"(\d{1,12})\.pt\.zst")
_NAMES = ("values", "indices_low", "bit_17")
_RATIO, _SMALL = 64, 64 << 20  # what a member may unpack to: so many times its size, or this


def read_megatron(path: Path) -> Rows:
    """Read all iterations in the order of their numbers; rows are positions, then sequences.

    Raises:
        ValueError: it is no tar of that kind, truncated, or the tensors do not fit each other.
    """
    parts = []
    for what, data in _members(path):
        tensors = _loaded(data, what)
        for values, low, high in zip(*tensors, strict=True):
            parts.append(_rows(values, low, high, what))
    return Rows(*stacked(parts), temperature=1.0)


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path, "r:") as tar:
            held = {m.name: m for m in tar.getmembers() if m.isreg()}
            found = {int(match[1]): m for n, m in held.items() if (match := _MEMBER.fullmatch(n))}
            if not found:
                raise ValueError(
                    f"{path} has no iteration: it has {listed(held)}, need members named "
                    "ITERATION.pt.zst as Megatron-LM writes them"
                )
            for iteration in sorted(found):
                what = f"{path} ({found[iteration].name})"
                yield what, _unpacked(tar.extractfile(found[iteration]).read(), what)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"{path} is no tar archive, or truncated: {cause(error)}") from error


def _unpacked(data: bytes, what: str) -> bytes:
    if not pa.Codec.is_available("zstd"):
        raise ValueError(f"{what} is packed with zstd, which this build of pyarrow lacks")
    most = max(_SMALL, _RATIO * len(data))
    try:
        with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
            found = stream.read(most + 1)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{what} is damaged: {cause(error)}") from error
    if len(found) > most:
        raise ValueError(f"{what} unpacks to more than {most:,} bytes: it is forged")
    return found


def _loaded(data: bytes, what: str) -> list[list[Any]]:
    check_archive(io.BytesIO(data), what)
    content = load_content(io.BytesIO(data), what)
    lists = [content.get(n) for n in _NAMES] if isinstance(content, dict) else [None]
    if not all(isinstance(one, list) and len(one) == len(lists[0]) and one for one in lists):
        has = listed(content) if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f"{what} has {has}, need {', '.join(_NAMES)}, lists with a tensor for every microbatch"
        )
    return lists


def _rows(values: Any, low: Any, high: Any, what: str) -> tuple[np.ndarray, np.ndarray]:
    shapes = {tuple(one.shape) for one in (values, low, high) if hasattr(one, "shape")}
    if len(shapes) != 1 or len(shape := next(iter(shapes))) < 2 or not values.numel():
        raise ValueError(
            f"{what} has tensors of the shapes {sorted(shapes)!s:.80}, need one shape, (positions, "
            "sequences, K)"
        )
    if not values.is_floating_point() or low.is_floating_point():
        raise ValueError(f"{what} has {values.dtype} values and {low.dtype} ids")
    import torch

    wide = values.float() if values.dtype == torch.bfloat16 else values
    found = wide.reshape(-1, shape[-1]).numpy()
    ids = low.to(torch.int64) & 0xFFFF | high.to(torch.int64) << 16
    return ids.reshape(-1, shape[-1]).numpy(), found
