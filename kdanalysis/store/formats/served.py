"""Truncated teachers as servers answer: prompt_logprobs of vLLM, *_top_logprobs of SGLang.

vLLM: ``[null, {"42": {"logprob": -0.1, "rank": 1, ...}, ...}, ...]``, an object a position of the
prompt; the first position has nothing before it and is null. The token of the prompt stands among
the others although it may not be of the K most probable, so that rows hold K or K + 1 tokens.
SGLang: ``[null, [[-0.1, 42, "text"], ...], ...]``, input_top_logprobs of a prompt and, read where
there are none of these, output_top_logprobs of what was generated. Of a prompt both are at T = 1,
whatever temperature was asked for sampling; of what was generated they are at that temperature.
"""

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from kdanalysis.store.reading import cause, listed
from kdanalysis.store.sparse_rows import Rows, padded

VLLM, SGLANG, GENERATED = "prompt_logprobs", "input_top_logprobs", "output_top_logprobs"
NAMED, WITH_IDS = "top_logprobs", "top_logprobs with ids"
_DEEPEST = 8  # of an answer inside what is wrapped around it
Row = list[tuple[int, float]]


def read_served(path: Path, temperature: float | int | None = None) -> Rows:
    """Read every answer in a file: one JSON value, or one a line.

    Answers follow each other, without their null positions.

    Args:
        path: the file.
        temperature: that sampled the tokens which the server generated; of prompts it is 1.

    Raises:
        ValueError: it is no JSON, holds none of the fields, or an entry is no log-probability of a
            token; it holds generated tokens alone, and no temperature is given.
    """
    found: dict[str, list[Row]] = {}
    fields: set[str] = set()
    for value in _values(path):
        for name, positions in _answers(value, fields):
            known = found.setdefault(name, [])
            known += _positions(path, name, positions, len(known))
    if not found:
        has = f"its fields are {listed(sorted(fields))}" if fields else "it has no fields"
        need = f"need {VLLM}, {SGLANG} or {GENERATED}{_advice(fields)}"
        raise ValueError(f"{path} has no log-probabilities that are read: {has}, {need}")
    if VLLM in found and len(found) > 1:
        raise ValueError(f"{path} has both {' and '.join(found)}: need the answers of one server")
    name = next((name for name in (VLLM, SGLANG, GENERATED) if found.get(name)), None)
    if name is None:
        raise ValueError(f"{path} has {found.popitem()[0]} without a position that holds tokens")
    if name == GENERATED and temperature is None:
        raise ValueError(
            f"{path} has {name}, which are at the temperature that sampled the tokens, unless the "
            "server was told otherwise: read it by kd.read_sparse with that temperature="
        )
    rows = found[name]
    lengths = np.array([len(row) for row in rows])
    pairs = [pair for row in rows for pair in row]
    try:
        ids = np.array([token for token, _ in pairs], np.int64)
    except OverflowError as error:
        raise ValueError(f"{path} has a token id that no int64 holds") from error
    values = np.array([value for _, value in pairs], np.float64)
    of = temperature if name == GENERATED else 1.0
    return Rows(*padded(ids, values, lengths, path), temperature=of)


def _values(path: Path) -> Iterator[Any]:
    """JSON values of the file: the whole of it, or its lines."""
    with path.open(encoding="utf-8") as file:
        if path.suffix.lower() == ".json":
            yield _parsed(path, file.read(), "")
            return
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _parsed(path, line, f" in line {number:,}")


def _parsed(path: Path, text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _unique(path, pairs))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(
            f"{path} is no JSON{where}, or was cut off: {cause(error)}; of a file that ends in "
            ".jsonl every line is read by itself"
        ) from error


def _unique(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object as a dict, which would keep the last of several tokens of one name."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{path} has {twice!r:.40} twice in one object: every token stands once")
    return made


def _answers(value: Any, fields: set[str], depth: int = 0) -> Iterator[tuple[str, list]]:
    """Yield the fields' lists wherever they stand; other fields' names go to ``fields``."""
    if depth > _DEEPEST:
        return
    if isinstance(value, list):
        if depth == 0 and (name := _bare(value)):
            yield name, value
            return
        for one in value:
            yield from _answers(one, fields, depth + 1)
    elif isinstance(value, dict):
        fields.update(value)
        for name, inner in value.items():
            if name in (VLLM, SGLANG, GENERATED) and isinstance(inner, list):
                yield name, inner
            elif name == NAMED:  # whose own names are tokens
                fields.update({WITH_IDS} if _has_ids(inner) else ())
            else:
                yield from _answers(inner, fields, depth + 1)


def _bare(value: list) -> str:
    """Which field a list without a name is; nothing where it is neither."""
    first = next((one for one in value if one), None)
    if isinstance(first, dict) and all(name.lstrip("-").isdigit() for name in first):
        return VLLM
    if isinstance(first, list) and isinstance(first[0], list) and len(first[0]) in (2, 3):
        return SGLANG
    return ""


def _positions(path: Path, name: str, positions: list, before: int) -> Iterator[Row]:
    read = _vllm if name == VLLM else _sglang
    place = before
    for position in positions:
        if not position:
            continue
        try:
            yield read(position)
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            one = name == VLLM
            need = '{"ID": {"logprob": NUMBER}, ...}' if one else "[[LOGPROB, ID, TEXT], ...]"
            raise ValueError(
                f"{path} ({name}) cannot be read in row {place:,}: need {need} at every position"
            ) from error
        place += 1


def _vllm(position: dict) -> Row:
    return [(int(token), _number(entry)) for token, entry in position.items()]


def _number(entry: Any) -> float:
    value = entry["logprob"] if isinstance(entry, dict) else entry
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _sglang(position: list) -> Row:
    if not all(isinstance(entry[1], int) for entry in position):
        raise TypeError
    return [(entry[1], _number(entry[0])) for entry in position]


def _has_ids(top: Any) -> bool:
    """Whether tokens have ids: "token_id:42" of vLLM where it is told so, id of llama.cpp."""
    some = [one for one in top if isinstance(one, dict)] if isinstance(top, list) else []
    names = [one["token"] for one in some if "token" in one] or [*chain(*some)]
    ids = any("id" in one and "logprob" in one for one in some)
    return ids or any(str(name).startswith("token_id:") for name in names)


def _advice(fields: set[str]) -> str:
    """Say what other answers lack, or how other rows are read; "" of unknown ones."""
    if WITH_IDS in fields:
        return (
            f"; the ids of {NAMED} and their log-probabilities are read as rows of token_ids and "
            "logprobs from Parquet, of one temperature"
        )
    if NAMED in fields:
        return f"; {NAMED} name tokens by their text, and ids are needed"
    if "logprobs" in fields:
        return (
            "; rows of token_ids and logprobs are read from Parquet, as "
            "pandas.read_json(path, lines=True).to_parquet(...) makes of them"
        )
    return ""
