"""Relation figures: means and intervals from the table, and a claim that follows the intervals."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.stats import t as student_t

from kdanalysis.analyzers.evidence import Interval, mean_of
from kdanalysis.analyzers.students.relation import (
    at_end,
    methods_reading,
    pooled,
    relation_reading,
)
from kdanalysis.analyzers.students.relation_pictures import (
    TITLES,
    relation_by_method,
    relation_over_training,
)
from kdanalysis.analyzers.students.seeds import by_seed, verdicts_told
from kdanalysis.draw.colours import LOSSES
from tests.analyzers.readback import lines, smallest_font

NOTIONS = ("target", "top-1", "top-3")


def table(end: float = 0.8, std: float = 0.1, epochs: int = 5, notions=NOTIONS) -> pd.DataFrame:
    """Means grow to ``end`` over the epochs, two steps each; the notions lie 0.01 apart."""
    rows = [
        (10 * step, step // 2, notion, measure, end * (step + 1) / (2 * epochs) - 0.01 * i, std)
        for step in range(2 * epochs)
        for i, notion in enumerate(notions)
        for measure in TITLES
    ]
    names = ["step", "epoch", "notion", "measure", "mean", "std"]
    return pd.DataFrame(rows, columns=names).assign(n=50, no_relation=0, non_finite=0)


def test_steps_are_pooled_as_if_their_samples_were_one_sample():
    rng = np.random.default_rng(0)
    samples = [rng.uniform(-1, 1, n) for n in (1, 40)]  # one alone has no deviation
    rows = [(0, "a", "kendall", x.mean(), pd.Series(x).std(), len(x)) for x in samples]
    names = ["epoch", "notion", "measure", "mean", "std", "n"]
    frame = pd.DataFrame(rows, columns=names)
    row = pooled(frame, "epoch").iloc[0]
    whole = np.concatenate(samples)
    half = student_t.ppf(0.975, 40) * whole.std(ddof=1) / np.sqrt(41)
    assert (row["mean"], row.n) == (pytest.approx(whole.mean()), 41)
    assert (row.low, row.high) == pytest.approx(
        (whole.mean() - half, whole.mean() + half), rel=1e-3
    )


def test_a_single_sample_has_a_mean_without_interval():
    row = pooled(table(epochs=1, std=np.nan).assign(n=1).query("step == 0"), "step").iloc[0]
    assert row["mean"] == pytest.approx(0.4)
    assert np.isnan(row.high)


def test_lines_are_the_epochs_means_in_one_panel_a_measure():
    frame = table()
    frame.loc[frame.measure == "cosine", "mean"] += 0.1
    axes = relation_over_training(frame).axes
    assert [ax.get_title(loc="left") for ax in axes] == list(TITLES.values())
    x, y = lines(axes[2])["top-1"]
    assert x == [0, 1, 2, 3, 4]
    expected = [0.8 * (2 * e + 1.5) / 10 - 0.01 + 0.1 for e in range(5)]
    assert y == pytest.approx(expected)
    assert axes[3].get_xlabel() == "epoch"


def test_bands_are_the_intervals():
    ax = relation_over_training(table()).axes[0]
    rows = pooled(table(), "epoch").query("measure == 'spearman' and notion == 'target'")
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(rows.high.max())
    assert band.min() == pytest.approx(rows.low.min())


def test_few_epochs_are_drawn_step_by_step():
    ax = relation_over_training(table(epochs=2)).axes[3]
    assert lines(ax)["target"][0] == [0, 10, 20, 30]
    assert ax.get_xlabel() == "training step"


def test_the_scale_of_the_order_is_that_of_the_correlations_about_chance():
    axes = relation_over_training(table()).axes
    low, high = axes[0].get_ylim()
    assert axes[1].get_ylim() == axes[2].get_ylim() == (low, high)
    assert axes[3].get_ylim() == pytest.approx(((1 + low) / 2, (1 + high) / 2))


def test_students_are_points_with_their_intervals_a_row_a_loss():
    tables = {"kd": table(0.5), "gdkd": table(0.7)}
    ax = relation_by_method(tables)
    for place, (name, student) in enumerate(tables.items()):
        points, _, (bars,) = ax.containers[place]
        row = at_end(student).loc[("top-3", "kendall")]
        assert points.get_xdata() == pytest.approx([row["mean"]])
        ((left, right),) = [(x[0, 0], x[1, 0]) for x in bars.get_segments()]
        assert (left, right) == pytest.approx((row.low, row.high))
        assert points.get_ydata().tolist() == [place]
        assert points.get_color() == LOSSES[name]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["kd", "gdkd"]
    low, high = ax.get_ylim()
    assert low > high  # the first student stands on top
    assert smallest_font(ax.figure) >= 9


def test_seeds_share_a_row_with_their_mean_and_its_interval():
    ends = (0.5, 0.54, 0.56)
    tables = {f"kd-{seed}": table(end) for seed, end in enumerate(ends)} | {"gdkd": table(0.7)}
    ax = relation_by_method(tables)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["kd", "gdkd"]
    means = [at_end(t).loc[("top-3", "kendall")]["mean"] for t in list(tables.values())[:3]]
    assert ax.containers[0][0].get_xdata() == pytest.approx(means)
    bar = ax.lines[1] if ax.lines[0] is ax.containers[0][0] else ax.lines[0]
    assert bar.get_xdata() == pytest.approx([np.mean(means)] * 2)
    half = stats.t.ppf(0.975, 2) * np.std(means, ddof=1) / np.sqrt(3)
    spans = [
        s[:, 0] for c in ax.collections for s in c.get_segments() if len(c.get_segments()) == 1
    ]
    expected = [np.mean(means) - half, np.mean(means) + half]
    assert any(np.allclose(span, expected, atol=1e-3) for span in spans)


def test_no_marker_is_cut():
    frame = table(epochs=1).query("step == 0")
    axes = relation_over_training(frame).axes
    for ax in axes:
        low, high = ax.get_ylim()
        for _, y in lines(ax).values():
            assert low + 0.03 * (high - low) < y[0] < high - 0.03 * (high - low)
    assert axes[3].get_xticks().tolist() == [0]


def test_names_are_not_read_as_math():
    ax = relation_by_method({"$x$": table(), "b": table()})
    assert ax.get_yticklabels()[0].get_text() == "$x$"
    assert not any(text.get_parse_math() for text in ax.get_yticklabels())


def test_the_end_is_the_last_epoch():
    assert at_end(table())["mean"][("target", "order")] == pytest.approx(0.8 * 9.5 / 10)
    assert at_end(table())["n"].unique().tolist() == [100]


def test_only_notions_that_all_have_are_compared():
    tables = {"kd": table(), "gdkd": table(notions=("target", "top-1", "top-5"))}
    assert "all but the teacher's top-1" in relation_by_method(tables).get_xlabel()
    assert methods_reading(tables).number.startswith("tau-b without top-1: kd 0.750 ± 0.0")
    gone = table().assign(n=lambda t: t.n.where(t.notion != "target", 0))
    assert len(relation_by_method({"kd": table(), "gdkd": gone}).containers) == 2
    with pytest.raises(ValueError, match="share no notion"):
        relation_by_method({"kd": table(notions=["a"]), "gdkd": table(notions=["b"])})
    with pytest.raises(ValueError, match="need the table of at least one student"):
        relation_by_method({})


def test_those_left_out_are_stated():
    frame = table().assign(non_finite=2)
    frame.loc[(frame.notion == "top-3") & (frame.step < 20), "no_relation"] = 3
    figure = relation_over_training(frame)
    title = figure.legends[0].get_title().get_text()
    assert "(6 samples without a relation left out)" in title
    assert "(2 samples with NaN or inf left out)" in title
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["all but the target", "all but the top-1", "all but the top-3"]


def test_the_sentence_says_whether_the_relations_grew():
    grown = relation_reading(table()).sentence
    assert grown.startswith("The student takes over the teacher's non-top relations: seen; outside")
    assert "tau-b of 0.740 ± 0.0" in grown
    assert "in epoch 4, against 0.100 ± 0.0" in grown
    for slope in (0.0, 0.0005):  # grown by less than the intervals of 0.02
        flat = table().assign(mean=lambda t, slope=slope: 0.3 + slope * t.step / 10)
        assert relation_reading(flat).sentence.startswith(
            "The student takes over the teacher's non-top relations: not seen; outside"
        )
    alone = relation_reading(table().assign(epoch=0)).sentence  # recorder.epoch was never set
    assert "over all samples, against 0.060 ± 0.0" in alone
    single = table(epochs=1).query("step == 0").assign(epoch=pd.NA)
    assert relation_reading(single).sentence.startswith(
        "Outside the teacher's top-3 student and teacher order the classes with a tau-b"
    )


def test_the_number_names_every_notion():
    text = relation_reading(table()).number
    assert text.startswith("in epoch 4, without target / top-1 / top-3: ")
    assert text.endswith("tau-b 0.760 / 0.750 / 0.740")


@pytest.mark.parametrize(
    ("end", "expected"), [(0.6, "seen"), (0.505, "not seen"), (0.3, "the opposite is seen")]
)
def test_a_student_is_above_kd_where_the_interval_is_above_0(end, expected):
    tables = {"gdkd": table(end), "kd": table(0.5)}
    text = methods_reading(tables).sentence
    rows = [at_end(one).loc[("top-3", "kendall")] for one in tables.values()]
    half = np.hypot(*(row.high - row["mean"] for row in rows))
    value = rows[0]["mean"] - rows[1]["mean"]
    told = f"{value:+.3f} ± {half:.3f}".replace("-", "\u2212")
    assert f"above kd's: gdkd {told} ({expected})." in text
    assert text.endswith("what another training would give cannot be tested here.")


@pytest.mark.parametrize("unknown", [0, 3])
def test_a_student_without_a_number_is_no_end_of_many(unknown):
    """As of seeds that it shares with none."""
    known = [(c, Interval(0.1 * i, 0.05)) for i, c in enumerate("abcdefg", 1)]
    known.insert(unknown, ("x", Interval(np.nan, np.nan)))
    told = "seen for 7 of 8, cannot be tested here for 1"
    ends = "a +0.100 ± 0.050 to g +0.700 ± 0.050"
    assert verdicts_told(dict(known), "+.3f") == f"{told}, from {ends}"
    none = dict.fromkeys("abcdef", Interval(np.nan, np.nan))
    assert verdicts_told(none, "+.3f") == "cannot be tested here for 6 of 6"


def test_many_students_are_counted_and_the_ends_named():
    tables = {"kd": table(0.5)} | {f"loss{c}": table(0.2 + 0.1 * i) for i, c in enumerate("abcdef")}
    text = methods_reading(tables).sentence
    assert (
        "above kd's: seen for 2 of 6, not seen for 1, the opposite is seen for 3, from lossa "
        in (text)
    )
    ends = [text.partition(f"{name} ")[2].split(" ")[0] for name in ("from lossa", "to lossf")]
    assert ends == ["\u22120.285", "+0.190"]
    assert text.count("loss") == 2
    five = methods_reading({name: tables[name] for name in list(tables)[:6]}).sentence
    assert five.count("loss") == 5


def test_seeds_are_compared_seed_by_seed():
    starts = (0.3, 0.5, 0.7)
    tables = {f"kd-{s}": table(start) for s, start in enumerate(starts)}
    gains = (0.02, 0.03, 0.025)
    tables |= {f"dkd-{s}": table(starts[s] + gain) for s, gain in enumerate(gains)}
    scaled = 0.95 * np.array(gains)  # the last epoch of the table
    half = stats.t.ppf(0.975, 2) * scaled.std(ddof=1) / np.sqrt(3)
    text = methods_reading(tables).sentence
    assert f"dkd {scaled.mean():+.3f} ± {half:.3f} (seen)" in text  # unpaired it would be lost
    assert text.endswith("Intervals are over seeds, seed by seed.")


def test_partition_weight_and_step_are_told_apart():
    ends = {"kd": 0.3, "kd x 6": 0.3, "dkd-top1 1": 0.4, "dkd-top1 8": 0.45}
    ends |= {"gdkd 1/1/1": 0.5, "gdkd 1/1/8": 0.55}
    noise = np.random.default_rng(0).normal(0, 0.001, (3, 6))
    tables = {
        f"{loss}-{seed}": table(end + noise[seed, place])
        for seed in range(3)
        for place, (loss, end) in enumerate(ends.items())
    }
    text = methods_reading(tables).sentence.split("By what the losses differ in: ")[1]
    found = {
        part.split()[0]: float(part.split()[1]) for part in text.split("., ")[0].split(", ")[:3]
    }
    assert found["partition"] == pytest.approx(0.095, abs=0.003)
    assert found["weight"] == pytest.approx(0.0475, abs=0.003)
    assert found["step"] == pytest.approx(0, abs=0.003)
    assert text.count("(seen)") == 2


def test_only_names_that_differ_in_the_seed_alone_have_one():
    names = ["gdkd-k-3", "kd-0", "kd-1", "dkd seed 2", "dkd seed 3"]
    assert by_seed(names) == {
        "gdkd-k-3": {"": "gdkd-k-3"},
        "kd": {"0": "kd-0", "1": "kd-1"},
        "dkd": {"2": "dkd seed 2", "3": "dkd seed 3"},
    }


@pytest.mark.parametrize("count", [2, 3, 5, 10, 20, 100])
def test_intervals_over_seeds_are_students(count):
    values = np.random.default_rng(count).normal(size=count)
    half = stats.t.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count)
    assert mean_of(values.tolist()).half == pytest.approx(half, rel=2e-3)
    assert mean_of(values.tolist()).value == pytest.approx(values.mean())


def test_one_value_has_no_interval_and_none_no_mean():
    assert mean_of([0.3]).verdict == mean_of([]).verdict == "cannot be tested here"


def test_a_table_without_relations_is_refused():
    with pytest.raises(ValueError, match="the table has no value of 'mean'"):
        relation_over_training(table().assign(mean=np.nan, n=0))
