"""What a truncated teacher says of itself is numpy's, and its bounds hold what the whole one is."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

import kdanalysis as kd
from kdanalysis.analyzers.teacher.known import (
    known_card,
    known_mass,
    known_mass_by_k,
    known_mass_reading,
    known_reading,
)
from tests.analyzers.readback import lines

N, C, K = 50, 30, 6
LOGITS = np.random.default_rng(0).normal(0, 2, (N, C))
TARGET = np.random.default_rng(1).integers(0, C, N)
TARGET[:20] = LOGITS[:20].argmax(1)


def teacher(k: int = K, temperatures=(1, 2)) -> kd.SparseTeacher:
    return kd.SparseTeacher.from_logits(torch.from_numpy(LOGITS), k, temperatures)


def card(target=None, k: int = K) -> pd.Series:
    one = teacher(k)
    found = known_card([one.at(t) for t in (1, 2)], target)
    return found.set_index(["temperature", "quantity"]).value


@pytest.mark.parametrize("t", [1.0, 2.0])
def test_what_needs_no_label_is_numpys_and_the_entropy_lies_between_its_bounds(t):
    found, p = card()[t], softmax(LOGITS / t, -1)
    ranked = np.sort(p)[:, ::-1]
    tail = ranked[:, K:].sum(1)
    assert (found["n"], found["tokens"]) == (N, K)
    assert found["confidence"] == pytest.approx(ranked[:, 0].mean())
    assert found["tail"] == pytest.approx(tail.mean())
    assert found["tail_largest"] == pytest.approx(tail.max())
    own = entropy(p, axis=1).mean()
    assert found["entropy_low"] < own < found["entropy_high"]
    inside = -(ranked[:, :K] * np.log(ranked[:, :K])).sum(1)
    bound = np.minimum(ranked[:, K - 2], tail)  # one of the known ones may be out of rank
    assert found["entropy_low"] == pytest.approx((inside - tail * np.log(bound)).mean())
    high = inside + tail * np.log((C - K) / tail)
    assert found["entropy_high"] == pytest.approx(high.mean())


def test_an_even_tail_has_the_upper_bound_and_a_whole_teacher_both():
    logits = torch.zeros(3, C, dtype=torch.float64)
    logits[:, :2] = 3.0
    one = kd.SparseTeacher.from_logits(logits, 2)
    found = known_card([one], None).set_index("quantity").value
    exact = entropy(softmax(logits.numpy(), -1), axis=1).mean()
    assert found["entropy_high"] == pytest.approx(exact)
    assert found["entropy_low"] < exact
    whole = card(k=C)[1.0]
    exact = entropy(softmax(LOGITS, -1), axis=1).mean()
    assert whole["entropy_low"] == pytest.approx(exact)
    assert whole["entropy_high"] == pytest.approx(exact)
    assert whole["tail"] == 0


def test_labels_are_counted_where_they_stand():
    target = TARGET.copy()
    target[-5:] = -1
    found, kept = card(torch.from_numpy(target))[1.0], slice(0, N - 5)
    log_p, order = log_softmax(LOGITS, -1)[kept], np.argsort(-LOGITS, 1)[kept, :K]
    there = (order == target[kept, None]).any(1)
    assert 20 / 45 <= there.mean() < 1
    assert found["labelled"] == N - 5
    assert found["label_known"] == pytest.approx(there.mean())
    assert found["accuracy"] == pytest.approx((order[:, 0] == target[kept]).mean())
    nll = -log_p[np.arange(N - 5), target[kept]]
    assert found["nll_low"] < nll.mean()
    ranked = np.sort(np.exp(log_p))[:, ::-1]
    bound = -np.log(np.minimum(ranked[:, K - 2], ranked[:, K:].sum(1)))
    assert found["nll_low"] == pytest.approx(np.where(there, nll, bound).mean())
    dense = kd.diagnose({"teacher_logits": LOGITS[kept], "target": target[kept]}, (1,))
    whole = dense.tables["teacher"].set_index("quantity").value
    assert found["ece_15"] == pytest.approx(whole["ece_15"])
    assert "label_known" not in card(torch.full((N,), -1))[1.0]


def test_masses_by_k_are_numpys_sums():
    one = teacher()
    table = known_mass([one.at(t) for t in (1, 2)])
    assert table.k.tolist() == 2 * list(range(1, K + 1))
    for t, rows in table.groupby("temperature"):
        mass = np.sort(softmax(LOGITS / t, -1))[:, ::-1].cumsum(1)[:, :K]
        np.testing.assert_allclose(rows["mean"], mass.mean(0), rtol=1e-9)
        for name, q in (("q25", 0.25), ("median", 0.5), ("q75", 0.75)):
            np.testing.assert_allclose(rows[name], np.quantile(mass, q, axis=0), rtol=1e-9)


def test_many_tokens_have_few_rows_and_end_with_all_of_them():
    logits = torch.randn(3, 2000, generator=torch.Generator().manual_seed(0))
    table = known_mass([kd.SparseTeacher.from_logits(logits, 1500)])
    assert len(table) <= 120
    assert table.k.iloc[-1] == 1500
    p = softmax(logits.double().numpy(), -1)
    whole = np.sort(p)[:, -1500:].sum(1).mean()
    assert table["mean"].iloc[-1] == pytest.approx(whole)


def test_without_a_vocabulary_there_is_no_upper_bound():
    ids, values = np.array([[3, 1], [0, -1]]), np.log([[0.5, 0.25], [0.75, 1e-9]])
    one = kd.SparseTeacher(ids, values)
    table = known_card([one], None)
    found = table.set_index("quantity").value
    assert np.isnan(found["entropy_high"])
    own = np.mean([-0.5 * np.log(0.5) - 0.25 * np.log(0.25), -0.75 * np.log(0.75)])
    # Of row 0 no other token exceeds its tail, a quarter; of row 1, with one token, likewise.
    assert found["entropy_low"] == pytest.approx(own + 2 * 0.25 * np.log(4) / 2)
    assert found["tokens"] == 1.5
    assert "or more nats" in known_reading(table).sentence


def test_readings_and_picture_say_what_the_tables_hold():
    one = teacher()
    ladder = [one.at(t) for t in (1, 2)]
    found, table = known_card(ladder, torch.from_numpy(TARGET)), known_mass(ladder)
    values = found.set_index(["temperature", "quantity"]).value
    said = known_reading(found)
    outside = (
        f"{values[2.0, 'tail']:.2g} of the mass is outside the 6 known tokens of a row at T = 2"
    )
    assert outside in said.sentence
    found.loc[found.quantity == "tokens", "value"] = 1.0
    assert "is outside the 1 known token of a row at T = 2" in known_reading(found).sentence
    assert f"tokens of {100 * values[1.0, 'label_known']:.1f} % of the rows" in said.sentence
    assert f"T = 1: tail {values[1.0, 'tail']:.2g}" in said.number
    enough = table[(table.temperature == 1) & (table["mean"] >= 0.9)].k
    expected = f"k = {enough.min()} at T = 1" if len(enough) else "no known k at T = 1"
    assert expected in known_mass_reading(table).sentence
    drawn = lines(known_mass_by_k(table))
    for t, rows in table.groupby("temperature"):
        label = f"T = {t:g}: {rows['mean'].iloc[-1]:.2f}"
        np.testing.assert_allclose(drawn[label][1], rows["mean"])
