"""Arguments are what annotations say: what fits arrives as plain Python, the rest is named."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, SupportsIndex

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from kdanalysis.core.arguments import fit, fitted, typed

Real = int | float
FITS = [
    (np.int64(3), int, 3),
    (np.int64(3), Real, 3),
    (np.float32(0.5), float, 0.5),
    (np.array(2), SupportsIndex, 2),
    (torch.tensor(2), Real, 2),
    (torch.tensor(0.5), Real, 0.5),
    (2, float, 2.0),
    (np.bool_(True), bool, True),
    (np.array([1, 8]), Sequence[int], (1, 8)),
    ((x for x in (1, 2)), Iterable[Real], (1, 2)),
    ([1, np.int64(2)], tuple[int, ...], (1, 2)),
    ((1, "mass"), Iterable[Real | str] | str, (1, "mass")),
    ({"a": np.int64(1)}, Mapping[str, int] | None, {"a": 1}),
    (Path("run"), str | Path, Path("run")),
    (None, Mapping[str, Any] | None, None),
]


@pytest.mark.parametrize(("value", "hint", "plain"), FITS, ids=[str(one[1]) for one in FITS])
def test_what_fits_arrives_as_plain_python(value, hint, plain):
    found = fitted("it", value, hint)
    assert (repr(found), type(found)) == (repr(plain), type(plain))


REFUSED = [
    (True, int, "it must be a whole number, got True"),
    (np.True_, Real, "it must be a finite number, got a numpy bool of bool () np.True_"),
    (2.0, SupportsIndex, "it must be a whole number, got 2.0"),
    ("4", Real | None, "it must be a finite number or None, got '4'"),
    (float("inf"), float, "it must be a finite number, got inf"),
    (np.ones(1), float, "it must be a finite number, got a numpy ndarray of float64 (1,)"),
    ("124", Sequence[int], "it must be a list or tuple, each entry a whole number, got '124'"),
    ({"a": 1}, Iterable[str], "it must be a list or tuple, each entry text, got {'a': 1}"),
    ((1, "x"), Sequence[Real], "it[1] must be a finite number, got 'x'"),
    ((1, 2, 3), tuple[int, int], "it must be 2 values, each a whole number, got (1, 2, 3)"),
    ({"kd": 3}, Mapping[str, str], "it['kd'] must be text, got 3"),
    ({3: "kd"}, Mapping[str, str], "it's key 3 must be text, got 3"),
    (3, Callable[..., Any] | None, "it must be a function or None, got 3"),
    (3, str | Path, "it must be a path, got 3"),
    (3, nn.Module, "it must be a torch Module, got 3"),
    (
        np.zeros((2, 3)),
        Float[Tensor, "n *l c"],
        "it must be a torch Tensor of floating numbers (n, ..., c), got a numpy ndarray of float64 "
        "(2, 3)",
    ),
    (
        nn.Parameter(torch.tensor(4.0)),
        Real,
        "it must be a finite number, got a torch Parameter of torch.float32 () that requires a "
        "gradient: kept as a plain number it would never learn",
    ),
]


@pytest.mark.parametrize(("value", "hint", "message"), REFUSED, ids=[x[2][:40] for x in REFUSED])
def test_what_does_not_fit_is_named_with_what_is_needed(value, hint, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        fitted("it", value, hint)


def test_a_stream_of_batches_is_left_for_the_function_to_read():
    read = []
    stream = (read.append(one) or (one,) for one in range(3))
    assert fitted("batches", stream, Iterable[Sequence[Tensor]]) is stream
    assert read == []


def test_a_list_that_fits_is_handed_on_itself():
    names = ["cat", "dog"]
    assert fitted("classes", names, Sequence[str] | None) is names


def test_functions_classes_and_named_tuples_are_checked_as_they_are_called():
    @typed(advice={"n": ": count them"})
    def every(n: int, *more: str, **options: float) -> tuple:
        return n, more, options

    class Pair(NamedTuple):
        first: int

    assert every(np.int64(2), "a", b=1) == (2, ("a",), {"b": 1.0})
    assert typed(Pair)(np.int64(2)) == (2,)
    for call, message in (
        (lambda: every("2"), "every: n must be a whole number, got '2': count them"),
        (lambda: every(2, 3), r"every: more\[0\] must be text, got 3"),
        (lambda: every(2, b="x"), r"every: options\['b'\] must be a finite number, got 'x'"),
        (lambda: Pair("x"), "Pair: first must be a whole number, got 'x'"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match=r"missing 1 required positional argument: 'n'"):
        every()


class Reads(Protocol):
    def read(self) -> str: ...


def test_what_can_only_be_told_by_reading_the_code_passes():
    assert fit(3, Reads) == 3


class Base:
    def __init__(self, size: int) -> None:
        self.size = size


def test_the_class_that_is_made_is_named():
    class Made(typed(Base)):
        pass

    with pytest.raises(ValueError, match=r"^Made: size must be a whole number"):
        Made("x")
