"""Relation figures: means and intervals from the table, and a claim that follows the intervals."""

import numpy as np
import pandas as pd
import pytest

from kdanalysis.analyzers.students.relation_pictures import (
    TITLES,
    relation_by_method,
    relation_over_training,
)
from kdanalysis.analyzers.students.relation_reading import (
    at_end,
    methods_reading,
    pooled,
    relation_reading,
)
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
    half = 1.96 * whole.std(ddof=1) / np.sqrt(41)
    assert (row["mean"], row.n) == (pytest.approx(whole.mean()), 41)
    assert (row.low, row.high) == pytest.approx((whole.mean() - half, whole.mean() + half))


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


def test_methods_are_points_with_their_intervals():
    tables = {"kd": table(0.5), "gdkd": table(0.7)}
    figure = relation_by_method(tables)
    ax = figure.axes[1]
    points, _, (bars,) = ax.containers[2]
    end = [at_end(t).loc[("top-3", "kendall")] for t in tables.values()]
    assert points.get_xdata().tolist() == pytest.approx([row["mean"] for row in end])
    found = [(segment[0, 0], segment[1, 0]) for segment in bars.get_segments()]
    assert np.array(found) == pytest.approx(np.array([(row.low, row.high) for row in end]))
    labels = figure.axes[0].get_yticklabels()
    assert [text.get_text() for text in labels] == ["kd", "gdkd"]
    assert points.get_ydata()[0] < points.get_ydata()[1]
    low, high = ax.get_ylim()
    assert low > high  # the first student stands on top
    assert smallest_font(figure) >= 9


def test_no_marker_is_cut():
    frame = table(epochs=1).query("step == 0")
    axes = relation_over_training(frame).axes
    for ax in axes:
        low, high = ax.get_ylim()
        for _, y in lines(ax).values():
            assert low + 0.03 * (high - low) < y[0] < high - 0.03 * (high - low)
    assert axes[3].get_xticks().tolist() == [0]


def test_names_are_not_read_as_math():
    axes = relation_by_method({"$x$": table(), "b": table()}).axes
    for ax in axes[::2]:
        assert ax.get_yticklabels()[0].get_text() == "$x$"
        assert not any(text.get_parse_math() for text in ax.get_yticklabels())


def test_the_end_is_the_last_epoch():
    assert at_end(table())["mean"][("target", "order")] == pytest.approx(0.8 * 9.5 / 10)
    assert at_end(table())["n"].unique().tolist() == [100]


def test_only_notions_that_all_have_are_compared():
    tables = {"kd": table(), "gdkd": table(notions=("target", "top-1", "top-5"))}
    assert len(relation_by_method(tables).axes[0].containers) == 2
    assert methods_reading(tables).number.startswith("tau-b without top-1: kd 0.750 ± 0.0")
    gone = table().assign(n=lambda t: t.n.where(t.notion != "target", 0))
    assert len(relation_by_method({"kd": table(), "gdkd": gone}).axes[0].containers) == 2
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
    assert grown.startswith("The student takes over the teacher's non-top relations: outside")
    assert "tau-b 0.740 ± 0.0" in grown
    assert "74.0% of the pairs" in grown
    assert "in epoch 4, against 0.100 ± 0.0" in grown
    for slope in (0.0, 0.0005):  # grown by less than the intervals of 0.02
        flat = table().assign(mean=lambda t, slope=slope: 0.3 + slope * t.step / 10)
        assert relation_reading(flat).sentence.startswith(
            "These data do not show the student take over"
        )
    single = table(epochs=1).query("step == 0").assign(epoch=pd.NA)
    assert relation_reading(single).sentence.startswith(
        "Outside the teacher's top-3 the student orders"
    )


def test_the_number_names_every_measure_and_notion():
    text = relation_reading(table()).number
    assert text.startswith("in epoch 4, without target / top-1 / top-3: ")
    assert "kendall 0.760 / 0.750 / 0.740" in text


CLAIM = "GDKD > DKD > KD"


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((0.5, 0.6, 0.7), f"{CLAIM} holds in these data, in 12 of 12 combinations"),
        ((0.5, 0.7, 0.6), f"{CLAIM} does not hold in these data, in none of 12 combinations"),
        ((0.5, 0.6, 0.605), "gdkd is not apart from dkd, dkd is above kd"),  # ± 0.02 each
        ((0.5, 0.6, 0.605), f"{CLAIM} does not hold in these data, in none of 12"),
        ((0.7, 0.6, 0.5), "gdkd is below dkd, dkd is below kd"),
    ],
)
def test_the_papers_order_is_claimed_only_where_intervals_are_apart(ends, expected):
    tables = dict(zip(("kd", "dkd", "gdkd"), map(table, ends), strict=True))
    assert expected in methods_reading(tables).sentence
    assert "one student each" in methods_reading(tables).sentence


def test_a_claim_that_holds_in_part_says_in_how_many():
    gdkd = table(0.7)
    gdkd.loc[gdkd.notion == "target", "mean"] = 0.1
    tables = {"kd": table(0.5), "dkd": table(0.6), "gdkd": gdkd}
    assert f"{CLAIM} holds in these data, in 8 of 12" in methods_reading(tables).sentence


def test_two_of_the_methods_are_compared_and_the_third_named():
    text = methods_reading({"kd": table(0.5), "gdkd": table(0.7)}).sentence
    assert text.startswith("GDKD > KD holds in these data (DKD left out: not exactly one student)")


def test_students_of_other_names_are_ranked():
    text = methods_reading({"one": table(0.5), "two": table(0.7)}).sentence
    assert text.startswith("Tau-b without top-3, highest first: two 0.645 ±")


def test_a_table_without_relations_is_refused():
    with pytest.raises(ValueError, match="the table has no value of 'mean'"):
        relation_over_training(table().assign(mean=np.nan, n=0))
