"""Calibration agrees with scikit-learn and a plain loop; its figures and readings are its own."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from kdanalysis.analyzers.evidence import SEEN, UNSEEN, UNTESTED
from kdanalysis.analyzers.student_t import wide
from kdanalysis.analyzers.teacher.calibration import (
    LADDER,
    Calibration,
    by_network,
    least,
    scores_by_temperature,
)
from kdanalysis.analyzers.teacher.calibration_pictures import (
    calibration_of_networks,
    calibration_over_temperature,
    reliability_by_confidence,
    reliability_of_networks,
)
from kdanalysis.analyzers.teacher.calibration_reading import (
    bin_intervals,
    calibration_reading,
    networks_reading,
)
from kdanalysis.analyzers.teacher.card import TeacherDistribution
from kdanalysis.analyzers.teacher.reliability import power_sums
from tests.analyzers.readback import legend_is_beside, legend_texts, lines, smallest_font
from tests.analyzers.reference import logits, probabilities, targets

TEACHER = logits(0, 400)
HALF_RIGHT = torch.where(torch.arange(400) % 2 == 0, TEACHER.argmax(-1), targets(1, 400))


def filled(metric, sides=TEACHER, target=HALF_RIGHT, split: int = 150):
    metric.update(sides[:split], target[:split])
    metric.update(sides[split:], target[split:])
    return metric


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return filled(Calibration(12)).table()


def at(table: pd.DataFrame, temperature: float) -> pd.DataFrame:
    rows = table[table.temperature == temperature]
    assert len(rows) == 15
    return rows


@pytest.mark.parametrize("temperature", LADDER)
def test_scores_agree_with_scipy_and_scikit_learn_at_every_temperature(table, temperature):
    p, rows = probabilities(TEACHER, temperature), at(table, temperature)
    log_p = log_softmax(TEACHER.numpy() / temperature, axis=-1)
    assert rows.nll.unique() == pytest.approx(-log_p[range(400), HALF_RIGHT].mean())
    brier = brier_score_loss(HALF_RIGHT, p, labels=range(12), scale_by_half=False)
    assert rows.brier.unique() == pytest.approx(brier)
    accuracy, confidence = calibration_curve(p.argmax(1) == HALF_RIGHT.numpy(), p.max(1), n_bins=15)
    seen = rows[rows["count"] > 0]
    np.testing.assert_allclose(seen.confidence, confidence)
    np.testing.assert_allclose(seen.accuracy, accuracy)
    assert rows[rows["count"] == 0][["confidence", "accuracy"]].isna().all(axis=None)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 4.0])
def test_bins_and_error_agree_with_a_loop_over_samples(table, temperature):
    p = probabilities(TEACHER, temperature)
    bins = [[] for _ in range(15)]
    for row, y in zip(p, HALF_RIGHT.tolist(), strict=True):
        place = next(b for b in range(15) if b / 15 < row.max() <= (b + 1) / 15)
        bins[place].append((row.max(), float(row.argmax() == y)))
    rows = at(table, temperature)
    assert rows["count"].tolist() == [len(found) for found in bins]
    gaps = [len(found) / 400 * abs(np.subtract(*np.mean(found, 0))) for found in bins if found]
    assert rows.ece.unique() == pytest.approx(sum(gaps))
    np.testing.assert_allclose(rows.low, np.arange(15) / 15)
    np.testing.assert_allclose(rows.high, np.arange(1, 16) / 15)


def test_the_error_is_that_of_the_teachers_card(table):
    card = TeacherDistribution(12, (1, 4))
    card.update(TEACHER, HALF_RIGHT)
    values = card.compute()
    for place, temperature in enumerate((1.0, 4.0)):
        rows = at(table, temperature)
        assert rows.ece.iloc[0] == pytest.approx(values["ece_15"][place].item())
        assert rows.nll.iloc[0] == pytest.approx(values["nll"][place].item())


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    fifth = torch.zeros(1, 5)  # confidence 0.2, the upper edge of the third bin
    metric = Calibration(5, temperatures=(1,))
    metric.update(fifth, torch.tensor([0]))
    assert at(metric.table(), 1.0)["count"].tolist() == [0, 0, 1] + [0] * 12


def test_power_sums_are_sums_of_exponentials_for_any_ladder():
    below = -10 * torch.rand(30, 7, dtype=torch.float64, generator=torch.manual_seed(0))
    ladder = (0.3, 1.0, 1.1, 3.0, 4.0, 8.8, 64.0)
    sums, squares = power_sums(below, ladder)
    for row, temperature in enumerate(ladder):
        torch.testing.assert_close(sums[row], (below / temperature).exp().sum(-1))
        torch.testing.assert_close(squares[row], (2 * below / temperature).exp().sum(-1))


def test_the_ladder_has_25_even_steps_in_4_families():
    assert len(LADDER) == 25
    np.testing.assert_allclose(LADDER, np.geomspace(0.25, 16, 25))
    assert len({np.frexp(t)[0] for t in LADDER}) == 4


def test_the_distilling_temperature_joins_the_ladder_and_is_told():
    table = filled(Calibration(12, distilled=3)).table()
    assert len(table) == 26 * 15
    assert (table.distilled == 3.0).all()
    assert at(table, 3.0).nll.iloc[0] == pytest.approx(
        log_loss(HALF_RIGHT, probabilities(TEACHER, 3.0), labels=range(12))
    )


def test_the_students_side_is_calibrated_alike(table):
    metric = Calibration(12, side="student")
    assert metric.needs == ("student_logits", "target")
    assert Calibration(12).needs == ("teacher_logits", "target")
    pd.testing.assert_frame_equal(filled(metric).table(), table)
    with pytest.raises(ValueError, match="class and arguments must be the same"):
        metric.merge_state(Calibration(12))


def test_without_finite_rows_there_are_no_values():
    rows = filled(Calibration(12), TEACHER * torch.nan).table()
    assert rows[["ece", "nll", "brier", "accuracy", "confidence"]].isna().all(axis=None)
    assert (rows.n == 0).all()
    assert (rows.non_finite == 400).all()


def test_calibrations_at_other_distilling_temperatures_do_not_merge():
    with pytest.raises(ValueError, match="class and arguments must be the same"):
        Calibration(12).merge_state(Calibration(12, distilled=3))


def test_huge_gaps_are_read_exactly():
    metric = Calibration(3, temperatures=(1, 4))
    metric.update(torch.tensor([[3e4, 0.0, -3e4]]), torch.tensor([2]))
    rows = metric.table().drop_duplicates("temperature")
    assert rows.nll.tolist() == [6e4, 1.5e4]
    assert rows.brier.tolist() == [2.0, 2.0]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="need at least 2 classes"):
        Calibration(1)
    with pytest.raises(ValueError, match=r"temperature must lie between 0\.001 and 10000, got -4"):
        Calibration(3, distilled=-4)
    with pytest.raises(ValueError, match="target of sample 0 is 3, need an index from 0 to 2"):
        Calibration(3).update(torch.zeros(1, 3), torch.tensor([3]))


def sample(calibrated_at: float, n: int = 3000, c: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose labels are drawn from softmax(logits / calibrated_at)."""
    generator = np.random.default_rng(0)
    logits = 2 * calibrated_at * generator.normal(size=(n, c))
    p = softmax(logits / calibrated_at, axis=1)
    return logits, (p.cumsum(1) > generator.random((n, 1))).argmax(1)


@cache
def example(calibrated_at: float, distilled: float = 4.0) -> pd.DataFrame:
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
    ours = least(scores(example(calibrated_at)), "nll")
    assert ours.temperature == pytest.approx(np.exp(found.x), rel=0.01)
    assert ours.value == pytest.approx(found.fun, rel=1e-3)
    assert not ours.end


def test_a_score_that_falls_to_the_end_of_the_ladder_is_said_to_lie_beyond():
    right = pd.DataFrame({"nll": [0.1, 0.2, 0.4]}, index=[0.25, 1.0, 4.0])
    assert str(least(right, "nll")) == "≤ 0.25"
    assert str(least(right.sort_values("nll", ascending=False).set_index([[1, 4, 16]]), "nll")) == (
        "≥ 16"
    )
    assert least(right, "nll").at == "T ≤ 0.25"


def test_equal_scores_have_no_vertex():
    flat = pd.DataFrame({"nll": [2.0, 1.0, 1.0, 1.0, 2.0]}, index=[0.25, 0.5, 1.0, 2.0, 4.0])
    assert 0.5 <= least(flat, "nll").temperature <= 2


def test_scores_by_temperature_are_means_over_samples():
    logits, target = sample(1.5)
    p = softmax(logits / 4, axis=1)
    row = scores(example(1.5)).loc[4.0]
    assert row.confidence == pytest.approx(p.max(1).mean())
    assert row.accuracy == pytest.approx((p.argmax(1) == target).mean())
    listed = scores_by_temperature(example(1.5))
    assert listed.columns.tolist() == [
        *("temperature", "ece", "nll", "brier", "confidence", "accuracy")
    ]
    row = row.drop(["nll_above_se", "n"])
    assert listed.set_index("temperature").loc[4.0].to_dict() == row.to_dict()


def test_scores_of_no_sample_are_nan():
    empty = example(1.5).assign(n=0, count=0, ece=np.nan, nll=np.nan, brier=np.nan)
    empty = empty.assign(confidence=np.nan, accuracy=np.nan)
    assert scores_by_temperature(empty).drop(columns="temperature").isna().all(axis=None)


def test_each_score_is_a_panel_with_its_minimum_ringed():
    frame = example(1.5)
    figure = calibration_over_temperature(frame)
    for ax, score in zip(figure.axes, ("ece", "nll"), strict=True):
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


NETWORKS = {"teacher": example(1.0), "$kd$": example(0.6), "flat": example(5.0)}


def test_networks_are_lines_of_one_figure():
    ax = calibration_of_networks(NETWORKS).axes[1]
    assert [text.split(":")[0] for text in legend_texts(ax)] == ["teacher", "$kd$", "flat"]
    for name, (_, y) in zip(NETWORKS, lines(ax).values(), strict=True):
        np.testing.assert_allclose(y, scores(NETWORKS[name]).nll)
    joined = pd.concat([t.assign(network=name) for name, t in NETWORKS.items()])
    for reading in (calibration_reading, reliability_by_confidence):
        with pytest.raises(
            ValueError, match=r"holds \['teacher', '\$kd\$', 'flat'\]: give the rows"
        ):
            reading(joined)


@pytest.mark.parametrize("count", [2, 4, 5])
def test_networks_have_a_diagram_each_at_one_temperature(count):
    networks = {f"net{i}": example(0.5 + i / 2) for i in range(count)}
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


def test_networks_are_listed_by_their_ece():
    sentence = networks_reading(NETWORKS).sentence
    assert sentence.startswith("Read at T = 1 the ECE is teacher 0.")
    assert sentence.index(" teacher 0.") < sentence.index(" flat 0.")
    assert "in this order cannot be tested here" in sentence
    for name, frame in NETWORKS.items():
        assert f"{name} {scores(frame).ece[1.0]:.3f}" in sentence
        assert f"{least(scores(frame), 'nll')} for {name}" in sentence
    assert networks_reading(NETWORKS).number.count("NLL least at T = ") == 3


def test_a_network_without_finite_samples_has_no_line_and_is_named():
    empty = example(1.0).assign(ece=np.nan, nll=np.nan, brier=np.nan)
    networks = NETWORKS | {"lost": empty}
    assert networks_reading(networks).sentence.endswith("Without a finite sample: lost.")
    assert len(legend_texts(calibration_of_networks(networks).axes[0])) == 3
    with pytest.raises(ValueError, match=r"no value of 'nll' for any of \['lost'\]"):
        networks_reading({"lost": empty})


def test_the_diagram_shows_bins_gaps_and_counts():
    frame = example(1.5)
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
    frame = example(1.5)
    ax = reliability_by_confidence(frame, (4,)).axes[0]
    dots = {line.get_markerfacecolor(): line.get_xdata() for line in ax.lines[1:]}
    counts = frame[(frame.temperature == 4) & (frame["count"] > 0)]
    assert len(dots["white"]) == (counts["count"] < 20).sum() > 0
    assert sum(map(len, dots.values())) == len(counts)


def test_the_temperatures_drawn_are_one_the_calibrating_and_the_distilling():
    titles = [ax.get_title(loc="left") for ax in reliability_by_confidence(example(1.5)).axes[:3]]
    assert [title.split("\n")[0] for title in titles] == [
        "T = 1",
        "T = 1.41 (near least NLL)",
        "T = 4 (distils)",
    ]
    with pytest.raises(ValueError, match="the table has no temperature 5"):
        reliability_by_confidence(example(1.5), (5,))


def test_standard_errors_of_nll_are_numpys(table):
    scores = by_network(table)[""]
    nll = np.stack(
        [-log_softmax(TEACHER.numpy() / t, axis=-1)[range(400), HALF_RIGHT] for t in scores.index]
    )
    more = nll - nll[nll.mean(1).argmin()]
    assert scores.nll_above_se.to_numpy() == pytest.approx(
        more.std(1, ddof=1) / 20, rel=1e-6, abs=1e-9
    )


def test_intervals_of_the_error_and_of_the_gap_are_those_of_the_bootstrap(table):
    """The error with the bins' signs as they are, which the bootstrap is given too."""
    rows = table[(table.temperature == 1) & (table["count"] > 0)]
    error, gap = bin_intervals(rows)
    p = TEACHER.softmax(-1).numpy()
    off = p.max(1) - (p.argmax(1) == HALF_RIGHT.numpy())
    sign = np.sign((rows.confidence - rows.accuracy).to_numpy())
    place = np.searchsorted(rows.high.to_numpy(), p.max(1) - 1e-12)
    draw = np.random.default_rng(0).integers(400, size=(3000, 400))
    assert error.value == pytest.approx(rows.ece.iloc[0])
    assert gap.half == pytest.approx(1.96 * off[draw].mean(1).std(), rel=0.06)
    assert error.half == pytest.approx(1.96 * (sign[place] * off)[draw].mean(1).std(), rel=0.06)


@pytest.mark.parametrize(
    ("n", "verdict"), [(2, UNTESTED), (9, UNTESTED), (10, UNSEEN), (400, SEEN)]
)
def test_of_a_network_that_is_always_right_few_samples_show_no_doubt(n, verdict):
    row = {"confidence": 0.9, "accuracy": 1.0, "count": n, "n": n}
    error, gap = bin_intervals(pd.DataFrame([row]))
    assert (error.value, gap.value) == pytest.approx((0.1, -0.1))
    assert gap.negated.verdict == error.verdict == verdict
    if n >= 10:
        gaps = np.r_[np.full(n, -0.1), -0.1, 0.9]  # and one that is right, one that is wrong
        half = wide(n) * gaps.std(ddof=1) / np.sqrt(n + 2) + abs(gaps.mean() + 0.1)
        assert (gap.half, error.half) == pytest.approx((half, half))


def test_sentence_follows_the_table():
    for best in (1.0, 4.0):
        told = calibration_reading(example(best)).sentence
        assert told.startswith(f"NLL is least at T = {best:g}")
    assert "at the losses' T = 1, where" in calibration_reading(example(4.0, 1.0)).sentence
    flat = example(1.0).assign(confidence=0.0012, accuracy=0.165)
    told = "where the mean confidence is 0.1 % and the accuracy 16.5 %"
    assert told in calibration_reading(flat).sentence
    number = calibration_reading(example(1.0)).number
    assert number.count("at T = 4") == number.count("at T = 1,") == 2


def test_a_table_without_values_is_refused():
    empty = example(1.5).assign(nll=np.nan)
    with pytest.raises(ValueError, match="no value of 'nll'"):
        calibration_over_temperature(empty)
