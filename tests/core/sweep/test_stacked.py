"""Gradients of all samples laid end to end, against autograd on the losses themselves."""

from math import inf

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.sweep.gram import CE, TermGram, page_ks
from kdanalysis.core.compiled import expecting
from kdanalysis.core.sweep.stacked import STACKED, stacked
from kdanalysis.studies.sweeps import sweep
from tests.analyzers.reference import autograd_gradients, logits

N, C = 30, 7
WEIGHTS = (0.5, 2.0, 8.0)
TARGET = torch.arange(N) % C
TERMS = ("high", "low_top", "low_other")


def sides(steep: bool = False):
    student, teacher = logits(0, N, C), logits(1, N, C)
    if steep:  # three samples beyond what powers of probabilities can hold
        student[:3] *= 60
        teacher[1:4] *= 60
    return student, teacher


def gradients(student, teacher, k, temperature) -> dict[str, np.ndarray]:
    found = autograd_gradients(student, teacher, teacher.argmax(1), k, temperature)
    leaf = student.clone().requires_grad_()
    torch.nn.functional.cross_entropy(leaf, TARGET, reduction="sum").backward()
    return {name: found[name].ravel() for name in (*TERMS, "kd")} | {
        "ce": leaf.grad.numpy().ravel()
    }


def filled(student, teacher, temperatures=(1, 4), splits=(13,), target=TARGET, ks="all"):
    analyzer = TermGram(C, temperatures, ks, WEIGHTS)
    for rows in np.split(np.arange(N), splits):
        analyzer.update(student[rows], teacher[rows], None if target is None else target[rows])
    return analyzer


def written_out(student, teacher, k, temperature) -> dict[str, np.ndarray]:
    """The closed forms in extended precision, whose range holds e to the power of -11 000."""
    s, t = (np.asarray(side, np.longdouble) for side in (student, teacher))
    p, q, u = (np.exp(x - x.max(1, keepdims=True)) for x in (t / temperature, s / temperature, s))
    p, q, u = (x / x.sum(1, keepdims=True) for x in (p, q, u))
    top = np.zeros(t.shape, bool)
    np.put_along_axis(top, (-t).argsort(1, kind="stable")[:, :k], True, 1)
    inside = {
        side: [np.where(g, x, 0) for x in (q, p)]
        for side, g in (("low_top", top), ("low_other", ~top))
    }
    mass = {side: [x.sum(1, keepdims=True) for x in both] for side, both in inside.items()}
    (q_top, p_top), (q_other, p_other) = mass.values()
    parts = {n: (q / mass[n][0], p / mass[n][1]) for n, (q, p) in inside.items()}
    d = np.where(p_top > 0.5, p_other - q_other, q_top - p_top)
    found = {"high": d * (parts["low_top"][0] - parts["low_other"][0])}
    found |= {name: a - b for name, (a, b) in parts.items()} | {"kd": q - p}
    found = {name: temperature * x for name, x in found.items()}
    return {n: x.ravel() for n, x in found.items()} | {"ce": (u - np.eye(C)[TARGET]).ravel()}


@pytest.mark.parametrize("steep", [False, True])
@pytest.mark.parametrize("temperature", [1, 4])
@pytest.mark.parametrize("k", [1, 3, 6])
@pytest.mark.parametrize("expected", [inf, 1], ids=["loops", "arrays"])
def test_every_product_is_that_of_the_gradients(k, temperature, steep, expected):
    student, teacher = sides(steep)
    with expecting(expected):
        row = filled(student, teacher).gram().set_index(["temperature", "k"]).loc[(temperature, k)]
    g = (written_out if steep else gradients)(student, teacher, k, temperature)
    for name, value in row.drop("n").items():
        kind, rest = name.split("_", 1)
        a, b = (rest, rest) if kind == "square" else split(rest)
        assert value == pytest.approx(float(g[a] @ g[b]) / N, rel=1e-8, abs=1e-12), name


def test_a_few_k_have_the_products_that_they_have_among_all():
    every, few = filled(*sides()).gram(), filled(*sides(), ks=(1, 2, 5)).gram()
    every = every[every.k.isin((1, 2, 5))].reset_index(drop=True)
    pd.testing.assert_frame_equal(few, every, rtol=1e-12)


def split(names: str) -> tuple[str, str]:
    """Two terms joined by an underscore, which names have themselves."""
    known = (*TERMS, "kd", "ce")
    return next((a, b) for a in known for b in known if f"{a}_{b}" == names)


@pytest.mark.parametrize("temperature", [1, 4])
@pytest.mark.parametrize("k", [2, 5])
def test_the_sweep_has_norms_shares_and_cosine_of_the_stacked_gradients(k, temperature):
    student, teacher = sides()
    frame = sweep(student, teacher, (1, 4), weights=WEIGHTS).set_index(["temperature", "k"])
    row, g = frame.loc[(temperature, k)], gradients(student, teacher, k, temperature)
    weighted = [w * g[name] for w, name in zip(WEIGHTS, TERMS, strict=True)]
    total, norm = sum(weighted), np.linalg.norm
    expected = {f"rms_{name}": norm(g[name]) / N**0.5 for name in (*TERMS, "kd")}
    expected["rms_total"] = norm(total) / N**0.5
    expected["cosine_batch_total_kd"] = total @ g["kd"] / norm(total) / norm(g["kd"])
    whole = sum(map(norm, weighted))
    expected |= {
        f"share_batch_{name}": norm(part) / whole
        for name, part in zip(TERMS, weighted, strict=True)
    }
    assert expected.keys() == set(STACKED)
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=1e-9), name


def test_without_all_labels_nothing_is_said_of_cross_entropy():
    student, teacher = sides()
    analyzer = filled(student, teacher, splits=(), target=None)
    assert analyzer.gram()[[*CE, "square_ce"]].isna().all().all()
    analyzer.update(student, teacher, TARGET)
    assert analyzer.gram()[[*CE, "square_ce"]].isna().all().all()
    assert analyzer.gram().n.eq(2 * N).all()


def test_halves_merge_into_the_whole():
    student, teacher = sides()
    whole, half, other = (TermGram(C) for _ in range(3))
    for analyzer, rows in ((whole, slice(None)), (half, slice(11)), (other, slice(11, None))):
        analyzer.update(student[rows], teacher[rows], TARGET[rows])
    half.merge_state(other)
    np.testing.assert_allclose(half.gram(), whole.gram(), rtol=1e-12, atol=1e-14)


def test_a_gradient_of_zero_has_no_cosine_and_no_share():
    teacher = sides()[1]
    frame = sweep(teacher, teacher, (4,), (2,))
    assert frame[["cosine_batch_total_kd", "share_batch_high"]].isna().all().all()
    assert frame[["rms_kd", "rms_total"]].eq(0).all().all()


def test_rounding_leaves_no_root_of_a_negative_number():
    opposite = {"square_high": 1.0, "square_low_top": 1.0, "inner_high_low_top": -1.0 - 1e-15}
    names = ("square_low_other", "square_kd", "inner_high_low_other", "inner_high_kd")
    zeros = dict.fromkeys((*names, "inner_low_top_kd", "inner_low_other_kd"), 0.0)
    means = {name: torch.tensor(value) for name, value in (opposite | zeros).items()}
    assert stacked(means, (1, 1, 0))["rms_total"] == 0


def test_a_page_holds_a_hundred_k_at_most():
    assert page_ks(101) == tuple(range(1, 101))
    many = page_ks(152_000)
    assert many[:20] == tuple(range(1, 21))
    assert many[-1] == 151_999
    assert 80 <= len(many) <= 101
    assert list(many) == sorted(set(many))
