"""Modality counts the k of auto-k under the true class; its map shows the counts, sorted."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from kdanalysis.analyzers.teacher.modality import Modality, modality_by_class, modality_reading
from kdanalysis.core.partition import AutoK
from tests.analyzers.readback import smallest_font
from tests.analyzers.reference import auto_k, logits, probabilities, targets


def table(teacher, target, split: int = 20, rule: AutoK | None = None) -> pd.DataFrame:
    metric = Modality(teacher.shape[-1], rule)
    metric.update(teacher[:split], target[:split])
    metric.update(teacher[split:], target[split:])
    return metric.table()


def test_counts_agree_with_the_rule_applied_one_sample_at_a_time():
    teacher, target = logits(0, 200), targets(1, 200)
    p = probabilities(teacher, 4)
    expected = Counter((int(y), auto_k(row)) for y, row in zip(target, p, strict=True))
    rows = table(teacher, target)
    assert dict(zip(zip(rows.target, rows.k, strict=True), rows["count"], strict=True)) == expected
    assert rows.k.nunique() > 2  # the control: the rule does choose different k
    sizes = Counter(target.tolist())
    assert rows.share.tolist() == pytest.approx(
        [c / sizes[y] for y, c in zip(rows.target, rows["count"], strict=True)]
    )


def test_mean_k_agrees_with_the_table():
    metric = Modality(12)
    metric.update(logits(0), targets(1))
    rows = metric.table()
    expected = (rows.k * rows.share).groupby(rows.target).sum()
    assert metric.compute()["mean"].tolist() == pytest.approx(expected.tolist())


def test_the_rule_is_the_callers():
    rows = table(logits(0), targets(1), rule=AutoK(max_k=1, temperature=1.0))
    assert set(rows.k) == {1}
    assert set(rows.temperature) == {1.0}


def example(classes: int = 10, slope: float = 0.3, top: int = 6) -> pd.DataFrame:
    """k of class i is binomial with a mean that grows with i; 20 samples each."""
    generator = np.random.default_rng(0)
    frames = []
    for target in range(classes):
        chance = min(0.2 + slope * target / classes, 1)
        k = 1 + generator.binomial(top - 1, chance, 20)
        values, counts = np.unique(k, return_counts=True)
        frames.append(pd.DataFrame({"target": target, "k": values, "count": counts}))
    frame = pd.concat(frames, ignore_index=True)
    return frame.assign(share=frame["count"] / 20, n=20, temperature=4.0, non_finite=0)


def means(frame: pd.DataFrame) -> pd.Series:
    return frame.groupby("target")[["k", "share"]].apply(lambda g: (g.k * g.share).sum().round(12))


def test_cells_dots_and_numbers_are_the_tables():
    frame = example()
    ax = modality_by_class(frame, names=[f"n{i}" for i in range(10)])
    mean = means(frame).sort_values(kind="stable")
    square = frame.pivot(index="target", columns="k", values="share").fillna(0).loc[mean.index]
    np.testing.assert_allclose(ax.collections[0].get_array(), square)
    assert ax.lines[0].get_xdata().tolist() == pytest.approx(mean.tolist())
    assert [t.get_text() for t in ax.texts] == [f"{m:.1f}" for m in mean]
    assert [t.get_text() for t in ax.get_yticklabels()] == [f"n{i}" for i in mean.index]
    assert smallest_font(ax.figure) >= 9


def test_of_many_classes_the_ends_are_drawn_and_said():
    frame = example(100)
    ax = modality_by_class(frame)
    order = means(frame).sort_values(kind="stable").index
    shown = [int(t.get_text()) for t in ax.get_yticklabels()]
    assert shown == [*order[:12], *order[-12:]]
    assert "12 classes with the smallest and 12 with the largest" in ax.get_title(loc="left")
    assert ax.get_title(loc="left").endswith("of 100")


def test_many_values_of_k_are_joined_and_lose_no_sample():
    ax = modality_by_class(example(10, slope=0.8, top=100))
    cells = ax.collections[0].get_array()
    assert cells.shape[1] <= 24
    np.testing.assert_allclose(cells.sum(1), 1)
    assert "values a cell" in ax.get_xlabel()


def test_sentence_follows_the_table():
    frame = example(10, slope=0.6)
    weight = np.repeat(frame.k.to_numpy(), frame["count"])
    group = np.repeat(frame.target.to_numpy(), frame["count"])
    inside = sum(((weight[group == g] - weight[group == g].mean()) ** 2).sum() for g in range(10))
    share = 1 - inside / (200 - 10) / weight.var(ddof=1)
    assert modality_reading(frame).number.endswith(f"{share:.0%} by class")
    assert f"explains {share:.0%} of its variance" in modality_reading(frame).sentence
    same = pd.concat([example(1).assign(target=i) for i in range(5)])
    assert modality_reading(same).sentence.startswith(
        "These data do not show that k differs by class"
    )


def test_classes_of_few_samples_do_not_differ_by_chance_alone():
    generator = np.random.default_rng(0)
    rows = pd.DataFrame(
        {"target": np.repeat(np.arange(300), 3), "k": generator.integers(1, 7, 900)}
    )
    frame = rows.value_counts().rename("count").reset_index()
    frame = frame.assign(share=frame["count"] / 3, n=3, temperature=4.0, non_finite=0)
    ratio = rows.groupby("target").k.transform("mean").var() / rows.k.var()
    assert ratio > 0.3  # the control: uncorrected, the class seems to explain a third
    assert modality_reading(frame).sentence.startswith(
        "These data do not show that k differs by class"
    )


def test_one_k_for_all_is_said_to_be_ambiguous():
    same = example(3).assign(k=1).groupby(["target", "k"], as_index=False).first().assign(share=1.0)
    assert "auto-k chooses 1 for every sample" in modality_reading(same).sentence
    assert "where none does" in modality_reading(same).sentence
    assert modality_by_class(same).get_xlabel().startswith("k chosen by auto-k per sample at T = 4")
