"""Top-k mass agrees with numpy's sorted sums and quartiles; the picture and reading are its."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from kdanalysis.analyzers.teacher.mass import (
    BINS,
    TopKMass,
    knee_by_temperature,
    knee_ends,
    mass_by_k,
    mass_ks,
    mass_reading,
)
from tests.analyzers.readback import legend_is_beside, lines, smallest_font
from tests.analyzers.reference import logits, probabilities


def table(teacher: torch.Tensor, temperatures=(1, 4), split: int = 20) -> pd.DataFrame:
    metric = TopKMass(teacher.shape[-1], temperatures)
    metric.update(teacher[:split])
    metric.update(teacher[split:])
    return metric.table()


@pytest.mark.parametrize("temperature", [1, 4])
def test_mean_and_quartiles_agree_with_numpy(temperature):
    teacher = logits(0, 101)
    rows = table(teacher)
    rows = rows[rows.temperature == temperature]
    mass = np.sort(probabilities(teacher, temperature))[:, ::-1].cumsum(1)
    assert rows.k.tolist() == list(range(1, 13))
    np.testing.assert_allclose(rows["mean"], mass.mean(0), rtol=1e-12)
    for name, q in (("q25", 0.25), ("median", 0.5), ("q75", 0.75)):
        exact = np.quantile(mass, q, axis=0, method="inverted_cdf")
        np.testing.assert_allclose(rows[name], exact, atol=BINS.width + 1e-12, rtol=0)
    assert (rows.n == 101).all()


def test_all_classes_hold_all_mass_even_where_rounding_exceeds_one():
    rows = table(logits(3, 50, 100, scale=0.01))
    last = rows[rows.k == 100]
    np.testing.assert_allclose(last["mean"], 1, rtol=1e-12)
    assert last["median"].between(1 - BINS.width, 1).all()


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="need at least 2 classes"):
        TopKMass(1)
    with pytest.raises(ValueError, match=r"temperatures\[0\] must be a finite number, got nan"):
        TopKMass(3, (float("nan"),))
    with pytest.raises(ValueError, match="the logits have 4 classes, the analyzer expects 3"):
        TopKMass(3).update(torch.zeros(2, 4))


def example(classes: int = 10, powers=(3.0, 1.0)) -> pd.DataFrame:
    """Mass falling with rank as 1 / rank^power, one power a temperature."""
    frames = []
    for temperature, power in zip((1.0, 4.0), powers, strict=True):
        p = np.arange(1, classes + 1) ** -power
        mass = (p / p.sum()).cumsum()
        frames.append(
            pd.DataFrame(
                {
                    "temperature": temperature,
                    "k": np.arange(1, classes + 1),
                    "mean": mass,
                    "q25": mass * 0.9,
                    "q75": np.minimum(mass * 1.1, 1),
                }
            )
        )
    return pd.concat(frames, ignore_index=True).assign(n=400, non_finite=0)


def knee(rows: pd.DataFrame) -> int:
    """Number of ranks whose own mass is above 1 / c."""
    return int((np.diff(rows["mean"], prepend=0) > 1 / len(rows)).sum())


@pytest.mark.parametrize("classes", [10, 62, 1000])
def test_curves_bands_and_knees_are_the_tables(classes):
    frame = example(classes)
    ax = mass_by_k(frame)
    drawn = lines(ax)
    for (label, (x, y)), (_, rows) in zip(drawn.items(), frame.groupby("temperature"), strict=True):
        assert x == rows.k.tolist()
        assert y == pytest.approx(rows["mean"].tolist())
        most = int((rows["mean"] < 0.95).sum()) + 1
        assert label.endswith(f"k = {knee(rows)} and {most}")
        (square,) = [s for s in ax.lines if s.get_marker() == "s" and s.get_xdata()[0] == most][:1]
        assert square.get_ydata()[0] == rows["mean"].iloc[most - 1]
    rings = [line for line in ax.lines if line.get_marker() == "o"]
    assert [ring.get_xdata()[0] for ring in rings] == list(knee_by_temperature(frame).values())
    assert ax.get_xticks()[-1] == classes
    assert smallest_font(ax.figure) >= 9
    assert legend_is_beside(ax)


def test_the_interval_of_a_knee_holds_those_of_the_bootstrap():
    """Of 300 draws of the samples; and it is no wider than a few ranks."""
    teacher = logits(4, 300, 12)
    ranks = np.sort((teacher / 2).softmax(-1).numpy(), axis=1)[:, ::-1]
    analyzer = TopKMass(12, (2.0,))
    analyzer.update(teacher)
    low, high = knee_ends(analyzer.table())
    draw = np.random.default_rng(0).integers(300, size=(300, 300))
    knees = (ranks[draw].mean(1) > 1 / 12).sum(1)
    assert low <= np.quantile(knees, 0.025) <= np.quantile(knees, 0.975) <= high
    assert high - low <= 2 + np.ptp(knees)


def test_the_label_says_where_not_every_k_is_read():
    ks = mass_ks(20_000)
    table = pd.DataFrame({"temperature": 1.0, "k": ks, "mean": np.array(ks) / 20_000})
    table = table.assign(q25=0.0, q75=1.0, n=9, non_finite=0)
    assert "(above 100 one k in 10 % is read)" in mass_by_k(table).get_xlabel()
    assert "is read" not in mass_by_k(table[table.k <= 100].assign(mean=1.0)).get_xlabel()


def test_sentence_follows_the_table():
    few, many = example(), example().assign(n=10_000)
    told = mass_reading(many).sentence
    assert told.endswith("moves right with the temperature is seen: k = 2 at T = 1, 3 at T = 4.")
    told = mass_reading(few).sentence
    assert "is not seen: k = 2 (1 to 2) at T = 1, 3 (2 to 3) at T = 4" in told
    back = mass_reading(example(powers=(1.0, 3.0)).assign(n=10_000)).sentence
    assert "with the temperature is seen not to hold: k = 3 at T = 1, 2 at T = 4" in back
    unknown = mass_reading(example().drop(columns="n")).sentence
    assert "cannot be tested here: k = 2 (interval unknown)" in unknown
    alone = mass_reading(few.query("temperature == 1")).sentence
    assert alone.endswith("lies at k = 2 (1 to 2) at T = 1.")
    assert mass_reading(example(2)).sentence.startswith("With two classes the knee")
    of_many = mass_reading(example(8000, (0.2, 0.1)))
    assert of_many.sentence.endswith(
        "k = 2,626 (1 to 4,256) at T = 1, 2,792 (1 to 5,582) at T = 4."
    )
    assert of_many.number == "T = 1: k = 2,626 holds 0.41; T = 4: k = 2,792 holds 0.39"
    assert mass_reading(example()).number == "T = 1: k = 2 holds 0.94; T = 4: k = 3 holds 0.63"


@pytest.mark.parametrize("classes", [1300, 8000])
def test_numbers_of_k_do_not_touch_beside_the_legend(classes):
    ax = mass_by_k(example(classes))
    canvas = FigureCanvasAgg(ax.figure)
    canvas.draw()
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in ax.get_xticklabels()]
    assert len(boxes) >= 5
    assert all(left.x1 + 2 < right.x0 for left, right in pairwise(boxes))
