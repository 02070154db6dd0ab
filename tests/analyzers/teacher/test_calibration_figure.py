"""Calibration figures show the table; the T of least NLL is the one an optimizer finds."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from kdanalysis.analyzers.teacher.calibration import Calibration
from kdanalysis.analyzers.teacher.calibration_figure import (
    by_network,
    calibration_of_networks,
    calibration_over_temperature,
    least,
    scores_by_temperature,
)
from kdanalysis.analyzers.teacher.calibration_text import (
    calibration_number,
    calibration_sentence,
    networks_number,
    networks_sentence,
)
from kdanalysis.analyzers.teacher.reliability_figure import (
    reliability_by_confidence,
    reliability_of_networks,
)
from tests.analyzers.readback import legend_is_beside, legend_texts, lines, smallest_font


def sample(calibrated_at: float, n: int = 3000, c: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose labels are drawn from softmax(logits / calibrated_at)."""
    generator = np.random.default_rng(0)
    logits = 2 * calibrated_at * generator.normal(size=(n, c))
    p = softmax(logits / calibrated_at, axis=1)
    return logits, (p.cumsum(1) > generator.random((n, 1))).argmax(1)


@cache
def table(calibrated_at: float, distilled: float = 4.0) -> pd.DataFrame:
    logits, target = sample(calibrated_at)
    metric = Calibration(8, distilled)
    metric.update(torch.tensor(logits), torch.tensor(target))
    return metric.table()


def scores(frame: pd.DataFrame) -> pd.DataFrame:
    return by_network(frame)[""]


@pytest.mark.parametrize("calibrated_at", [0.6, 1.5, 5.0])
def test_the_temperature_of_least_nll_is_the_optimizers(calibrated_at):
    logits, target = sample(calibrated_at)

    def nll(log_t: float) -> float:
        return -log_softmax(logits / np.exp(log_t), axis=1)[range(len(target)), target].mean()

    found = minimize_scalar(nll, bounds=(-1.4, 2.8), method="bounded", options={"xatol": 1e-6})
    ours = least(scores(table(calibrated_at)), "nll")
    assert ours.temperature == pytest.approx(np.exp(found.x), rel=0.01)
    assert ours.value == pytest.approx(found.fun, rel=1e-3)
    assert not ours.end


def test_a_score_that_falls_to_the_end_of_the_ladder_is_said_to_lie_beyond():
    right = pd.DataFrame({"nll": [0.1, 0.2, 0.4]}, index=[0.25, 1.0, 4.0])
    assert str(least(right, "nll")) == "≤ 0.25"
    assert str(least(right.sort_values("nll", ascending=False).set_index([[1, 4, 16]]), "nll")) == (
        "≥ 16"
    )


def test_equal_scores_have_no_vertex():
    flat = pd.DataFrame({"nll": [2.0, 1.0, 1.0, 1.0, 2.0]}, index=[0.25, 0.5, 1.0, 2.0, 4.0])
    assert 0.5 <= least(flat, "nll").temperature <= 2


def test_scores_by_temperature_are_means_over_samples():
    logits, target = sample(1.5)
    p = softmax(logits / 4, axis=1)
    row = scores(table(1.5)).loc[4.0]
    assert row.confidence == pytest.approx(p.max(1).mean())
    assert row.accuracy == pytest.approx((p.argmax(1) == target).mean())
    listed = scores_by_temperature(table(1.5))
    assert listed.columns.tolist() == [
        *("temperature", "ece", "nll", "brier", "confidence", "accuracy")
    ]
    assert listed.set_index("temperature").loc[4.0].to_dict() == row.to_dict()


def test_scores_of_no_sample_are_nan():
    empty = table(1.5).assign(n=0, count=0, ece=np.nan, nll=np.nan, brier=np.nan)
    empty = empty.assign(confidence=np.nan, accuracy=np.nan)
    assert scores_by_temperature(empty).drop(columns="temperature").isna().all(axis=None)


def test_each_score_is_a_panel_with_its_minimum_ringed():
    frame = table(1.5)
    figure = calibration_over_temperature(frame)
    for ax, score in zip(figure.axes, ("ece", "nll", "brier"), strict=True):
        ((label, (x, y)),) = lines(ax).items()
        np.testing.assert_allclose(x, np.geomspace(0.25, 16, 25))
        np.testing.assert_allclose(y, frame.groupby("temperature")[score].first())
        (ring,) = [line for line in ax.lines if line.get_marker() == "o"]
        found = least(scores(frame), score)
        assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (found.temperature, found.value)
        assert label == f"T = {found}"
        verticals = {line.get_xdata()[0] for line in ax.lines if len(set(line.get_xdata())) == 1}
        assert {1, 4.0} <= verticals
        assert legend_is_beside(ax)
    assert smallest_font(figure) >= 9


NETWORKS = {"teacher": table(1.0), "$kd$": table(0.6), "flat": table(5.0)}


def test_networks_are_lines_of_one_figure():
    ax = calibration_of_networks(NETWORKS).axes[1]
    assert [text.split(":")[0] for text in legend_texts(ax)] == ["teacher", "$kd$", "flat"]
    for name, (_, y) in zip(NETWORKS, lines(ax).values(), strict=True):
        np.testing.assert_allclose(y, scores(NETWORKS[name]).nll)
    joined = pd.concat([t.assign(network=name) for name, t in NETWORKS.items()])
    for reading in (calibration_sentence, calibration_number, reliability_by_confidence):
        with pytest.raises(
            ValueError, match=r"holds \['teacher', '\$kd\$', 'flat'\]: give the rows"
        ):
            reading(joined)


@pytest.mark.parametrize("count", [2, 4, 5])
def test_networks_have_a_diagram_each_at_one_temperature(count):
    networks = {f"net{i}": table(0.5 + i / 2) for i in range(count)}
    figure = reliability_of_networks(networks, 4)
    above = [ax for ax in figure.axes if ax.get_title(loc="left")]
    assert len(figure.axes) == 2 * count
    for ax, (name, frame) in zip(above, networks.items(), strict=True):
        ece = scores(frame).ece[4.0]
        assert ax.get_title(loc="left") == f"{name}\nECE {ece:.3f}"
        seen = frame[(frame.temperature == 4) & (frame["count"] > 0)]
        assert [bar.get_height() for bar in ax.patches] == pytest.approx(seen.accuracy.tolist())
    with pytest.raises(ValueError, match="the tables have no temperature 5"):
        reliability_of_networks(networks, 5)


def test_the_best_calibrated_network_is_named():
    sentence = networks_sentence(NETWORKS)
    assert sentence.startswith("Read at T = 1 teacher is calibrated best and flat worst (ECE: ")
    for name, frame in NETWORKS.items():
        assert f"{name} {scores(frame).ece[1.0]:.3f}" in sentence
        assert f"{least(scores(frame), 'nll')} for {name}" in sentence
    assert networks_number(NETWORKS).count("NLL least at T = ") == 3


def test_a_network_without_finite_samples_has_no_line_and_is_named():
    empty = table(1.0).assign(ece=np.nan, nll=np.nan, brier=np.nan)
    networks = NETWORKS | {"lost": empty}
    assert networks_sentence(networks).endswith("Without a finite sample: lost.")
    assert len(legend_texts(calibration_of_networks(networks).axes[0])) == 3
    with pytest.raises(ValueError, match=r"no value of 'nll' for any of \['lost'\]"):
        networks_sentence({"lost": empty})


def test_the_diagram_shows_bins_gaps_and_counts():
    frame = table(1.5)
    figure = reliability_by_confidence(frame, (1, 4))
    above, below = figure.axes[0], figure.axes[2]
    rows = frame[frame.temperature == 1.0]
    seen = rows[rows["count"] > 0]
    bars = [(bar.get_x(), bar.get_height()) for bar in above.patches]
    np.testing.assert_allclose(bars, seen[["low", "accuracy"]])
    gaps = [segment[:, 1].tolist() for segment in above.collections[0].get_segments()]
    assert gaps == list(map(list, zip(seen.confidence, seen.accuracy, strict=True)))
    assert [b.get_height() for b in below.patches] == pytest.approx(
        (100 * rows["count"] / 3000).tolist()
    )
    assert above.get_title(loc="left").endswith(f"ECE {rows.ece.iloc[0]:.3f}")
    assert smallest_font(figure) >= 9


def test_bins_of_few_samples_have_hollow_dots():
    frame = table(1.5)
    ax = reliability_by_confidence(frame, (4,)).axes[0]
    dots = {line.get_markerfacecolor(): line.get_xdata() for line in ax.lines[1:]}
    counts = frame[(frame.temperature == 4) & (frame["count"] > 0)]
    assert len(dots["white"]) == (counts["count"] < 20).sum() > 0
    assert sum(map(len, dots.values())) == len(counts)


def test_the_temperatures_drawn_are_one_the_calibrating_and_the_distilling():
    titles = [ax.get_title(loc="left") for ax in reliability_by_confidence(table(1.5)).axes[:3]]
    assert [title.split("\n")[0] for title in titles] == [
        "T = 1",
        "T = 1.41 (near least NLL)",
        "T = 4 (distils)",
    ]
    with pytest.raises(ValueError, match="the table has no temperature 5"):
        reliability_by_confidence(table(1.5), (5,))


def test_sentence_follows_the_table():
    apart = calibration_sentence(table(1.0))
    assert apart.startswith("The T that distils (4) is not the T that calibrates: NLL is least at")
    same = calibration_sentence(table(4.0))
    assert same.startswith("These data do not show that the T that distils (4) differs")
    assert calibration_sentence(table(4.0, distilled=1.0)).startswith("The T that distils (1) is")
    number = calibration_number(table(1.0))
    assert number.count("at T = 4") == number.count("at T = 1,") == 2


def test_a_table_without_values_is_refused():
    empty = table(1.5).assign(nll=np.nan)
    with pytest.raises(ValueError, match="no value of 'nll'"):
        calibration_over_temperature(empty)
