"""The cancellation figure shows the table; the sentence follows it, whichever way it points."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import sem

from kdanalysis.analyzers.regions.cancellation_figure import (
    by_ambiguity,
    cancellation_by_ambiguity,
    cancellation_number,
    cancellation_sentence,
)
from tests.analyzers.readback import smallest_font


def samples(slope=-0.05, scale=2, n=30, clear=30, noise=0.01) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    differing = np.repeat(np.arange(scale**2 + 1), [clear] + [n] * scale**2)
    ratio = 0.7 + slope * differing + noise * rng.standard_normal(len(differing))
    return pd.DataFrame({"scale": scale, "differing": differing, "ratio": ratio})


def table(*parts: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for each in parts or (samples(),):
        scale = int(each.scale[0])
        for d in range(scale**2 + 1):
            some = each.ratio[each.differing == d]
            row = {"scale": scale, "differing": d, "clear": d == 0, "n": len(some)}
            row["ratio"] = some.mean() if len(some) else np.nan
            row["ratio_se"] = sem(some) if len(some) > 1 else np.nan
            rows.append(row | {"norm": 1.0})
    return pd.DataFrame(rows).assign(no_gradient=0, non_finite=3)


def test_points_bars_and_counts_are_the_tables():
    frame = table()
    figure = cancellation_by_ambiguity(frame)
    top, bottom = figure.axes
    drawn = {c.get_label(): c.lines[0] for c in top.containers}
    assert drawn["clear images"].get_ydata().tolist() == frame.ratio[:1].tolist()
    assert drawn["ambiguous"].get_xdata().tolist() == [1, 2, 3, 4]
    assert drawn["ambiguous"].get_ydata().tolist() == frame.ratio[1:].tolist()
    (bars,) = top.containers[1].lines[2]
    low, high = bars.get_segments()[0][:, 1]
    assert high - low == pytest.approx(2 * 1.96 * frame.ratio_se[1])
    assert [bar.get_height() for bar in bottom.patches] == pytest.approx([20] * 5)
    assert 0.5 in [line.get_ydata()[0] for line in top.lines]  # 1 / m
    assert "3 samples with NaN or inf left out" in figure.get_supxlabel()
    assert smallest_font(figure) >= 9


def test_means_of_few_images_are_not_drawn():
    top, _ = cancellation_by_ambiguity(table(samples(clear=9))).axes
    drawn = {c.get_label(): c.lines[0] for c in top.containers}
    assert len(drawn["clear images"].get_xdata()) == 0


def test_pooled_means_and_errors_are_those_of_the_images():
    each = samples(noise=0.1)
    groups = by_ambiguity(table(each)).set_index("images")
    kinds = {
        "clear": each.differing == 0,
        "ambiguous": each.differing > 0,
        "up to half": each.differing <= 2,
        "more than half": each.differing > 2,
    }
    for name, kind in kinds.items():
        some = each.ratio[kind]
        assert groups.n[name] == len(some)
        assert groups.ratio[name] == pytest.approx(some.mean())
        assert groups.ratio_se[name] == pytest.approx(sem(some))


@pytest.mark.parametrize(
    ("each", "claim"),
    [
        (samples(), "At scale 2 the cells cancel more where images are ambiguous: the mean keeps "),
        (samples(0.05), "At scale 2 the cells cancel less where images are ambiguous"),
        (samples(0.0), "Scale 2 does not show more cancellation where images are ambiguous"),
        (samples(clear=3), "images of which more than half of the cells differ, "),
        (samples(n=1), "At scale 2 the images are too much alike, or too few, to be compared."),
    ],
)
def test_the_sentence_follows_the_table(each, claim):
    assert claim in cancellation_sentence(table(each))


def test_every_scale_has_its_sentence_and_numbers():
    frame = table(samples(), samples(scale=4, slope=-0.01))
    assert len(cancellation_by_ambiguity(frame).axes) == 4
    assert "At scale 4 the cells cancel more" in cancellation_sentence(frame)
    number = cancellation_number(frame)
    assert f"scale 2, clear: {frame.ratio[0]:.3f} (n = 30)" in number
    assert "scale 4, more than half: " in number
