"""Norms, cosines and signal-to-noise at layers agree with plain numpy, record by record."""

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.terms.layers import LayerGradients
from kdanalysis.analyzers.terms.snr import SignalToNoise

LAYERS, TERMS, STEPS = ("layer1", "fc"), ("ce", "high", "low"), (0, 10)
PLACES = [(0, 0), (0, 1), (10, 0), (10, 1), (0, 0)]  # step and layer of each record


@pytest.fixture
def records() -> dict[str, torch.Tensor]:
    """Five records: the terms' gradients g (5, 3, 9) and what the store keeps of them."""
    generator = torch.Generator().manual_seed(0)
    g = torch.randn(5, 3, 9, dtype=torch.float64, generator=generator)
    step, layer = torch.tensor(PLACES).T.contiguous()
    return {"g": g, "gram": g @ g.mT, "layer": layer, "step": step, "epoch": step // 5}


def given(records, *names) -> dict[str, torch.Tensor]:
    return {name: records[name] for name in (*names, "layer", "step", "epoch")}


def row(table, **where) -> pd.Series:
    keep = np.logical_and.reduce([table[name] == value for name, value in where.items()])
    assert keep.sum() == 1
    return table[keep].iloc[0]


def test_norms_dots_and_cosines_agree_with_numpy(records):
    analyzer = LayerGradients(LAYERS, TERMS, STEPS)
    for part in (slice(0, 2), slice(2, 5)):
        analyzer.update(**{name: x[part] for name, x in given(records, "gram").items()})
    table = analyzer.table()

    assert len(table) == 2 * 2 * 6
    g = records["g"].numpy()
    for step in STEPS:
        for place, layer in enumerate(LAYERS):
            mine = [g[i] for i in range(5) if PLACES[i] == (step, place)]
            for a in range(3):
                for b in range(a, 3):
                    found = row(table, step=step, layer=layer, term_a=TERMS[a], term_b=TERMS[b])
                    dots = [x[a] @ x[b] for x in mine]
                    lengths = [np.sqrt((x[a] @ x[a]) * (x[b] @ x[b])) for x in mine]
                    cosines = [d / length for d, length in zip(dots, lengths, strict=True)]
                    assert found["dot"] == pytest.approx(np.mean(dots))
                    assert found.norm_a == pytest.approx(
                        np.mean([np.linalg.norm(x[a]) for x in mine])
                    )
                    assert found.norm_b == pytest.approx(
                        np.mean([np.linalg.norm(x[b]) for x in mine])
                    )
                    assert found.cosine == pytest.approx(np.mean(cosines))
                    assert found.conflict == np.mean([c < 0 for c in cosines])
                    assert (found.n, found.non_finite, found.epoch) == (len(mine), 0, step // 5)
    assert 0 < table.conflict.mean() < 1  # the control: both signs are there


def test_a_gradient_of_zero_has_a_norm_and_no_direction(records):
    records["gram"][1, 0, :] = records["gram"][1, :, 0] = 0
    analyzer = LayerGradients(LAYERS, TERMS, STEPS)
    analyzer.update(**given(records, "gram"))
    table = analyzer.table()
    silent = row(table, step=0, layer="fc", term_a="ce", term_b="high")
    assert silent.norm_a == 0
    assert np.isnan(silent.cosine)
    assert np.isnan(silent.conflict)
    assert row(table, step=0, layer="fc", term_a="high", term_b="low").cosine != 0


def test_a_record_with_nan_is_counted_and_left_out(records):
    whole = LayerGradients(LAYERS, TERMS, STEPS)
    whole.update(**{n: x[:4] for n, x in given(records, "gram").items()})
    records["gram"][4, 1, 2] = np.nan
    analyzer = LayerGradients(LAYERS, TERMS, STEPS)
    analyzer.update(**given(records, "gram"))
    table, expected = analyzer.table(), whole.table()
    pd.testing.assert_frame_equal(
        table.drop(columns="non_finite"), expected.drop(columns="non_finite")
    )
    assert table.groupby(["step", "layer"]).non_finite.first().tolist() == [0, 1, 0, 0]


def test_a_layer_without_records_at_a_step_has_no_rows_and_one_of_nan_alone_has(records):
    records["gram"][3] = np.nan
    analyzer = LayerGradients(LAYERS, TERMS, STEPS)
    analyzer.update(**{n: x[1:4] for n, x in given(records, "gram").items()})
    table = analyzer.table()
    assert table.groupby(["step", "layer"]).n.first().to_dict() == {
        (0, "fc"): 1,
        (10, "layer1"): 1,
        (10, "fc"): 0,
    }
    assert table[table.n == 0].norm_a.isna().all()


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


@pytest.mark.parametrize("kind", [LayerGradients, SignalToNoise])
def test_parts_merge_into_the_whole(records, kind):
    records |= {"covariance": records["gram"] / 7, "count": torch.full((5,), 8)}
    names = ("gram",) if kind is LayerGradients else ("gram", "covariance", "count")
    whole, left, right = (kind(LAYERS, TERMS, STEPS) for _ in range(3))
    whole.update(**given(records, *names))
    left.update(**{n: x[:2] for n, x in given(records, *names).items()})
    right.update(**{n: x[2:] for n, x in given(records, *names).items()})
    left.merge_state(right)
    pd.testing.assert_frame_equal(left.table(), whole.table())
    with pytest.raises(ValueError, match="cannot merge"):
        left.merge_state(kind(LAYERS[:1], TERMS, STEPS))


def test_a_step_that_was_not_announced_is_refused(records):
    with pytest.raises(ValueError, match="step 10 is not among the 1 steps"):
        LayerGradients(LAYERS, TERMS, (0,)).update(**given(records, "gram"))


def test_nothing_to_look_at_is_refused():
    with pytest.raises(ValueError, match="need at least one layer and one term, got"):
        LayerGradients((), TERMS, STEPS)
