"""The amplification histogram keeps every sample and the sentence names the tail."""

import numpy as np
import pandas as pd
import pytest

from kdanalysis.analyzers.terms.amplification_figure import (
    amplification_number,
    amplification_over_kd,
    amplification_sentence,
)
from tests.analyzers.readback import legend_is_beside, legend_texts, smallest_font


def table(spread: float = 1.5) -> pd.DataFrame:
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
    return whole.assign(loss="gdkd", term="low_other", share=whole["count"] / 2000, non_finite=0)


def test_curves_hold_all_samples_in_at_most_sixty_bins():
    ax = amplification_over_kd(table())
    cold, warm = ax.patches
    for patch in (cold, warm):
        values, edges, _ = patch.get_data()
        assert values.sum() == pytest.approx(100)
        assert len(values) <= 60
    rows = table().query("temperature == 1")
    values, edges, _ = cold.get_data()
    below = rows[rows.high <= np.log10(edges[3]) + 1e-9].share.sum()
    assert values[:3].sum() == pytest.approx(100 * below)
    assert ax.get_xscale() == "log"
    assert legend_texts(ax)[0].startswith("T = 1: ")
    assert smallest_font(ax.figure) >= 9
    assert legend_is_beside(ax)


def test_median_and_tail_are_those_of_the_samples():
    number = amplification_number(table())
    exact = 10 ** np.median(1 + 1.5 * np.abs(np.random.default_rng(0).normal(size=2000)))
    median = float(number.split("median ")[1].split(",")[0])
    assert median == pytest.approx(exact, rel=0.15)
    assert number.count("T = ") == 2


def test_values_beyond_the_histogram_are_stated():
    far = table()
    far.loc[0, ["low", "high", "count"]] = [36.0, np.inf, 7]
    assert "7 values beyond" in amplification_over_kd(far).get_xlabel()


def test_sentence_follows_the_table():
    assert "with a long tail" in amplification_sentence(table())
    assert amplification_sentence(table(spread=0.1)).startswith("These data do not show")
    assert "median sample" in amplification_sentence(table().query("temperature == 1"))


def test_factors_beyond_the_histogram_are_said_to_be():
    rows = {"low": [36.0, 1.0], "high": [np.inf, 1.05], "temperature": [1.0, 4.0]}
    far = pd.DataFrame(rows).assign(
        loss="gdkd", term="low_other", count=9, share=1.0, n=9, non_finite=0
    )
    assert "median above 1e36" in amplification_number(far)
    assert "above 1e36 times as loud as plain KD at T = 1" in amplification_sentence(far)


def test_an_unknown_loss_is_refused_with_what_there_is():
    with pytest.raises(ValueError, match=r"no rows for loss 'x'.*\('gdkd', 'low_other'\)"):
        amplification_over_kd(table(), loss="x")
