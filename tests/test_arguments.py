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
import pandas as pd
import pytest
import torch
from jaxtyping import AbstractArray
from torch import Tensor, nn

import kdanalysis as kd
from kdanalysis.analyzers.students.agreement import Agreement
from kdanalysis.core.partition import Partition
from kdanalysis.pages.opened import Opened
from kdanalysis.pages.study import Study
from kdanalysis.store.sources import Logits
from kdanalysis.studies.run import Run

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
    **{kd.Loss: kd.KD, Partition: kd.Top1, pd.DataFrame: pd.DataFrame},
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


INSIDE = {  # what subclasses call, or functions that return a decorator
    *("accumulate", "add", "add_sum", "analysed", "frame", "keep", "place", "add_rows"),
    *("count_rows", "step_frame", "picture", "reads", "shortens", "update"),
    *("reading", "reading_of_all"),
}


def takes_anything(called: Any) -> bool:
    """Whether it is a method with an argument that is named."""
    if not callable(called) or isinstance(called, type):
        return False
    known = list(signature(called).parameters.values())
    return any(p.kind not in MANY and p.name != "self" for p in known)


LOGITS = {"teacher_logits": 3 * torch.eye(3) - 1, "student_logits": torch.zeros(3, 3)}
GIVEN = (Opened, Study, Run, Logits, kd.SparseTeacher, Agreement)
METHODS = [
    (kind, name)
    for kind in GIVEN
    for name in dir(kind)
    if name[0] != "_" and name not in INSIDE and takes_anything(getattr(kind, name))
]


@pytest.fixture(scope="module")
def objects(tmp_path_factory) -> dict[type, Any]:
    """One of every kind that the door gives."""
    folder = tmp_path_factory.mktemp("objects")
    observed(folder)
    np.savez(folder / "logits.npz", **LOGITS)
    opened, study = kd.open(LOGITS), kd.diagnose(LOGITS)
    loaded = kd.load_logits(folder / "logits.npz")
    made = opened, study, kd.open_run(folder / "run"), loaded
    made += (kd.SparseTeacher.from_logits(LOGITS["teacher_logits"], 2),)
    return {type(one): one for one in made} | {Agreement: Agreement()}


def refuses(called: Callable, known: Sequence[Parameter], hints: Mapping[str, Any]) -> None:
    """Hold that every argument refuses all that its annotation does not say."""
    refused = 0
    for one in known:
        others = [p for p in known if p is not one and p.default is p.empty]
        needed = {p.name: made(hints[p.name]) for p in others}
        for value in (value for value in WRONG if not fits(value, hints[one.name])):
            said, ours = answer(called, (), needed | {one.name: value})
            assert ours, f"{one.name}={value!r} ends in {said!r}"
            assert one.name in said, f"{value!r}: {said or 'taken'}"
            refused += 1
    assert refused


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_a_method_refuses_what_its_annotations_do_not_say(kind, name, objects):
    called = getattr(objects[kind], name)
    known = [p for p in signature(called).parameters.values() if p.kind not in MANY]
    refuses(called, known, get_type_hints(getattr(kind, name)))


def observed(path: Path, ramp: float = 1.0, **options: Any) -> None:
    sides = {name.removesuffix("_logits"): logits for name, logits in LOGITS.items()}
    with kd.Recorder(path / "run", schedule=kd.every(1), **options) as recorder:
        recorder.observe(torch.arange(3), **sides, ramp=ramp)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda *_: kd.Setting(1), "num_classes must be from 2, as one class .*; got 1"),
        (lambda *_: kd.Setting(6, (0, -1)), r"steps must be from 0, .*; got \(0, -1\)"),
        (lambda *_: kd.Setting(6, temperature=0), "temperature must lie .* got 0"),
        (lambda *_: kd.Setting(6, k=0), "k must be from 1, as a group holds a class; got 0"),
        (lambda *_: kd.Setting(6, scales=(2, 4)), "scales must rise from 1"),
        (lambda *_: kd.Setting(6, features={"student": 0}), "features must be from 1, .*: 0"),
        (lambda *_: kd.Setting(6, rows=-1), "rows must be from 0, as they count rows; got -1"),
        (lambda *_: kd.Setting(6, counts=(3, -1)), "counts must be from 0"),
        (lambda _, path: observed(path, seed=-1), r"seed must be .* from 0 to 2\^63 - 1, got -1"),
        (lambda _, path: observed(path, ramp=-1), "ramp must be a finite number from 0, got -1"),
        (lambda *_: kd.RandomSampling(seed=2**63), "seed must be .* got 9223372036854775808"),
        (lambda *_: kd.analyzers["embedding"]({}, (8, 8), 16, seed=-1), "seed must be .* got -1"),
        (lambda of, _: of[Study].figure("mass", picture=-1), "there is no picture -1 of 'mass'"),
        (lambda *_: Agreement.draw(pd.DataFrame(), picture=-1), "has no picture -1"),
        (lambda *_: Agreement.reading("x"), "agreement: table must be .* DataFrame, got 'x'"),
        (lambda of, _: of[Opened].figure("mass", [None]), r"ax must be axes, .* got \[None\]"),
        (lambda *_: kd.Setting(6, used=("x",)), "used must name losses among ce, kd, .*; got 'x'"),
        (
            lambda *_: kd.Setting(6, ramps={"kd": (1.0, 0.5)}),
            r"ramps\['kd'\] must be 1 factors ",
        ),
        (
            lambda *_: kd.Setting(6, (0, 1), ramps={"kd": (1.0, -1)}),
            "must be 2 factors from 0,",
        ),
        (lambda of, _: of[Run].dtype("x"), "there is no column 'x' of samples: need step, epoch,"),
        (lambda of, _: of[Logits].width("target"), "has no features 'target'; it has: none"),
        (lambda of, path: of[Study].write_figures(path, "x"), "figures"),
        (lambda of, _: of[Study].figure("mass", k=3), "k is no option of this picture: it has lab"),
        (lambda of, _: of[Study].figure("mass", names="x"), "names is no option of this picture"),
        (lambda of, _: of[Study].figure("mass", labels=3), "labels must be a dict, .* got 3"),
        (lambda of, _: next(of[Run].batches(batch_size=0)), "at least one row, got batch_size=0"),
    ],
)
def test_a_number_out_of_its_range_is_told(call, says, objects, tmp_path):
    with pytest.raises(ValueError, match=says):
        call(objects, tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_batch_size_beyond_any_number_of_rows_is_all_of_them(objects):
    assert [len(batch["step"]) for batch in objects[Run].batches(batch_size=10**30)] == [3]


@pytest.mark.parametrize(("name", "bits"), [("step", 63), ("epoch", 31)])
def test_what_a_recorder_counts_is_checked_where_it_is_set(name, bits, tmp_path):
    with kd.Recorder(tmp_path / "run") as recorder:
        setattr(recorder, name, torch.tensor(7))
        for value in (*(one for one in WRONG if not fits(one, int)), -1, 2**bits):
            with pytest.raises(ValueError, match=f"Recorder: {name} must "):
                setattr(recorder, name, value)
        assert getattr(recorder, name) == 7


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("column", ["student_logits", "teacher_logits", "target", "step"])
def test_an_analyzer_refuses_what_is_no_column(column, tmp_path):
    whole = {**LOGITS, "target": torch.arange(3), "step": torch.zeros(3, dtype=torch.long)}
    for value in WRONG:
        if value is None and column in Agreement.takes:
            continue
        said, ours = answer(Agreement().update, (), whole | {column: value})
        assert ours, f"{value!r} ends in {said!r}"
        assert f"Agreement: {column} must be a torch Tensor" in said


@pytest.mark.parametrize("noun", ["suppression", "mass", "share", "sweep"])
def test_an_analyzer_refuses_what_its_annotations_do_not_say(noun):
    kind = kd.analyzers[noun]
    _, *known = signature(kind.__init__).parameters.values()
    refuses(kind, known, get_type_hints(kind.__init__))
