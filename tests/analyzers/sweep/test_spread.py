"""The sweep's spread: means and quartiles by confidence as numpy finds them, drawn and said."""

import numpy as np
import pandas as pd
import pytest
import torch

import kdanalysis as kd
from kdanalysis.analyzers.sweep.spread import (
    NORMS,
    PARTS,
    SweepSpread,
    spread_over_k,
    spread_reading,
)
from kdanalysis.analyzers.sweep.sweep import TermSweep
from kdanalysis.core.sweep.algebra import DEFINED, PLAIN
from tests.analyzers.readback import legend_is_beside, lines, smallest_font
from tests.analyzers.reference import logits, probabilities

N, C, KS, WEIGHTS = 300, 8, (1, 3, 7), (0.5, 2.0, 8.0)
STUDENT, TEACHER = logits(0, N, C), 2 * logits(1, N, C)


def table(student=STUDENT, teacher=TEACHER, splits=(130,)) -> pd.DataFrame:
    analyzer = SweepSpread(C, (1, 4), KS, WEIGHTS, edges=(0.5, 0.9))
    for rows in np.split(np.arange(len(teacher)), splits):
        analyzer.update(student[rows], teacher[rows])
    return analyzer.table()


def row(frame: pd.DataFrame, temperature: float, quantity: str, k: int, group: str) -> pd.Series:
    index = ["temperature", "quantity", "k", "confidence"]
    return frame.set_index(index).loc[(temperature, quantity, k, group)]


@pytest.mark.parametrize("group", ["below 0.5", "0.5 to 0.9", "0.9 and above", "all"])
@pytest.mark.parametrize("quantity", ["norm_high", "norm_total", "share_low_other"])
def test_means_and_quartiles_are_numpys(group, quantity):
    confidence = probabilities(TEACHER, 1).max(1)
    place = np.digitize(confidence, (0.5, 0.9))
    names = ["below 0.5", "0.5 to 0.9", "0.9 and above"]
    chosen = place == names.index(group) if group in names else place >= 0
    each = kd.sweep_samples(STUDENT, TEACHER, 4, KS, WEIGHTS)[quantity][:, 1].numpy()[chosen]
    found = row(table(), 4, quantity, 3, group)
    assert found.n == len(each) > 20
    assert found["mean"] == pytest.approx(each.mean(), rel=1e-12)
    for name, q in (("q25", 0.25), ("median", 0.5), ("q75", 0.75)):
        expected = np.quantile(each, q, method="inverted_cdf")
        tolerance = {"rel": 0.038} if quantity in NORMS else {"abs": 0.002}
        assert found[name] == pytest.approx(expected, **tolerance)


def test_all_samples_have_the_means_of_the_sweep():
    whole = TermSweep(C, (1, 4), KS, WEIGHTS)
    whole.update(STUDENT, TEACHER)
    frame = table()
    frame = frame[frame.confidence == "all"]
    for _, expected in whole.table().iterrows():
        for quantity in (*NORMS, *PARTS):
            found = row(frame, expected.temperature, quantity, int(expected.k), "all")
            assert found["mean"] == pytest.approx(expected[quantity], rel=1e-10, abs=1e-14)


def test_a_sample_without_a_gradient_has_a_norm_of_zero_and_no_direction():
    student = STUDENT.clone()
    student[:200] = TEACHER[:200]
    frame = table(student)
    assert row(frame, 1, "norm_kd", 3, "all").n == N
    assert row(frame, 1, "norm_kd", 3, "all").q25 == 0
    assert row(frame, 1, "cosine_total_kd", 3, "all").n == 100


def test_a_cosine_that_rounding_takes_beyond_1_has_finite_quartiles():
    each = torch.ones(len((*PLAIN, *DEFINED)), len(KS), 8, dtype=torch.float64)
    spread = SweepSpread(C, (1,), KS, WEIGHTS)
    spread._count(0, each + 2e-16, torch.zeros(8, dtype=torch.long))
    quartiles = spread.table().dropna().query("quantity == 'cosine_total_kd'")[["q25", "q75"]]
    assert quartiles.shape == (2 * len(KS), 2)
    assert ((quartiles > 0.998) & (quartiles <= 1)).all(axis=None)


@pytest.mark.parametrize("edges", [(), (0.9, 0.5), (0.5, 0.5), (0.0, 0.5), (0.5, 1.0)])
def test_bad_edges_are_refused(edges):
    with pytest.raises(ValueError, match=r"confidence edges must ascend within \(0, 1\)"):
        SweepSpread(C, edges=edges)


GROUPS = {"below 0.5": 40, "0.5 and above": 30, "all": 70}


def example(falling: bool = True, sizes: dict[str, int] = GROUPS) -> pd.DataFrame:
    rows = [
        (temperature, quantity, k, group, (0.8 - 0.5 * place * falling) / k, n)
        for temperature in (1.0, 4.0)
        for quantity in ("kd_share_low_other", "share_low_other", "cosine_total_kd")
        for k in (1, 2, 5, 10)
        for place, (group, n) in enumerate(sizes.items())
    ]
    names = ["temperature", "quantity", "k", "confidence", "mean", "n"]
    frame = pd.DataFrame(rows, columns=names)
    quartiles = {"q25": frame["mean"] - 0.1, "median": frame["mean"], "q75": frame["mean"] + 0.1}
    return frame.assign(**quartiles, non_finite=0)


def test_curves_are_the_medians_of_the_groups():
    frame = example()
    figure = spread_over_k(frame)
    inside, weighted, cosine = figure.axes
    rows = frame[(frame.temperature == 4) & (frame.confidence == "below 0.5")]
    for ax, quantity, scale in (
        (inside, "kd_share_low_other", 100),
        (weighted, "share_low_other", 100),
        (cosine, "cosine_total_kd", 1),
    ):
        ks, medians = lines(ax)["below 0.5 (n = 40)"]
        assert ks == [1, 2, 5, 10]
        assert medians == pytest.approx(scale * rows["median"][rows.quantity == quantity])
        assert len(lines(ax)) == 2  # "all" is not a group
        band = ax.collections[0].get_paths()[0].vertices[:, 1]
        assert np.ptp(band[[1, -2]]) == pytest.approx(0.2 * scale)
    assert legend_is_beside(inside)
    assert smallest_font(figure) >= 9


def test_a_k_whose_share_is_always_0_is_named_not_drawn():
    frame = example()
    gone = (frame.k == 10) & (frame.quantity == "share_low_other")
    figure = spread_over_k(frame.assign(mean=frame["mean"].where(~gone, 0.0)))
    assert all(lines(ax)["below 0.5 (n = 40)"][0] == [1, 2, 5] for ax in figure.axes)
    assert "without k = 10, where low_other is always 0" in figure.axes[-1].get_xlabel()


def test_of_samples_the_k_is_left_out_at_which_one_class_is_left():
    spread = SweepSpread(C, (4,), (1, 3, C - 1), WEIGHTS, edges=(0.5, 0.9))
    spread.update(STUDENT, TEACHER)
    frame = spread.table()
    binned = frame[(frame.k == C - 1) & (frame.quantity == "share_low_other")]["median"]
    assert (binned > 0).all()  # of zeros, inside their bin
    figure = spread_over_k(frame)
    assert all(ks == [1, 3] for ax in figure.axes for ks, _ in lines(ax).values())
    assert f"without k = {C - 1}, where low_other is always 0" in figure.axes[-1].get_xlabel()


def test_a_small_group_is_named_not_drawn():
    ax = spread_over_k(example(sizes={"below 0.5": 40, "0.5 and above": 19, "all": 59})).axes[-1]
    assert len(ax.lines) == 1
    assert "fewer than 20 samples, not drawn: 0.5 and above" in ax.get_xlabel()


def test_the_sentence_says_what_the_data_show():
    assert spread_reading(example()).sentence.startswith(
        "That the relation share inside KD falls with the teacher's confidence is seen: "
    )
    assert spread_reading(example()).sentence.endswith(
        "from 16.0 % (below 0.5) to 6.0 % (0.5 and above), \u221210.0 ± 8.8 points; as weighted "
        "from 16.0 % to 6.0 %."
    )
    assert spread_reading(example(falling=False)).sentence.startswith(
        "That the relation share inside KD falls with the teacher's confidence is not seen: "
    )
    alone = example(sizes={"below 0.5": 40, "0.5 and above": 3, "all": 43})
    assert "of one group of confidence" in spread_reading(alone).sentence
    assert spread_reading(example()).number.startswith(
        "T = 4, k = 5: below 0.5: 16.0 % in KD, 16.0 % as weighted"
    )


def test_without_the_usual_k_the_numbers_are_of_one_that_is_there():
    frame = example()
    assert spread_reading(frame[frame.k < 3]).number.startswith("T = 4, k = 2: ")
    assert "at T = 4 and k = 2 " in spread_reading(frame[frame.k < 3]).sentence


def test_a_temperature_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"no temperature 3, it has \[1.0, 4.0\]"):
        spread_over_k(example(), 3)


def test_samples_without_a_gradient_are_not_drawn():
    frame = example().assign(mean=0.0)
    for draw in (spread_over_k, spread_reading):
        with pytest.raises(ValueError, match="no sample has a gradient of low_other"):
            draw(frame)
    few = example(sizes={"below 0.5": 4, "0.5 and above": 3, "all": 7})
    with pytest.raises(ValueError, match="no group of confidence has 20 samples"):
        spread_over_k(few)


def test_a_k_that_leaves_one_class_is_not_read():
    rows = table()
    assert "and k = 3 its median" in spread_reading(rows[rows.k > 1]).sentence
