"""Signal-to-noise figure: ratios of sums by epoch, gaps where there is no signal."""

import numpy as np
import pandas as pd
import pytest

from kdanalysis.analyzers.terms.snr_figure import (
    by_layer,
    snr_number,
    snr_over_epochs,
    snr_sentence,
)
from tests.analyzers.readback import lines, smallest_font

TERMS, LAYERS, STEPS = ("ce", "high"), ("layer1", "fc"), (0, 10, 20, 30)


def table(epochs: int = 2, factor: float = 4.0) -> pd.DataFrame:
    rows = []
    for step in STEPS:
        for place, layer in enumerate(LAYERS):
            for t, term in enumerate(TERMS):
                signal = (1 + place) * (factor if t else 1.0) * (1 + step / 10)
                epoch = step * epochs // 40
                rows.append((step, epoch, layer, term, signal, 100.0 + step, 1 + step // 10))
    names = ["step", "epoch", "layer", "term", "signal", "noise", "n"]
    frame = pd.DataFrame(rows, columns=names)
    return frame.assign(snr=frame.signal / frame.noise, batch=64.0, non_finite=0)


def ratio(steps, place=0, factor=1.0) -> float:
    signal = sum((1 + step // 10) * (1 + place) * factor * (1 + step / 10) for step in steps)
    return signal / sum((1 + step // 10) * (100 + step) for step in steps)


def test_lines_are_ratios_of_sums_by_epoch():
    figure = snr_over_epochs(table())
    assert [ax.get_title(loc="left") for ax in figure.axes] == list(LAYERS)
    for place, ax in enumerate(figure.axes):
        drawn = lines(ax)
        assert list(drawn) == list(TERMS)
        for term, factor in (("ce", 1.0), ("high", 4.0)):
            x, y = drawn[term]
            assert x == [0, 1]
            assert y == pytest.approx(
                [ratio((0, 10), place, factor), ratio((20, 30), place, factor)]
            )
        (level,) = [line for line in ax.lines if line.get_label().startswith("_")]
        assert set(level.get_ydata()) == {1 / 64}
        assert ax.get_yscale() == "log"
    assert figure.get_supxlabel() == "epoch"
    assert figure.get_supylabel() == "signal-to-noise ratio\n(grey: 1/64, a batch)"
    assert smallest_font(figure) >= 9


def test_steps_serve_where_there_is_one_epoch():
    figure = snr_over_epochs(table(epochs=1))
    assert figure.get_supxlabel() == "training step"
    assert lines(figure.axes[0])["ce"][0] == list(STEPS)


def test_ratios_without_signal_are_gaps_and_counted():
    rows = table()
    rows.loc[(rows.layer == "fc") & (rows.epoch == 1) & (rows.term == "ce"), "signal"] = -1.0
    rows.loc[rows.step == 0, "non_finite"] = 2
    figure = snr_over_epochs(rows)
    assert np.isnan(lines(figure.axes[1])["ce"][1][1])
    assert figure.get_supxlabel() == (
        "epoch\n(1 of 8 ratios at or below zero are not drawn)\n"
        "(4 records with NaN or inf left out)"
    )


def test_a_term_without_noise_has_no_ratio():
    rows = table()
    rows.loc[rows.term == "ce", ["signal", "noise"]] = 0.0
    assert by_layer(rows)["ce"].isna().all()
    assert by_layer(rows)["high"].notna().all()


def test_ratios_by_layer_are_over_all_records():
    means = by_layer(table())
    assert means.loc["fc", "high"] == pytest.approx(ratio(STEPS, 1, 4.0))
    assert (list(means.index), list(means.columns)) == (list(LAYERS), list(TERMS))


def test_sentence_says_whether_terms_differ():
    claim = f"at layer1 high has 4 times the ratio of ce ({ratio(STEPS, 0, 4.0):.2g} and "
    assert snr_sentence(table()).startswith(
        f"Terms differ in how much signal they carry, as DeepKD found: {claim}"
    )
    assert snr_sentence(table(factor=1.5)).startswith(
        "These data do not show terms that differ much in signal: at layer1 high has 1.5 times"
    )
    rows = table()
    rows.loc[(rows.layer == "fc") & (rows.term == "ce"), "signal"] = -0.1
    assert snr_sentence(rows) == (
        f"Terms differ: ce shows no signal at fc, where high has {ratio(STEPS, 1, 4.0):.2g}."
    )
    alone = rows[rows.term == "ce"]
    assert snr_sentence(alone).startswith("ce is the loss's only term")


def test_number_names_the_highest_ratio_of_every_layer():
    assert snr_number(table()) == (
        f"highest ratio at layer1: high {ratio(STEPS, 0, 4.0):.2g}; "
        f"fc: high {ratio(STEPS, 1, 4.0):.2g}"
    )


def test_a_table_without_ratios_is_refused():
    with pytest.raises(ValueError, match="has no value of 'snr'"):
        snr_over_epochs(table().assign(snr=np.nan))
    with pytest.raises(ValueError, match="the table lacks"):
        snr_over_epochs(table().drop(columns="batch"))
