"""Amplification over KD: weight over teacher mass, in the published ratios; its histogram."""

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.terms.amplification import (
    Amplification,
    amplification_over_kd,
    amplification_reading,
)
from kdanalysis.core.wording import numeral
from kdanalysis.losses import DKD, GDKD, GDKD3, KD
from tests.analyzers.readback import legend_is_beside, legend_texts, smallest_font
from tests.analyzers.reference import logits, probabilities, targets, top_mass

TEACHER, TARGET = logits(1, 300), targets(2, 300)


def table(losses, teacher=TEACHER, target=TARGET, temperatures=(1, 4)) -> pd.DataFrame:
    metric = Amplification(losses, temperatures)
    metric.update(teacher[:17], target[:17])
    metric.update(teacher[17:], target[17:])
    return metric.table()


@pytest.mark.parametrize("temperature", [1, 4])
@pytest.mark.parametrize("term", ["low_top", "low_other", "nckd"])
def test_histogram_agrees_with_numpy(term, temperature):
    rows = table({"gdkd": GDKD(3, (1, 2, 8)), "dkd": DKD(beta=6)})
    rows = rows[(rows.term == term) & (rows.temperature == temperature)]
    top = top_mass(TEACHER, 3, temperature)
    target = probabilities(TEACHER, temperature)[np.arange(300), TARGET]
    factor = {"low_top": 2 / top, "low_other": 8 / (1 - top), "nckd": 6 / (1 - target)}[term]
    counts, edges = np.histogram(np.log10(factor), bins=800, range=(-4, 36))
    assert rows["count"].tolist() == counts[counts > 0].tolist()
    np.testing.assert_allclose(rows.low, edges[:-1][counts > 0], atol=1e-9)
    np.testing.assert_allclose(rows.high, edges[1:][counts > 0], atol=1e-9)
    assert rows.share.sum() == pytest.approx(1)
    assert (rows.n == 300).all()


@pytest.mark.parametrize(("confidence", "factor"), [(0.6, 20), (0.9, 80), (0.99, 800)])
def test_beta_8_amplifies_as_the_papers_argument_says(confidence, factor):
    teacher = torch.tensor([[confidence, (1 - confidence) / 2, (1 - confidence) / 2]]).log()
    rows = table({"dkd": DKD()}, teacher.expand(20, -1), torch.zeros(20, dtype=torch.long), (1,))
    assert len(rows) == 1
    assert 10 ** rows.low.item() <= factor * (1 + 1e-4)
    assert factor * (1 - 1e-4) <= 10 ** rows.high.item()


def test_median_is_the_sample_median_within_a_bin():
    metric = Amplification({"gdkd": GDKD(3)}, (1,))
    metric.update(TEACHER, TARGET)
    exact = np.quantile(8 / (1 - top_mass(TEACHER, 3, 1)), 0.5, method="inverted_cdf")
    assert metric.compute()["median"][1].item() == pytest.approx(exact, rel=10**0.05 - 1)


def test_the_table_gives_the_median_of_the_sums_and_curves_cross_half_there():
    metric = Amplification({"gdkd": GDKD(3)}, (1, 4))
    metric.update(TEACHER, TARGET)
    ax = amplification_over_kd(metric.table())
    exact = metric.compute()["median"][1].tolist()
    for line, label, median in zip(ax.lines, legend_texts(ax), exact, strict=False):
        assert label.endswith(f": {numeral(median, 2)}")
        crossing = np.interp(50, line.get_ydata(), np.log10(line.get_xdata()))
        assert crossing == pytest.approx(np.log10(median), abs=1e-9)


def test_masses_that_underflow_still_have_a_factor():
    teacher = torch.tensor([[0.0, -60.0, -60.0], [0.0, -900.0, -900.0]]).repeat(10, 1)
    rows = table({"dkd": DKD()}, teacher, torch.zeros(20, dtype=torch.long), (1,))
    exact = np.log10(8) + 60 / np.log(10) - np.log10(2)
    assert rows.low.iloc[0] <= exact <= rows.high.iloc[0]
    assert (rows.low.iloc[1], rows.high.iloc[1]) == (36, np.inf)


def test_terms_without_weight_or_name_have_no_factor():
    rows = table({"a": GDKD(3, (1, 0, 8)), "b": GDKD3(4)})
    assert set(zip(rows.loss, rows.term, strict=True)) == {
        ("a", "low_other"),
        ("b", "low_top"),
        ("b", "low_other"),
    }


def test_a_loss_without_groups_is_refused():
    with pytest.raises(ValueError, match=r"KD\(.*\) has no partition"):
        Amplification({"kd": KD()})


def example(spread: float = 1.5) -> pd.DataFrame:
    """Factors 10^(1 + spread * x) at T = 1 and 10^1 at T = 4, in bins of 0.05."""
    generator = np.random.default_rng(0)
    frames = []
    for temperature, values in (
        (1.0, 1 + spread * np.abs(generator.normal(size=2000))),
        (4.0, 1 + 0.1 * generator.random(2000)),
    ):
        counts, edges = np.histogram(values, bins=800, range=(-4, 36))
        rows = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": counts})
        frames.append(rows[rows["count"] > 0].assign(temperature=temperature, n=2000))
    whole = pd.concat(frames, ignore_index=True)
    return whole.assign(
        loss="gdkd", term="low_other", share=whole["count"] / 2000, distilled=4.0, non_finite=0
    )


def test_curves_are_the_shares_up_to_every_factor_the_training_bold():
    ax = amplification_over_kd(example())
    cold, warm = ax.lines[:2]
    values = np.abs(np.random.default_rng(0).normal(size=2000))
    for place in (5, 20):
        edge = cold.get_xdata()[place]
        expected = 100 * np.mean(1 + 1.5 * values < np.log10(edge))
        assert cold.get_ydata()[place] == pytest.approx(expected)
    for line in (cold, warm):  # also of samples that are all alike
        assert line.get_ydata()[[0, -1]].tolist() == pytest.approx([0, 100])
        assert line.get_xdata()[0] < ax.get_xlim()[0] < ax.get_xlim()[1] < line.get_xdata()[-1]
    assert warm.get_linewidth() > cold.get_linewidth()  # T = 4 was trained
    assert ax.get_xlim() == (0.5, 1e6)
    assert legend_texts(ax)[0].startswith("T = 1: ")
    assert smallest_font(ax.figure) >= 9
    assert legend_is_beside(ax)


def test_median_and_tail_are_those_of_the_samples():
    number = amplification_reading(example()).number
    exact = 10 ** np.median(1 + 1.5 * np.abs(np.random.default_rng(0).normal(size=2000)))
    median = float(number.split("median ")[1].split(",")[0])
    assert median == pytest.approx(exact, rel=0.15)
    assert number.count("T = ") == 2


def test_values_beyond_the_axis_are_stated():
    far = example(spread=4.0)
    past = far[(far.temperature == 1) & (far.low >= 6 - 1e-9)].share.sum()
    assert f"(beyond: {100 * past:.0f} % at T = 1)" in amplification_over_kd(far).get_xlabel()
    assert "beyond" not in amplification_over_kd(example(0.5)).get_xlabel()


def test_sentence_leads_with_the_trainings_temperature():
    sentence = amplification_reading(example()).sentence
    assert sentence.startswith("At T = 4 gdkd weighs low_other 11 times as plain KD does")
    assert "; the median is " in sentence
    assert sentence.endswith(" at T = 1.")
    alone = amplification_reading(example().query("temperature == 1")).sentence
    assert alone.startswith("At T = 1 gdkd")
    assert "the median is" not in alone


def test_the_trainings_temperature_is_added():
    metric = Amplification({"dkd": DKD()}, (1, 8), distilled=3)
    metric.update(torch.randn(5, 6), torch.arange(5))
    assert metric.table().temperature.unique().tolist() == [1, 3, 8]
    assert set(metric.table().distilled) == {3}


def test_factors_beyond_the_histogram_are_said_to_be():
    rows = {"low": [36.0, 1.0], "high": [np.inf, 1.05], "temperature": [1.0, 4.0]}
    far = pd.DataFrame(rows).assign(
        loss="gdkd", term="low_other", count=9, share=1.0, n=9, distilled=1.0, non_finite=0
    )
    assert "median above 10³⁶" in amplification_reading(far).number
    sentence = amplification_reading(far).sentence
    assert "At T = 1 gdkd weighs low_other above 10³⁶ times" in sentence
    assert "above 10³⁶ times in 1 of 100 (9 samples alone)" in sentence
    assert "(" not in amplification_reading(far.assign(n=100)).sentence
    assert "above above" not in sentence + amplification_reading(far).number


def test_an_unknown_loss_is_refused_with_what_there_is():
    with pytest.raises(ValueError, match=r"no rows for loss 'x'.*\('gdkd', 'low_other'\)"):
        amplification_over_kd(example(), loss="x")


def test_a_picture_for_each_loss():
    of_dkd, of_gdkd = Amplification.pictures
    assert of_gdkd.of(example()).get_title(loc="left") == "gdkd: low_other"
    with pytest.raises(ValueError, match="no rows for loss 'dkd'"):
        of_dkd.of(example())
