"""The modality map is the table's, its rows are sorted, and its choice of classes is stated."""

import numpy as np
import pandas as pd
import pytest

from kdanalysis.analyzers.teacher.modality_figure import (
    modality_by_class,
    modality_number,
    modality_sentence,
)
from tests.analyzers.readback import smallest_font


def table(classes: int = 10, slope: float = 0.3, top: int = 6) -> pd.DataFrame:
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
    frame = table()
    ax = modality_by_class(frame, names=[f"n{i}" for i in range(10)])
    mean = means(frame).sort_values(kind="stable")
    square = frame.pivot(index="target", columns="k", values="share").fillna(0).loc[mean.index]
    np.testing.assert_allclose(ax.collections[0].get_array(), square)
    assert ax.lines[0].get_xdata().tolist() == pytest.approx(mean.tolist())
    assert [t.get_text() for t in ax.texts] == [f"{m:.1f}" for m in mean]
    assert [t.get_text() for t in ax.get_yticklabels()] == [f"n{i}" for i in mean.index]
    assert smallest_font(ax.figure) >= 9


def test_of_many_classes_the_ends_are_drawn_and_said():
    frame = table(100)
    ax = modality_by_class(frame)
    order = means(frame).sort_values(kind="stable").index
    shown = [int(t.get_text()) for t in ax.get_yticklabels()]
    assert shown == [*order[:12], *order[-12:]]
    assert "12 classes with the smallest and 12 with the largest" in ax.get_title(loc="left")
    assert ax.get_title(loc="left").endswith("of 100")


def test_many_values_of_k_are_joined_and_lose_no_sample():
    ax = modality_by_class(table(10, slope=0.8, top=100))
    cells = ax.collections[0].get_array()
    assert cells.shape[1] <= 24
    np.testing.assert_allclose(cells.sum(1), 1)
    assert "values a cell" in ax.get_xlabel()


def test_sentence_follows_the_table():
    frame = table(10, slope=0.6)
    weight = np.repeat(frame.k.to_numpy(), frame["count"])
    group = np.repeat(frame.target.to_numpy(), frame["count"])
    inside = sum(((weight[group == g] - weight[group == g].mean()) ** 2).sum() for g in range(10))
    share = 1 - inside / (200 - 10) / weight.var(ddof=1)
    assert modality_number(frame).endswith(f"{share:.0%} by class")
    assert f"explains {share:.0%} of its variance" in modality_sentence(frame)
    same = pd.concat([table(1).assign(target=i) for i in range(5)])
    assert modality_sentence(same).startswith("These data do not show that k differs by class")


def test_classes_of_few_samples_do_not_differ_by_chance_alone():
    generator = np.random.default_rng(0)
    rows = pd.DataFrame(
        {"target": np.repeat(np.arange(300), 3), "k": generator.integers(1, 7, 900)}
    )
    frame = rows.value_counts().rename("count").reset_index()
    frame = frame.assign(share=frame["count"] / 3, n=3, temperature=4.0, non_finite=0)
    ratio = rows.groupby("target").k.transform("mean").var() / rows.k.var()
    assert ratio > 0.3  # the control: uncorrected, the class seems to explain a third
    assert modality_sentence(frame).startswith("These data do not show that k differs by class")


def test_one_k_for_all_is_said_to_be_ambiguous():
    same = table(3).assign(k=1).groupby(["target", "k"], as_index=False).first().assign(share=1.0)
    assert "auto-k chooses 1 for every sample" in modality_sentence(same)
    assert "where none does" in modality_sentence(same)
    assert modality_by_class(same).get_xlabel().startswith("k chosen by auto-k per sample at T = 4")
