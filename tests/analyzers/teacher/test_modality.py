"""Modality counts peaks and exp(entropy) at the T of least NLL; auto-k is another number."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import chi2, chi2_contingency, entropy
from sklearn.metrics import log_loss

from kdanalysis.analyzers.chance import chance_spread
from kdanalysis.analyzers.evidence import difference_of_shares
from kdanalysis.analyzers.teacher.modality import (
    LADDER,
    Modality,
    by_class,
    modality_by_class,
    modality_reading,
)
from kdanalysis.core.partition import AutoK
from tests.analyzers.readback import smallest_font
from tests.analyzers.reference import auto_k, logits, probabilities, targets


def table(teacher, target, split: int = 20, rule: AutoK | None = None) -> pd.DataFrame:
    metric = Modality(teacher.shape[-1], rule)
    metric.update(teacher[:split], target[:split])
    metric.update(teacher[split:], target[split:])
    return metric.table()


def best(teacher, target) -> float:
    classes = range(teacher.shape[-1])
    losses = [log_loss(target, probabilities(teacher, t), labels=classes) for t in LADDER]
    return LADDER[int(np.argmin(losses))]


def test_every_number_agrees_with_a_plain_count():
    teacher = logits(0, 300)
    target = torch.where(torch.arange(300) % 2 == 0, teacher.argmax(-1), targets(1, 300))
    rows = table(teacher, target)
    temperature = best(teacher, target)
    assert 0.5 < temperature < 16
    assert set(rows.temperature) == {temperature}
    p = probabilities(teacher, temperature)
    peaks = (p >= 0.1 * p.max(1, keepdims=True)).sum(1)
    modes, y = np.exp(entropy(p, axis=1)), target.numpy()
    k = np.array([auto_k(row) for row in probabilities(teacher, 4.0)])
    assert rows.target.isna().tolist() == [True, *[False] * 12]
    for row in rows.itertuples():
        own = np.full(300, True) if row.target is pd.NA else y == row.target
        assert row.n == own.sum()
        shares = [np.mean(peaks[own] == 1), np.mean(peaks[own] == 2), np.mean(peaks[own] > 2)]
        assert [row.peaks_1, row.peaks_2, row.peaks_more] == pytest.approx(shares)
        assert row.peaks_mean == pytest.approx(peaks[own].mean())
        assert row.modes_mean == pytest.approx(modes[own].mean())
        quartiles = np.quantile(modes[own], [0.25, 0.5, 0.75], method="inverted_cdf")
        bounds = [row.modes_q25, row.modes_median, row.modes_q75]
        assert bounds == pytest.approx(quartiles, rel=0.007)
        assert row.auto_k == pytest.approx(k[own].mean())


def test_equal_modes_are_counted_whatever_auto_k_says():
    teacher = torch.zeros(40, 62, dtype=torch.float64)
    teacher[:, :3] = 9.0
    teacher[:, 3:] -= torch.rand(40, 59, generator=torch.Generator().manual_seed(0)).double()
    target = torch.arange(40) % 3
    whole = table(teacher, target).iloc[0]
    assert whole.peaks_mean == 3
    assert whole.modes_median == pytest.approx(3, rel=0.02)


def test_the_rule_is_the_callers():
    rows = table(logits(0), targets(1), rule=AutoK(max_k=1, temperature=2.0))
    assert set(rows.auto_k) == {1}
    assert set(rows.auto_k_temperature) == {2.0}
    assert set(rows.auto_k_cap) == {1}


def example(shares: list[float], n: int = 100) -> pd.DataFrame:
    rows = [(pd.NA, n * len(shares), np.mean(shares)), *((i, n, s) for i, s in enumerate(shares))]
    frame = pd.DataFrame(rows, columns=["target", "n", "several"]).astype({"target": "Int64"})
    more = {"modes_mean": 1.4, "modes_q25": 1.1, "modes_median": 1.3, "modes_q75": 1.6}
    more |= {"temperature": 2.0, "auto_k": 4.2, "auto_k_temperature": 4.0, "auto_k_cap": 9}
    halves = {"peaks_2": 0.7 * frame.several, "peaks_more": 0.3 * frame.several}
    return frame.assign(peaks_1=1 - frame.several, **halves, **more, non_finite=0)


def test_the_sentence_says_whether_classes_differ_by_more_than_chance():
    sentence, number = modality_reading(example([0.1, 0.5, 0.3]), ["a", "b", "c"])
    assert "differs by class: seen (from 10.0 % of a to 50.0 % of b; chi-square" in sentence
    unnamed = modality_reading(example([0.1, 0.5, 0.3])).sentence
    assert "(from 10.0 % of class 0 to 50.0 % of class 1; chi-square" in unnamed
    assert number.startswith("30.0 % (25.1 % to 35.4 %) of samples with two peaks or more")
    assert number.endswith("GDKD-auto would choose k = 4.2 at T = 4, cap 9")
    wide = example([0.3, 0.3]).assign(modes_q25=8.956, modes_median=19.157, modes_q75=29.7612)
    said = "the middle half of all samples is spread over {} classes, exp(entropy)."
    assert said.format("9.0 to 29.8") in modality_reading(wide).sentence
    sure = wide.assign(modes_q25=1.0015, modes_median=1.003, modes_q75=1.0045)  # the lowest bin
    assert said.format("1.00") in modality_reading(sure).sentence
    assert "exp(entropy) 9.0 / 19.2 / 29.8 (quartiles)" in modality_reading(wide).number
    assert "by class: not seen" in modality_reading(example([0.3, 0.31, 0.29])).sentence
    assert "by class: cannot be tested here" in modality_reading(example([0.3])).sentence


def test_classes_of_few_samples_say_nothing_of_the_ends():
    alone = modality_reading(example([0.0, 1.0, 1.0], n=1)).sentence
    assert alone.endswith("by class: cannot be tested here (no group has two samples).")
    few = example([0.0, 0.3, 0.4, 1.0], n=100)
    few.loc[few.target.isin([0, 3]), "n"] = 9
    assert "by class: seen (from 30.0 % of class 1 to 40.0 % of class 2;" in (
        modality_reading(few).sentence
    )
    pair = modality_reading(example([0.0, 1.0], n=9)).sentence
    assert pair.endswith("by class: seen (chi-square 18, by chance below 5.56 in 95 of 100).")


def test_chance_is_that_of_scipy():
    shares, n = np.array([0.1, 0.2, 0.4]), np.array([50, 100, 20])
    counts = np.array([shares * n, (1 - shares) * n])
    expected = chi2_contingency(counts, correction=False).statistic
    verdict, text = chance_spread(shares, n)
    assert verdict == "seen"
    assert text.startswith(f"chi-square {expected:.3g}, by chance below")
    for groups in (2, 3, 9, 99):
        _, text = chance_spread(np.full(groups, 0.5), np.full(groups, 10))
        bound = float(re.search(r"below ([\d.]+)", text)[1])
        assert bound == pytest.approx(chi2.ppf(0.95, groups - 1), rel=0.025)


def test_a_long_tail_of_classes_without_a_difference_is_rarely_seen_to_differ():
    """Of a chi-square distribution's 95 % point 17 of 100 draws, of exact deals 5, lie beyond."""
    generator = np.random.default_rng(0)
    n = np.maximum(1, 200 * 0.9 ** np.arange(50)).round()
    draws = [generator.binomial(n.astype(int), 0.01) for _ in range(300)]
    found = [chance_spread(hits / n, n)[0] for hits in draws]
    assert found.count("seen") <= 24
    differing = generator.binomial(n.astype(int), np.linspace(0, 0.1, 50))
    assert chance_spread(differing / n, n)[0] == "seen"


def test_an_interval_of_shares_holds_the_truth_95_times_of_100():
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        a, b = generator.binomial(80, 0.15) / 80, generator.binomial(30, 0.4) / 30
        found = difference_of_shares(b, 30, a, 80)
        inside += found.low <= 0.25 <= found.high
    assert 0.94 <= inside / 2000 <= 0.995


def test_bars_and_lines_are_the_tables_sorted_by_class():
    frame = example([0.4, 0.1, 0.3])
    left, right = modality_by_class(frame, names=["a", "b", "c"]).axes
    assert [t.get_text() for t in left.get_yticklabels()] == ["b", "c", "a"]
    widths = [[bar.get_width() for bar in bars] for bars in left.containers]
    rows = by_class(frame)
    for column, drawn in zip(("peaks_1", "peaks_2", "peaks_more"), widths, strict=True):
        assert drawn == pytest.approx((100 * rows[column]).tolist())
    assert right.lines[0].get_xdata().tolist() == [1.3] * 3
    sure = modality_by_class(frame.assign(modes_q25=1.0015, modes_median=1.003, modes_q75=1.0045))
    assert sure.axes[1].get_xlim()[1] >= 1.1  # one bin is no spread
    (legend,) = left.figure.legends
    assert "peaks at T = 2, of least NLL" in legend.get_title().get_text()
    assert smallest_font(left.figure) >= 9


def test_of_many_classes_the_ends_are_drawn_and_said():
    figure = modality_by_class(example(np.linspace(0.1, 0.9, 100).tolist()))
    left, (legend,) = figure.axes[0], figure.legends
    shown = [int(t.get_text()) for t in left.get_yticklabels()]
    assert shown == [*range(12), *range(88, 100)]
    assert legend.get_title().get_text().endswith("\n12 classes at either end, of 100")
