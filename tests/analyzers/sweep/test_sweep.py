"""The sweep agrees with a plain loop over autograd; its figures and sentence show its table."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.sweep import sweep as module
from kdanalysis.analyzers.sweep.sweep import COLUMNS, TermSweep, sweep_reading
from kdanalysis.analyzers.sweep.sweep_pictures import (
    ks_to_try,
    sweep_over_k,
    sweep_over_temperature,
)
from tests.analyzers.readback import legend_is_beside, legend_texts, lines, smallest_font
from tests.analyzers.reference import autograd_gradients, logits, probabilities, top_mass

N, C = 40, 8
STUDENT, TEACHER = logits(0, N, C), logits(1, N, C)
WEIGHTS = (0.5, 2.0, 8.0)


def table(
    student=STUDENT, teacher=TEACHER, temperatures=(1, 4), ks="all", splits=(13,), **settings
) -> pd.DataFrame:
    analyzer = TermSweep(teacher.shape[1], temperatures, ks, WEIGHTS, **settings)
    for rows in np.split(np.arange(len(teacher)), splits):
        analyzer.update(student[rows], teacher[rows])
    return analyzer.table()


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Mean cosine over the samples in which both gradients are there."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    there = lengths > 1e-14
    return ((a * b).sum(1)[there] / lengths[there]).mean() if there.any() else np.nan


def expected_row(k: int, temperature: float) -> dict[str, float]:
    """Means over samples from autograd's gradients, written out."""
    g = autograd_gradients(STUDENT, TEACHER, TEACHER.argmax(1), k, temperature)
    names = ("high", "low_top", "low_other")
    norms = {name: np.linalg.norm(g[name], axis=1) for name in (*names, "kd")}
    total = sum(w * g[name] for w, name in zip(WEIGHTS, names, strict=True))
    mass = top_mass(TEACHER, k, temperature)
    p = probabilities(TEACHER, temperature)
    row = {"mass_top": mass.mean(), "mass_other": (1 - mass).mean()}
    row |= {f"norm_{name}": norm.mean() for name, norm in norms.items()}
    row |= {f"cosine_{name}_kd": cosine(g[name], g["kd"]) for name in names}
    row |= {f"cosine_high_{name}": cosine(g["high"], g[name]) for name in names[1:]}
    row["norm_total"] = np.linalg.norm(total, axis=1).mean()
    row["cosine_total_kd"] = cosine(total, g["kd"])
    row["entropy"] = -(p * np.log(p)).sum(1).mean()
    for prefix, weights in (("share", WEIGHTS), ("kd_share", (1.0, mass, 1 - mass))):
        lengths = np.stack([w * norms[name] for w, name in zip(weights, names, strict=True)])
        shares = (lengths / lengths.sum(0)).mean(1)
        row |= {f"{prefix}_{name}": s for name, s in zip(names, shares, strict=True)}
    return row


@pytest.mark.parametrize("temperature", [1, 4])
@pytest.mark.parametrize("k", [1, 3, 7])
def test_means_agree_with_a_loop_over_autograd(k, temperature):
    rows = table().set_index(["temperature", "k"])
    row, expected = rows.loc[(temperature, k)], expected_row(k, temperature)
    assert set(expected) | {c for c in COLUMNS if c.startswith("value")} == set(COLUMNS)
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-13, nan_ok=True), name


def test_values_agree_with_numpy():
    rows = table().set_index(["temperature", "k"])
    p, q = (probabilities(side, 4) for side in (TEACHER, STUDENT))
    order = (-TEACHER).argsort(dim=1).numpy()
    p, q = (np.take_along_axis(x, order, 1) for x in (p, q))
    for k in range(1, C):
        groups = [slice(k), slice(k, None)]
        big = [(p[:, g].sum(1), q[:, g].sum(1)) for g in groups]
        high = sum(a * np.log(a / b) for a, b in big).mean()
        low = [
            (p[:, g] / a[:, None] * np.log(p[:, g] / a[:, None] / (q[:, g] / b[:, None]))).sum(1)
            for g, (a, b) in zip(groups, big, strict=True)
        ]
        row = rows.loc[(4, k)]
        assert row.value_high == pytest.approx(16 * high, rel=1e-10)
        assert row.value_low_top == pytest.approx(16 * low[0].mean(), rel=1e-10, abs=1e-14)
        assert row.value_low_other == pytest.approx(16 * low[1].mean(), rel=1e-10, abs=1e-14)
        assert row.value_kd == pytest.approx(16 * (p * np.log(p / q)).sum(1).mean(), rel=1e-10)


def test_rows_are_every_temperature_and_k():
    frame = table(ks=(5, 2))
    assert list(zip(frame.temperature, frame.k, strict=True)) == [(1, 2), (1, 5), (4, 2), (4, 5)]
    whole = table()
    rows = whole[whole.k.isin([2, 5])].reset_index(drop=True)
    pd.testing.assert_frame_equal(frame, rows)


def test_chunks_and_threads_change_nothing(monkeypatch):
    whole = table(splits=())
    monkeypatch.setattr(module, "chunks", partial(module.chunks, entries=6 * C))
    before = torch.get_num_threads()
    frames = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        frames.append(table(splits=()))
    torch.set_num_threads(before)
    pd.testing.assert_frame_equal(*frames, check_exact=True)
    pd.testing.assert_frame_equal(frames[0], whole, rtol=1e-12)


def test_a_gradient_of_zero_enters_no_mean_of_directions():
    student = STUDENT.clone()
    student[:10] = TEACHER[:10]
    rows, rest = table(student), table(STUDENT[10:], TEACHER[10:])
    for name in (c for c in COLUMNS if c.startswith(("cosine", "share", "kd_share"))):
        np.testing.assert_allclose(rows[name], rest[name], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(rows.norm_kd, rest.norm_kd * 30 / 40, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((1,), "need at least 2 classes"),
        ((8, (0,)), "temperature must lie between 0.001 and 10000, got 0"),
        ((8, (1,), (0,)), "k must be a whole number from 1 to 7 where there are 8 classes, got 0"),
        ((8, (1,), (2, 8)), "got 8: a group would be empty"),
        ((8, (1,), ()), "need at least one k"),
        ((8, (1,), (2, 2)), "every k is needed once"),
        ((8, (1,), "some"), "ks is 'all' or a sequence of numbers, got 'some'"),
        ((8, (1,), "all", (1.0, 2.0)), "need three weights of at least 0"),
        ((8, (1,), "all", (1.0, -1.0, 1.0)), "need three weights of at least 0"),
        ((8, (1,), "all", (0, 0, 0)), "not all 0"),
    ],
)
def test_bad_settings_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        TermSweep(*arguments)


def example(classes: int = 10, temperatures=(1.0, 4.0), growth: float = 1.1) -> pd.DataFrame:
    """Shares that meet at the middle k; the norm of kd grows by ``growth`` a temperature."""
    ks = np.arange(1, classes)
    frames = []
    for place, temperature in enumerate(temperatures):
        x = (ks - 1) / (classes - 2)
        part = {"temperature": temperature, "k": ks, "mass_other": 1 - x, "entropy": 1.0 + place}
        for term, share in (("high", 0 * x), ("low_top", x), ("low_other", 1 - x)):
            part |= {f"share_{term}": share, f"kd_share_{term}": share / 2}
            part |= {f"norm_{term}": 0.1 + share, f"cosine_{term}_kd": share - 0.5}
        part |= {"norm_kd": 2 * growth**place, "cosine_total_kd": 0.25 * x}
        frames.append(pd.DataFrame(part))
    frame = pd.concat(frames, ignore_index=True).assign(n=900, non_finite=0)
    return frame.assign(rms_kd=1.25 * frame.norm_kd)


@pytest.mark.parametrize("classes", [10, 101, 1001])
def test_panels_over_k_show_the_columns(classes):
    frame = example(classes)
    rows = frame[frame.temperature == 4]
    figure = sweep_over_k(frame)
    norms, shares, cosines = figure.axes
    for term in ("high", "low_top", "low_other", "kd"):
        assert lines(norms)[term] == (rows.k.tolist(), rows[f"norm_{term}"].tolist())
    drawn = lines(shares)
    assert drawn["mass outside the top k"][1] == pytest.approx(100 * rows.mass_other)
    assert drawn["relation share in KD"][1] == pytest.approx(100 * rows.kd_share_low_other)
    assert drawn["... as weighted here"][1] == pytest.approx(100 * rows.share_low_other)
    assert lines(cosines)["low_top"][1] == rows.cosine_low_top_kd.tolist()
    assert lines(cosines)["weighted total"][1] == rows.cosine_total_kd.tolist()
    assert cosines.get_xticks()[-1] == classes - 1
    assert norms.get_title(loc="left") == "T = 4"
    assert smallest_font(figure) >= 9
    assert all(legend_is_beside(ax) for ax in figure.axes)


def test_panels_over_temperature_show_the_columns():
    frame = example(temperatures=(1.0, 2.0, 8.0))
    rows = frame[frame.k == 5]
    norms, entropy, shares = sweep_over_temperature(frame).axes
    assert lines(norms)["high"] == (rows.temperature.tolist(), rows.norm_high.tolist())
    bare = [line.get_ydata() for line in norms.lines if line.get_label().startswith("_")]
    assert list(bare[3]) == pytest.approx(rows.norm_kd / rows.temperature**2)
    assert lines(entropy)["teacher"][1] == rows.entropy.tolist()
    assert lines(shares)["low_top"][1] == pytest.approx(100 * rows.kd_share_low_top)
    weighted = [line.get_ydata() for line in shares.lines if line.get_label().startswith("_")]
    assert list(weighted[1]) == pytest.approx(100 * rows.share_low_top)
    assert shares.get_xticks().tolist() == [1, 2, 8]


def with_ends(classes: int) -> pd.DataFrame:
    """The example whose terms are 0 at either end, and whose top 3 classes hold most."""
    frame = example(classes)
    frame["norm_low_top"] = frame.norm_low_top.where(frame.k > 1, 0.0)
    frame["norm_low_other"] = frame.norm_low_other.where(frame.k < classes - 1, 0.0)
    return frame.assign(mass_top=np.minimum(0.3 * frame.k, 0.9 + 0.1 * frame.k / classes))


def test_ends_where_a_term_is_always_zero_are_left_out():
    figure = sweep_over_k(with_ends(10))
    for ax in figure.axes:
        assert all(x == list(range(2, 9)) for x, _ in lines(ax).values() if len(x) > 2)
    label = figure.axes[-1].get_xlabel()
    assert label.endswith("top group\n(without k = 1 and 9, where a term is always 0)")
    three = sweep_over_k(with_ends(3)).axes[0]  # nothing else is left: a gap
    assert np.isnan(lines(three)["low_top"][1][0])


def test_the_k_to_try_are_marked_and_told():
    found = ks_to_try(with_ends(12).query("temperature == 4"))
    assert found == {3: "the rule's", 5: "the papers'", 6: "balanced shares"}
    norms, shares, _ = sweep_over_k(with_ends(12)).axes
    told = [text for text in legend_texts(norms) if "k = " in text]
    assert told == ["k = 3: the rule's", "k = 5: the papers'", "k = 6: balanced shares"]
    verticals = [line.get_xdata() for line in shares.lines if len(set(line.get_xdata())) == 1]
    assert [places[0] for places in verticals] == [3, 5, 6]
    part = with_ends(12).query("temperature == 4 and k in [2, 5, 7]")
    assert set(ks_to_try(part).values()) == {"the papers', balanced shares"}  # no knee without all


def test_the_temperature_that_calibrates_is_marked():
    figure = sweep_over_temperature(example(), calibrated=2.5)
    assert "T = 2.5: calibrates" in legend_texts(figure.axes[0])
    for ax in figure.axes:
        assert any(list(line.get_xdata()) == [2.5, 2.5] for line in ax.lines)
    for unknown in (None, float("nan")):
        texts = legend_texts(sweep_over_temperature(example(), calibrated=unknown).axes[0])
        assert not any("calibrates" in text for text in texts)


def test_the_sentence_follows_the_table():
    claim = sweep_reading(example(12)).sentence
    assert claim.startswith("At T = 4 the smaller of the weighted shares of low_top and low_other")
    assert "at k = 6, 50.0 % (46.7 % to 53.3 %); at every other k it is seen to be smaller" in claim
    assert "That T² keeps the gradient's scale is seen: from T = 1 to 4" in claim
    assert "factor of 1.10 (95 % 1.03 to 1.18), without T² by 0.0688" in claim
    fewer = sweep_reading(example(12).assign(n=100)).sentence
    assert "from k = 5 to 7 it is not seen to be smaller" in fewer
    close = example(growth=2.9)  # within a factor of 3, but not with its whole interval
    assert "scale is not seen: from" in sweep_reading(close).sentence
    unknown = sweep_reading(example().drop(columns="rms_kd")).sentence
    assert "T² keeps the gradient's scale cannot be tested here" in unknown
    alone = sweep_reading(example().assign(n=1)).sentence
    assert "T² keeps the gradient's scale cannot be tested here" in alone
    ends = example(12)
    ends.loc[ends.k == 6, "norm_low_top"] = 0.0  # as if by construction: it is passed over
    assert "largest at k = 6" not in sweep_reading(ends).sentence
    for kept, told in ((ends.k == 6, "at no k"), (ends.k.isin((5, 6)), "at k = 5 alone")):
        few = sweep_reading(ends[kept]).sentence
        assert few.startswith(f"Both relation terms have a gradient {told}: how k changes them")
    assert "scale is seen not to hold: from" in sweep_reading(example(growth=10.0)).sentence
    assert "T²" not in sweep_reading(example(temperatures=(4.0,))).sentence


def test_the_interval_of_the_scale_is_that_of_the_bootstrap():
    """Of temperatures with samples of their own, as the interval takes them."""
    frame = table(temperatures=(1, 4), ks=(3,))
    norms = [
        np.linalg.norm(autograd_gradients(STUDENT, TEACHER, TEACHER.argmax(1), 3, t)["kd"], axis=1)
        for t in (1, 4)
    ]
    draw = np.random.default_rng(0)
    means = [x[draw.integers(N, size=(3000, N))].mean(1) for x in norms]
    spread = np.log(means[1] / means[0]).std()
    assert module._half_of_change(frame) == pytest.approx(1.96 * spread, rel=0.1)


def test_the_number_names_the_balanced_k():
    assert sweep_reading(example(12)).number == (
        "T = 1: k = 6 (low_top 50 %, low_other 50 %); T = 4: k = 6 (low_top 50 %, low_other 50 %); "
        "norm of kd over T: factor 1.1, without T² 0.0688"
    )


def test_what_the_table_lacks_is_refused():
    with pytest.raises(ValueError, match="the table has no temperature 3"):
        sweep_over_k(example(), temperature=3)
    with pytest.raises(ValueError, match="the table lacks"):
        sweep_over_temperature(example().drop(columns="share_low_top"))


def test_a_single_k_is_a_mark():
    frame = example()
    figure = sweep_over_k(frame[frame.k == 5])
    assert all(line.get_marker() == "o" for ax in figure.axes for line in ax.lines)
    assert sweep_over_k(example(101)).axes[0].lines[0].get_marker() in ("None", None)
