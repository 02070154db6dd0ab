"""Every argument of every name at the public door takes what its annotation says, or a sentence.

The door itself says what there is to try. Which values fit an annotation is asked of ``isinstance``
here, of one kind after another, and nothing of ``kdanalysis.core.arguments``.
"""

import math
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from inspect import Parameter, signature
from pathlib import Path
from types import UnionType
from typing import Any, SupportsFloat, SupportsIndex, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch
from jaxtyping import AbstractArray
from torch import Tensor, nn

import kdanalysis as kd
from kdanalysis.core.partition import Partition

PACKAGE = Path(kd.__file__).parent
WRONG = (None, "x", "", 3, -1, 0, 1.5, True, math.nan, [], {}, np.zeros((2, 3)), object())
WHOLE, REAL = (int, SupportsIndex), (float, SupportsFloat)
LISTS = (Iterable, Iterator, Sequence, tuple, list)
REFUSALS = (ValueError, FileNotFoundError, FileExistsError)
MANY = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
MADE: dict[Any, Callable[[], Any]] = {  # what fits
    **dict.fromkeys(WHOLE, lambda: 2),
    **dict.fromkeys(REAL, lambda: 1.0),
    **{str: lambda: "kd", Any: object, Callable: lambda: bool, Path: lambda: Path("none.npz")},
    **{Tensor: lambda: torch.ones(4, 3), nn.Module: lambda: nn.Linear(3, 3)},
    **{kd.Loss: kd.KD, Partition: kd.Top1},
}


def kinds(hint: Any) -> tuple:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def fits(value: Any, hint: Any) -> bool:
    return any(_fits(value, kind) for kind in kinds(hint))


def _fits(value: Any, kind: Any) -> bool:
    origin, inner = get_origin(kind) or kind, get_args(kind) or (Any,)
    if kind in (Any, object):
        return True
    if kind in WHOLE:
        return type(value) is int
    if kind in REAL:
        return type(value) in (int, float) and math.isfinite(value)
    if origin in LISTS:
        fixed = origin is tuple and inner[-1] is not Ellipsis
        listed = isinstance(value, list | np.ndarray) and not fixed
        return listed and all(fits(item, inner[0]) for item in value)
    return callable(value) if origin is Callable else isinstance(value, origin)


def made(hint: Any) -> Any:
    kind = kinds(hint)[0]
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin in LISTS:
        return [made(inner[0])]
    if origin is Mapping:
        return {"a": made(inner[1])}
    if isinstance(kind, type) and issubclass(kind, AbstractArray):
        size = [3 for dim in kind.dim_str.split() if dim[0] not in "*."]
        return torch.zeros(size, dtype=torch.long if "Int" in kind.__name__ else None)
    return MADE[origin]()


def calls() -> dict[tuple[str, str], tuple]:
    """Every argument at the door: its annotation, and the others that a call needs."""
    found = {}
    for name in kd.__all__:
        called = getattr(kd, name)
        if not callable(called) or called is kd.Loss:  # which is abstract
            continue
        how = called
        if isinstance(called, type):
            how = called.__new__ if issubclass(called, tuple) else called.__init__
        hints, known = get_type_hints(how), signature(called).parameters.values()
        for one in known:
            others = [
                p for p in known if p is not one and p.default is p.empty and p.kind not in MANY
            ]
            needed = {p.name: made(hints.get(p.name, Any)) for p in others}
            found[name, one.name] = called, one, hints.get(one.name, Any), needed
    return found


def answer(called: Callable, given: Sequence, named: Mapping) -> tuple[str, bool]:
    """What is said to a call, nothing where it succeeds, and whether it is of this package."""
    try:
        called(*given, **named)
    except Exception as error:
        last = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        return str(error) or repr(error), type(error) in REFUSALS and PACKAGE in last.parents
    return "", True


CALLS = calls()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "argument"), CALLS)
def test_an_argument_is_taken_or_refused_in_a_sentence(name, argument, tmp_path, monkeypatch):
    called, one, hint, needed = CALLS[name, argument]
    if one.kind is Parameter.VAR_KEYWORD:
        return
    monkeypatch.chdir(tmp_path)
    for value in WRONG:
        given = [value] if one.kind is Parameter.VAR_POSITIONAL else []
        named = needed if given else needed | {argument: value}
        said, ours = answer(called, given, named)
        assert ours, f"{value!r} ends in {said!r}"
        assert fits(value, hint) or argument in said, f"{value!r}: {said or 'taken'}"
