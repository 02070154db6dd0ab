"""Signal to noise: as numpy finds it; ratios of sums by epoch, gaps where there is no signal."""

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.terms.snr import (
    SignalToNoise,
    by_layer,
    snr_over_epochs,
    snr_reading,
)
from tests.analyzers.readback import lines, smallest_font
from tests.analyzers.terms.layer_records import LAYERS, PLACES, STEPS, TERMS, given, row


def test_signal_and_noise_agree_with_numpy(records):
    covariance = torch.rand(5, 3, 3, dtype=torch.float64)
    records |= {"covariance": covariance, "count": torch.tensor([64, 32, 64, 64, 16])}
    analyzer = SignalToNoise(LAYERS, TERMS, STEPS)
    for part in (slice(0, 3), slice(3, 5)):
        analyzer.update(
            **{n: x[part] for n, x in given(records, "gram", "covariance", "count").items()}
        )
    table = analyzer.table()
    assert len(table) == 2 * 2 * 3
    for step in STEPS:
        for place, layer in enumerate(LAYERS):
            mine = [i for i in range(5) if PLACES[i] == (step, place)]
            for t, term in enumerate(TERMS):
                noise = [covariance[i, t, t].item() for i in mine]
                count = [records["count"][i].item() for i in mine]
                signal = [
                    float(records["g"][i, t] @ records["g"][i, t]) - c / n
                    for i, c, n in zip(mine, noise, count, strict=True)
                ]
                found = row(table, step=step, layer=layer, term=term)
                assert found.signal == pytest.approx(np.mean(signal))
                assert found.noise == pytest.approx(np.mean(noise))
                assert found.snr == pytest.approx(np.sum(signal) / np.sum(noise))
                assert found.batch == np.mean(count)
                assert (found.n, found.non_finite, found.epoch) == (len(mine), 0, step // 5)


def test_signal_and_noise_are_right_on_average_and_may_fall_below_zero():
    """Samples of known mean and variance, many batches: signal 0.06, noise 5, ratio 0.012."""
    generator = torch.Generator().manual_seed(0)
    batches, n, size = 4000, 16, 5
    mean = torch.tensor([0.2, 0.1, -0.1, 0.0, 0.0], dtype=torch.float64)
    samples = mean + torch.randn(batches, n, size, dtype=torch.float64, generator=generator)
    means = samples.mean(1, keepdim=True)
    analyzer = SignalToNoise(("fc",), ("ce",), (0,))
    zeros = torch.zeros(batches, dtype=torch.long)
    analyzer.update(
        means @ means.mT,
        samples.var(1).sum(-1).view(-1, 1, 1),
        zeros + n,
        zeros,
        zeros,
    )
    (found,) = analyzer.table().itertuples()
    assert found.signal == pytest.approx(0.06, abs=3 * 0.15 / np.sqrt(batches))
    assert found.noise == pytest.approx(size, rel=0.01)
    assert found.snr == pytest.approx(found.signal / found.noise)

    alone = SignalToNoise(("fc",), ("ce",), (0,))
    alone.update(torch.full((1, 1, 1), 0.1), torch.full((1, 1, 1), 5.0), zeros[:1] + n, zeros[:1],
                 zeros[:1])  # fmt: skip
    assert alone.table().snr.item() == pytest.approx((0.1 - 5 / 16) / 5)


def test_a_layer_without_covariances_is_left_out_of_the_signal_to_noise(records):
    covariance = torch.ones(5, 3, 3, dtype=torch.float64)
    covariance[records["layer"] == 1] = np.nan
    covariance[4] = np.nan
    analyzer = SignalToNoise(LAYERS, TERMS, STEPS)
    analyzer.update(records["gram"], covariance, torch.full((5,), 8), records["layer"],
                    records["step"])  # fmt: skip
    table = analyzer.table()
    assert set(table.layer) == {"layer1"}
    assert table.non_finite.tolist() == [1, 1, 1, 0, 0, 0]
    assert table.epoch.isna().all()


EXAMPLE_TERMS, EXAMPLE_LAYERS, EXAMPLE_STEPS = ("ce", "high"), ("layer1", "fc"), (0, 10, 20, 30)


def example(epochs: int = 2, factor: float = 4.0) -> pd.DataFrame:
    rows = []
    for step in EXAMPLE_STEPS:
        for place, layer in enumerate(EXAMPLE_LAYERS):
            for t, term in enumerate(EXAMPLE_TERMS):
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
    figure = snr_over_epochs(example())
    assert [ax.get_title(loc="left") for ax in figure.axes] == list(EXAMPLE_LAYERS)
    for place, ax in enumerate(figure.axes):
        drawn = lines(ax)
        assert list(drawn) == list(EXAMPLE_TERMS)
        for term, factor in (("ce", 1.0), ("high", 4.0)):
            x, y = drawn[term]
            assert x == [0, 1]
            assert y == pytest.approx(
                [ratio((0, 10), place, factor), ratio((20, 30), place, factor)]
            )
        (level,) = [line for line in ax.lines if line.get_label().startswith("_")]
        assert set(level.get_ydata()) == {1 / 64}
        assert ax.get_yscale() == "symlog"
    assert figure.get_supxlabel() == "epoch"
    assert figure.get_supylabel() == "signal-to-noise ratio\n(grey: 1/64, a batch)"
    assert smallest_font(figure) >= 9


def test_steps_serve_where_there_is_one_epoch():
    figure = snr_over_epochs(example(epochs=1))
    assert figure.get_supxlabel() == "training step"
    assert lines(figure.axes[0])["ce"][0] == list(EXAMPLE_STEPS)


def test_ratios_below_zero_are_drawn_there():
    rows = example()
    rows.loc[(rows.layer == "fc") & (rows.epoch == 1) & (rows.term == "ce"), "signal"] = -1.0
    rows.loc[rows.step == 0, "non_finite"] = 2
    figure = snr_over_epochs(rows)
    below = lines(figure.axes[1])["ce"][1][1]
    assert below == by_layer(rows[rows.epoch == 1]).loc["fc", "ce"] < 0
    assert figure.axes[1].get_ylim()[0] < below
    assert figure.get_supxlabel() == "epoch\n(4 records with NaN or inf left out)"


def test_the_band_is_the_jackknifes_interval_over_the_steps_of_an_epoch():
    rows = noisy(4.0, 0.3).query("layer == 'layer1'").assign(epoch=0)
    later = rows.assign(step=rows.step + 100, epoch=1)
    ax = snr_over_epochs(pd.concat([rows, later])).axes[0]
    mine = rows[rows.term == "high"]
    signal, noise = mine.signal * mine.n, mine.noise * mine.n
    left = [(signal.sum() - s) / (noise.sum() - z) for s, z in zip(signal, noise, strict=True)]
    half = 3.182446 * np.sqrt(3 / 4 * ((np.array(left) - np.mean(left)) ** 2).sum())
    band = ax.collections[1].get_paths()[0].vertices[:, 1]  # after that of ce
    whole = signal.sum() / noise.sum()
    assert (band.min(), band.max()) == pytest.approx((whole - half, whole + half))


def test_few_steps_and_many_terms_have_no_band():
    assert "band" not in snr_over_epochs(example()).get_supylabel()
    rows = pd.concat([example().assign(term=f"term_{i}") for i in range(5)])
    rows = pd.concat([rows, rows.assign(step=rows.step + 1)])
    assert not snr_over_epochs(rows).axes[0].collections


def test_a_term_without_noise_has_no_ratio():
    rows = example()
    rows.loc[rows.term == "ce", ["signal", "noise"]] = 0.0
    assert by_layer(rows)["ce"].isna().all()
    assert by_layer(rows)["high"].notna().all()


def test_ratios_by_layer_are_over_all_records():
    means = by_layer(example())
    assert means.loc["fc", "high"] == pytest.approx(ratio(EXAMPLE_STEPS, 1, 4.0))
    assert (list(means.index), list(means.columns)) == (list(EXAMPLE_LAYERS), list(EXAMPLE_TERMS))
    assert list(SignalToNoise.excerpt(example()).columns) == ["layer", *EXAMPLE_TERMS]


def test_ratios_of_short_gradients_are_those_of_long_ones():
    rows = example()
    short = rows.assign(signal=1e-9 * rows.signal, noise=1e-9 * rows.noise)
    pd.testing.assert_frame_equal(by_layer(short), by_layer(rows))


def noisy(factor: float, spread: float) -> pd.DataFrame:
    """The example with a signal of high that differs from step to step."""
    rows = example(factor=factor)
    noise = np.exp(spread * np.array([-1.0, 1.0, -0.5, 0.5]))
    scale = rows.step.map(dict(zip(EXAMPLE_STEPS, noise, strict=True)))
    return rows.assign(signal=rows.signal.where(rows.term == "ce", rows.signal * scale))


def test_sentence_says_whether_terms_differ_with_the_jackknifes_interval():
    rows = noisy(4.0, 0.3).query("layer == 'layer1'")
    by_step = rows.assign(s=rows.signal * rows.n).pivot(index="step", columns="term", values="s")
    logs = [np.log(by_step.drop(s).high.sum() / by_step.drop(s).ce.sum()) for s in EXAMPLE_STEPS]
    error = np.sqrt(3 / 4 * ((np.array(logs) - np.mean(logs)) ** 2).sum())
    whole = np.log(by_step.high.sum() / by_step.ce.sum())
    ends = [np.exp(whole + sign * 3.182 * error) for sign in (-1, 1)]
    # 3.182: Student's 97.5 % point for the four steps
    sentence = snr_reading(rows).sentence
    assert sentence.startswith("A difference of the terms in signal seen: at layer1, where it is")
    assert f" {np.exp(whole):.2f} (95 % {ends[0]:.2f} to {ends[1]:.2f}) times" in sentence
    ends = [np.exp(whole + sign * 4.1765 * error) for sign in (-1, 1)]  # 0.025 / 2
    both = snr_reading(noisy(4.0, 0.3)).sentence
    assert f"(95 % {ends[0]:.2f} to {ends[1]:.2f}) times" in both
    assert both.endswith(", 95 % for all 2 factors together).")
    assert "signal not seen: at" in snr_reading(noisy(1.1, 0.6)).sentence


def test_a_difference_cannot_be_tested_without_signal_or_steps():
    rows = example()
    rows.loc[rows.term == "ce", "signal"] = -0.1
    assert snr_reading(rows).sentence.startswith(
        "A difference of the terms in signal cannot be tested here: at layer1 ce shows no signal"
    )
    single = example().query("step == 0")
    assert "cannot be tested here: at layer1, where" in snr_reading(single).sentence
    alone = rows[rows.term == "ce"]
    assert snr_reading(alone).sentence.startswith("ce is the loss's only term")


def test_number_names_the_highest_ratio_of_every_layer():
    first, second = (f"{ratio(EXAMPLE_STEPS, place, 4.0):.2g}" for place in (0, 1))
    number = f"highest ratio at layer1: high {first}; fc: high {second}"
    assert snr_reading(example()).number == number


def test_a_table_without_ratios_is_refused():
    with pytest.raises(ValueError, match="has no value of 'snr'"):
        snr_over_epochs(example().assign(snr=np.nan))
    with pytest.raises(ValueError, match="the table lacks"):
        snr_over_epochs(example().drop(columns="batch"))
