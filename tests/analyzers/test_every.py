"""Of every analyzer: what must not change its table, and what no sentence of it may hold."""

import re
import warnings
from functools import cache
from traceback import extract_tb

import pandas as pd
import pytest
import torch

from kdanalysis.analyzers import load_nouns
from kdanalysis.losses import DKD, GDKD, KD
from tests.analyzers.every import (
    ANALYZERS,
    LOSSES,
    C,
    N,
    columns,
    fed,
    made,
    names_of,
    parameters_of,
    taken,
)

GIVEN = columns()
SIDES = [name for name in GIVEN if name.endswith(("_logits", "_regions"))]
OF_LOGITS = [name for name in ANALYZERS if set(names_of(made(name))) & set(SIDES)]
CLASSES = ("target", "class", "given")  # columns that hold a class
READ_FROM = {"layer_conflict": "layers", "ladder_training": "ladder"}  # nouns of others' tables
NUMBERS = re.compile(r"(?<![\w])[-+]?(nan|inf)(?![\w])")  # as Python writes them


@cache
def table_of(name: str) -> pd.DataFrame:
    """The table of ``GIVEN``, made in the process that compares with it."""
    return fed(name, GIVEN).table()


def same(table: pd.DataFrame, other: pd.DataFrame, **kinds: float) -> None:
    pd.testing.assert_frame_equal(table, other, rtol=1e-6, atol=1e-7, **kinds)


def test_all_registered_analyzers_are_looked_at():
    assert len(ANALYZERS) >= 35
    assert len(OF_LOGITS) >= 31


@pytest.mark.parametrize("name", OF_LOGITS)
def test_a_constant_on_all_logits_of_a_sample_changes_nothing(name):
    generator = torch.Generator().manual_seed(9)
    moved = {
        side: GIVEN[side]
        + 3 * torch.randn(N, 1, *GIVEN[side].shape[2:], dtype=torch.float64, generator=generator)
        for side in SIDES
    }
    table, drop = fed(name, GIVEN | moved).table(), {"value": ["logit_mean"]}.get(name, [])
    same(table.drop(columns=drop), table_of(name).drop(columns=drop))


@pytest.mark.parametrize("name", OF_LOGITS)
def test_classes_in_another_order_are_the_same_classes(name):
    order = torch.randperm(C, generator=torch.Generator().manual_seed(9))
    given = GIVEN | {side: GIVEN[side][:, order] for side in SIDES}
    table = fed(name, given | {"target": order.argsort()[GIVEN["target"]]}).table()
    there = [column for column in CLASSES if column in table]
    for column in there:
        named = table[column].map(lambda c: c if pd.isna(c) else int(order[int(c)]))
        table[column] = named.astype(table_of(name)[column].dtype)
    keys = [*there, *(c for c in table if table[c].dtype.kind not in "fi" and c not in there)]
    keys += [c for c in ("temperature", "scale", "k", "step") if c in table]
    tables = table, table_of(name)
    if there:
        tables = [x.sort_values(keys, kind="stable", ignore_index=True) for x in tables]
    same(*tables)


@pytest.mark.parametrize("name", OF_LOGITS)
def test_the_dtype_of_logits_does_not_matter_where_it_holds_them(name):
    generator = torch.Generator().manual_seed(9)
    coarse = {}
    for side in SIDES:  # quarters below 16, all different: bfloat16 has them
        shape = GIVEN[side].movedim(1, -1).shape
        rows = torch.rand(*shape[:-1], 64, generator=generator).argsort(-1)[..., :C]
        coarse[side] = rows.movedim(-1, 1).double() / 4
    table = fed(name, GIVEN | coarse).table()
    for dtype in (torch.float32, torch.bfloat16):
        other = fed(name, GIVEN | {side: x.to(dtype) for side, x in coarse.items()}).table()
        same(other, table)


@pytest.mark.parametrize("name", ANALYZERS)
def test_the_outputs_of_a_network_in_training_are_looked_at_as_numbers(name):
    learnt = {
        key: tuple(x.clone().requires_grad_() for x in value)
        if isinstance(value, tuple)
        else value.clone().requires_grad_(value.is_floating_point())
        for key, value in GIVEN.items()
    }  # fmt: skip
    analyzer = fed(name, learnt)
    assert not any(state.requires_grad for state in analyzer.states.values())
    same(analyzer.table(), table_of(name))


AT_ONE = ("spread", "nckd")  # which group samples by probabilities at T = 1
SCALED = [
    name
    for name in OF_LOGITS
    if {"temperature", "temperatures", "loss", "losses"} & parameters_of(ANALYZERS[name]).keys()
    and name not in AT_ONE
]
ONCE = ("norm", "rms", "logit", "temperature", "distilled", "calibrated")  # and squared: values
ALSO = {"magnitude": {"mean": 1, "std": 1}, "value": {"std": 2}, "teacher": {"value": 0}}


@pytest.mark.parametrize("name", SCALED)
def test_logits_and_temperatures_scaled_together_change_the_factor_of_t_alone(name):
    def at(s: float) -> pd.DataFrame:
        losses = {
            "kd": KD(4 * s),
            "dkd": DKD(temperature=4 * s),
            "gdkd": GDKD(3, temperature=4 * s),
        }
        if ANALYZERS[name].__name__ in LOSSES:
            losses.pop("kd")
        settings = {"temperature": 4 * s, "temperatures": (s, 4 * s), "distilled": 4 * s}
        settings |= {"loss": DKD(temperature=4 * s), "losses": losses}
        return fed(name, GIVEN | {side: s * GIVEN[side] for side in SIDES}, **settings).table()

    table, other = at(1.0), at(2.0)
    if name == "value":  # the entropy of the student is at T = 1
        table, other = (x.drop(columns="student_entropy") for x in (table, other))
    if name == "magnitude":  # quartiles are good to a bin
        table, other = (x.drop(columns=["q25", "median", "q75"]) for x in (table, other))
    for column in table.columns[[kind.kind == "f" for kind in table.dtypes]]:
        power = 2 if column.startswith("value") else int(column.startswith(ONCE))
        other[column] /= 2 ** ALSO.get(name, {}).get(column, power)
    same(other, table)


def equal_sides() -> dict:
    given = GIVEN | {name: GIVEN[name.replace("student", "teacher")] for name in SIDES}
    given["stacked_logits"] = GIVEN["teacher_logits"].unsqueeze(-1).expand(-1, -1, 3)
    given |= {name: torch.zeros_like(GIVEN[name]) for name in ("gram", "covariance")}
    return given | {
        "connected": tuple(x[:, :w] for x, w in zip(GIVEN["teacher_features"], (4, 6), strict=True))
    }


def all_right() -> dict:
    target, regions = GIVEN["teacher_logits"].argmax(-1), GIVEN["teacher_regions"].clone()
    regions[torch.arange(N), target] += 50
    return GIVEN | {"target": target, "teacher_regions": regions}


def constant() -> dict:
    return {
        name: tuple(torch.ones_like(x) for x in value)
        if isinstance(value, tuple)
        else torch.ones_like(value) if value.is_floating_point() else value
        for name, value in GIVEN.items()
    }  # fmt: skip


def at_step(step: int, rows: slice) -> dict:
    given = {name: taken(value, rows) for name, value in GIVEN.items()}
    return given | {"step": torch.full_like(given["step"], step),
                    "epoch": torch.full_like(given["epoch"], 6)}  # fmt: skip


ONE = {"steps": (0,), "epochs": (6,)}
CASES = {
    "one row": (at_step(0, slice(1)), ONE),
    "one row, and steps without any": (at_step(10, slice(1)), {}),
    "student = teacher": (equal_sides(), {}),
    "one class present": (GIVEN | {"target": torch.zeros_like(GIVEN["target"])}, {}),
    "all right": (all_right(), {}),
    "constant logits": (constant(), {}),
    "a single step": (at_step(0, slice(None)), ONE),
}


@pytest.mark.parametrize("case", CASES)
def test_no_sentence_holds_nan_or_inf_and_nothing_warns(case):
    given, settings = CASES[case]
    refused = []
    for name, noun in load_nouns().items():
        source = READ_FROM.get(name, name)
        if source not in ANALYZERS or noun.reading is None:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            table = fed(source, given, **settings).table()
            try:
                told = [noun.reading(table)]
                if noun.reading_of_all:
                    told.append(noun.reading_of_all({"kd": table, "dkd": table}))
            except ValueError as refusal:  # one of ours, such as that of an empty table
                refused.append((name, extract_tb(refusal.__traceback__)[-1].filename))
                told = [(str(refusal), "")]
        for sentence, number in told:
            words = f"{sentence} {number}".replace("NaN or inf", "")
            assert not NUMBERS.search(words), (name, words)
    assert all("kdanalysis" in where for _, where in refused), refused
    if case in ("one class present", "all right", "a single step"):
        of_two_classes = ["embedding"] * (case == "one class present")
        assert [name for name, _ in refused] == of_two_classes
