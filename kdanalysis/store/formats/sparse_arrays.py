"""Truncated teachers in named arrays: .npz, .pt, .safetensors, or lists in Parquet."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kdanalysis.store.formats.parquet import ParquetTable, is_list
from kdanalysis.store.formats.table import Table
from kdanalysis.store.reading import listed
from kdanalysis.store.schema import decode
from kdanalysis.store.sparse_rows import Rows, padded

NAMES = {
    "ids": (
        *("token_ids", "ids", "target_token_ids", "top_k_indices", "topk_token_ids", "topk_ids"),
        *("topk_indices", "teacher_topk_ids", "teacher_topk_indices", "teacher_ids"),
    ),
    "logprobs": (
        *("logprobs", "target_logprobs", "top_values", "topk_logprobs", "topk_log_probs"),
        *("teacher_topk_logprobs", "teacher_topk_log_probs", "teacher_logprobs"),
    ),
}
MORE = {"log_other": "float", "counts": "int", "target": "int"}
SCHEMA_KEY = b"kdanalysis.sparse"  # of what ``sparsify`` writes
_LOGSUMEXP = re.compile(r"logsumexp_(\d{1,4}(?:\.\d{1,6})?)")
_GROUP = 4096  # rows of a Parquet file read at a time


def holds_arrays(table: Table) -> bool:
    """Whether both arrays of a truncated teacher are there by a name that is known."""
    return all(any(name in table.keys for name in names) for names in NAMES.values())


def likely(table: Table) -> str:
    """Say what the keys of ids and logprobs seem to be: whole numbers beside floats of their shape.

    Nothing where no such pair of arrays is there, or more than one.
    """
    wide: dict[str, list[tuple[str, object]]] = {"int": [], "float": []}
    for name in table.keys:
        with suppress(ValueError):  # texts
            shape, dtype = table.info(name)
            number = dtype.replace("double", "float")
            kind = next((kind for kind in wide if kind in number), "")
            if len(shape) > 1 and kind:
                wide[kind].append((name, (shape, "<" in dtype)))
    pairs = [(a, b) for a, one in wide["int"] for b, other in wide["float"] if one == other]
    return "ids={},logprobs={}".format(*pairs[0]) if len(pairs) == 1 else ""


def read_arrays(table: Table, keys: Mapping[str, str]) -> Rows:
    """Read tokens and log-probabilities, and log_other, counts, target, logsumexp_T if there.

    Args:
        table: (n, K) arrays, or (sequences, positions, K), which become rows; in Parquet lists of
            numbers or of lists of them, whose lengths may differ from row to row.
        keys: names in the file for ids, logprobs, log_other, counts and target, where unusual.

    Raises:
        ValueError: a name is missing, or the shapes do not fit each other.
    """
    if unknown := [name for name in keys if name not in {*NAMES, *MORE}]:
        raise ValueError(
            f"{table.path} is read as a truncated teacher: keys name {unknown}, need some of "
            f"{', '.join((*NAMES, *MORE))}"
        )
    ids, logprobs = (_name(table, column, keys) for column in NAMES)
    if isinstance(table, ParquetTable):
        found, values = _lists(table, ids, logprobs)
    else:
        found, values = _rows(table, ids, "int"), _rows(table, logprobs, "float")
        if found.shape != values.shape:
            raise ValueError(
                f"{table.path} has {ids} of shape {found.shape} and {logprobs} of shape "
                f"{values.shape}: need a log-probability for every token"
            )
    known = {name: name for name in MORE if name in table.keys} | {**keys}
    more = {
        name: _column(table, key, len(found), name) for name, key in known.items() if name in MORE
    }
    sums = {
        float(match[1]): _column(table, name, len(found))
        for name in table.keys
        if (match := _LOGSUMEXP.fullmatch(name))
    }
    return Rows(found, values, more, sums, **_stated(table))


def _name(table: Table, column: str, keys: Mapping[str, str]) -> str:
    names = (keys[column],) if column in keys else NAMES[column]
    if found := [name for name in names if name in table.keys]:
        return found[0]
    if column in keys:
        raise ValueError(_no(table, keys[column]))
    what = {"ids": "tokens", "logprobs": "log-probabilities"}[column]
    lacking = [c for c in NAMES if c not in keys and not {*NAMES[c]} & {*table.keys}]
    as_said = likely(table) if lacking == [*NAMES] else ""
    as_said = as_said or ",".join(f"{column}=NAME" for column in lacking)
    raise ValueError(
        f"{table.path} has no {what}: it has {table.held}, need one of "
        f"{', '.join(names)}, or say with keys= which it is: {as_said}"
    )


def _no(table: Table, key: str) -> str:
    return f"{table.path} has no {listed([key])}: it has {table.held}"


def _rows(table: Table, name: str, kind: str) -> np.ndarray:
    values = _whole(table, name, kind)
    if values.ndim not in (2, 3) or not values.size:
        raise ValueError(
            f"{table.path} ({name}) has shape {values.shape}, need (tokens, K) or (sequences, "
            "positions, K), none of them 0"
        )
    return values.reshape(-1, values.shape[-1])


def _column(table: Table, key: str, rows: int, name: str = "") -> np.ndarray:
    """Return a column of the file, of the kind of ``name``."""
    if key not in table.keys:
        raise ValueError(_no(table, key))
    values = _whole(table, key, MORE.get(name, "float"))
    if values.size != rows and not (name == "counts" and values.shape[0] == rows):
        raise ValueError(
            f"{table.path} ({key}) has shape {values.shape}, need one number for each of the "
            f"{rows:,} rows"
        )
    return values.reshape(rows, -1) if name == "counts" else values.reshape(rows)


def _whole(table: Table, name: str, kind: str) -> np.ndarray:
    shape, dtype = table.info(name)
    if not dtype.startswith((kind, f"u{kind}", f"b{kind}")):
        need = {"int": "whole numbers", "float": "floats"}[kind]
        raise ValueError(f"{table.path} ({name}) is {dtype}, need {need}")
    parts = [batch[name] for batch in table.batches((name,), max(1, shape[0]), range(shape[0]))]
    values = parts[0] if parts else np.empty(shape)
    return values.astype(np.int64 if kind == "int" else values.dtype.newbyteorder("="))


def _lists(table: ParquetTable, ids: str, logprobs: str) -> tuple[np.ndarray, np.ndarray]:
    tokens, values, lengths = [], [], []
    for row, batch in table.stream((ids, logprobs), _GROUP, range(table.num_rows)):
        found, widths = _flat(table, ids, batch[ids], "int")
        numbers, others = _flat(table, logprobs, batch[logprobs], "float")
        if len(widths) != len(others) or (widths != others).any():
            raise ValueError(_uneven(table, ids, logprobs, row, widths, others))
        tokens.append(found.astype(np.int64))
        values.append(numbers)
        lengths.append(widths)
    if not lengths:
        raise ValueError(f"{table.path} has no rows")
    return padded(*map(np.concatenate, (tokens, values, lengths)), table.path)


def _flat(
    table: ParquetTable, name: str, array: pa.Array, kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of lists, or of lists of lists, one after the other, and how many in each."""
    if is_list(array.type) and is_list(array.type.value_type):
        array = array.flatten()
    fits = {"int": pa.types.is_integer, "float": pa.types.is_floating}[kind]
    if not (is_list(array.type) and fits(array.type.value_type)):
        raise ValueError(f"{table.path} ({name}) is {array.type!s:.60}, need lists of {kind}s")
    widths = decode(pc.fill_null(pc.list_value_length(array), 0), None).astype(np.int64)
    flat = array.flatten()
    if flat.null_count:
        raise ValueError(f"{table.path} ({name}) has a null among its numbers")
    return decode(flat, None), widths


def _uneven(
    table: Table, ids: str, logprobs: str, row: int, widths: np.ndarray, others: np.ndarray
) -> str:
    if len(widths) != len(others):
        return (
            f"{table.path} has {len(widths):,} positions of {ids} and {len(others):,} of "
            f"{logprobs} in the rows from {row:,} on: need as many"
        )
    first = int(np.flatnonzero(widths != others)[0])
    return (
        f"{table.path} has {widths[first]} {ids} and {others[first]} {logprobs} in row "
        f"{row + first:,}: need a log-probability for every token"
    )


def _stated(table: Table) -> dict[str, Any]:
    """What the file says of itself, where this package wrote it: vocabulary and temperature."""
    text = table.metadata.get(SCHEMA_KEY) if isinstance(table, ParquetTable) else None
    if text is None:
        return {}
    try:
        stated = json.loads(text)
        return {"vocabulary": int(stated["vocabulary"]), "temperature": float(stated["T"])}
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{table.path} has metadata that cannot be read: {text!r:.60}") from error
