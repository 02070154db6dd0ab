"""Direction and tail: quantiles as numpy finds them; sentences and figures show the tables."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from kdanalysis.analyzers.truncation.direction import (
    TruncatedDirection,
    direction_over_k,
    direction_reading,
)
from kdanalysis.analyzers.truncation.tail import (
    TailMass,
    tail_over_k,
    tail_reading,
    times_as_much,
)
from kdanalysis.core.truncation.algebra import CONVENTIONS
from tests.analyzers.readback import lines, smallest_font
from tests.analyzers.truncation.rows import KS, N, fed, pair, plain

STUDENT, TEACHER = pair()


def test_cosines_and_ratios_are_numpys():
    frame = fed(TruncatedDirection, STUDENT, TEACHER, KS).table()
    frame = frame.set_index(["quantity", "convention", "k"])
    for k, name in product(KS, CONVENTIONS):
        if (k, name) == (1, "renormalise"):
            continue
        gradients, _ = plain(STUDENT, TEACHER, k)
        kept, full = gradients[name], gradients["full"]
        lengths = np.linalg.norm(kept, axis=1), np.linalg.norm(full, axis=1)
        cosine, ratio = (kept * full).sum(1) / lengths[0] / lengths[1], lengths[0] / lengths[1]
        for quantity, each, close in (
            ("cosine", cosine, {"abs": 0.0027}),
            ("ratio", ratio, {"rel": 0.038}),
        ):
            row = frame.loc[(quantity, name, k)]
            assert row["mean"] == pytest.approx(each.mean(), rel=1e-10)
            for column, q in (("q25", 0.25), ("median", 0.5), ("q75", 0.75)):
                expected = np.quantile(each, q, method="inverted_cdf")
                assert row[column] == pytest.approx(expected, **close), (quantity, name, k)


def test_quartiles_of_the_overlap_of_one_class_are_0_or_1():
    frame = fed(TailMass, STUDENT, TEACHER, KS).table().set_index(["quantity", "k"])
    alike = (STUDENT.argmax(1) == TEACHER.argmax(1)).double().numpy()
    row = frame.loc[("overlap", 1)]
    assert frame.by_chance["overlap"].tolist() == [k / 50 for k in KS]
    assert frame.by_chance["teacher"].isna().all()
    for column, q in (("q10", 0.1), ("median", 0.5), ("q90", 0.9)):
        assert row[column] == np.quantile(alike, q, method="inverted_cdf")


def test_a_gradient_of_zero_has_no_direction_and_none_without_full_kd_a_ratio():
    student = STUDENT.clone()
    student[:20] = TEACHER[:20]
    frame = fed(TruncatedDirection, student, TEACHER, KS).table()
    frame = frame.set_index(["quantity", "convention", "k"])
    assert frame.n["cosine", "renormalise", 1] == 0
    assert frame.n["ratio", "renormalise", 1] == N - 20
    assert frame["mean"]["ratio", "renormalise", 1] == 0
    assert frame.n["ratio", "teacher", 4] == N - 20
    assert np.isnan(frame["median"]["cosine", "renormalise", 1])


def directions(cosine: float = 0.999, unknown: float = 0.0) -> pd.DataFrame:
    rows = [
        (1.0, quantity, name, k, value, value - 0.01, value, value + 0.01, 300)
        for (quantity, one), name, k in product(
            (("cosine", cosine), ("ratio", 1.05)), CONVENTIONS, (8, 64)
        )
        for value in [one - 0.2 * (name == "teacher" and quantity == "cosine")]
    ]
    names = ["temperature", "quantity", "convention", "k", "mean", "q25", "median", "q75", "n"]
    return pd.DataFrame(rows, columns=names).assign(
        unknown=unknown, by_definition=0.0, non_finite=0
    )


def test_the_sentence_says_who_keeps_the_direction():
    sentence = direction_reading(directions()).sentence
    assert sentence.startswith('At K = 64 "renormalise", "bucket" and "none" keep the direction')
    assert 'that "teacher" has the lowest cosine is seen, 0.799 ± 0.002 (next "renorm' in sentence
    wide = directions().assign(q25=0.0, q75=1.0, n=9)
    assert (
        'that "teacher" has the lowest cosine is not seen, 0.7' in direction_reading(wide).sentence
    )
    assert direction_reading(directions(0.9)).sentence.startswith("Even K = 64 does not keep")
    assert "of 300 rows" in direction_reading(directions()).number
    assert "not stored" not in sentence
    off = direction_reading(directions(unknown=0.025)).sentence
    assert off.endswith("full KD's own gradient may be another by 2.5 % of its length.")


def test_conventions_that_point_alike_are_named_together():
    table = directions()
    numbers = ["mean", "q25", "median", "q75"]
    of = {name: table.convention == name for name in ("none", "teacher")}
    table.loc[of["none"], numbers] = table.loc[of["teacher"], numbers].to_numpy() + 1e-9
    sentence = direction_reading(table).sentence
    assert 'that "none" and "teacher" have the lowest cosine is seen, 0.799 ± 0.002' in sentence
    alike = table.assign(median=0.8, mean=0.9)
    assert '; "renormalise", "bucket", "none" and "teacher" have the' in direction_reading(alike)[0]


def test_of_a_single_row_nothing_is_claimed_and_no_number_is_nan():
    table = directions().assign(n=1)
    no_cosine = (table.convention == "renormalise") & (table.quantity == "cosine")
    table.loc[no_cosine, ["mean", "q25", "median", "q75"]] = np.nan
    reading = direction_reading(table)
    assert reading.sentence.startswith(
        "It cannot be tested here whether K = 64 keeps the direction"
    )
    assert 'that "teacher" has the lowest cosine cannot be tested here, 0.799 (' in reading.sentence
    assert 'of 1 row: "renormalise" cosine unknown, without a gradient, norm 1.05' in reading.number


def test_a_k_at_which_a_convention_is_full_kd_itself_is_no_finding():
    table = directions()
    itself = (table.convention == "bucket") & (table.k == 64)
    table.loc[itself, ["mean", "q25", "median", "q75"]] = 1.0
    assert direction_reading(table).sentence.startswith('At K = 8 "renormalise", "bucket" and')
    for part, gap in ((0.0, False), (1.0, True)):
        axes = direction_over_k(table.assign(by_definition=part)).axes
        ends = [lines(ax)["bucket"][1][-1] for ax in axes]
        assert [end != end for end in ends] == [gap, gap]
    everywhere = table[table.k == 64]
    assert direction_reading(everywhere).sentence.startswith("At K = 64")


def test_a_band_that_reaches_no_norm_ends_at_the_bottom():
    table = directions()
    ratio = table.quantity == "ratio"
    table.loc[ratio & (table.convention == "bucket"), "q25"] = 0.0
    table.loc[ratio & (table.convention == "none"), ["q25", "median"]] = 0.0
    axes = direction_over_k(table).axes
    band = axes[1].collections[CONVENTIONS.index("bucket")].get_paths()[0].vertices[:, 1]
    assert axes[1].get_ylim()[0] == band.min() == pytest.approx(0.7 * 1.04)
    assert np.isnan(lines(axes[1])["none"][1]).all()
    table.loc[~ratio & (table.convention == "bucket"), "median"] = 0.0
    assert lines(direction_over_k(table).axes[0])["bucket"][1] == [0, 0]
    table.loc[ratio, ["q25", "median", "q75"]] = 0.0
    assert direction_over_k(table).axes[1].get_ylim()[0] == 0.7


def test_panels_show_the_medians():
    frame = directions()
    figure = direction_over_k(frame)
    for ax, quantity in zip(figure.axes, ("cosine", "ratio"), strict=True):
        rows = frame[(frame.quantity == quantity) & (frame.convention == "teacher")]
        assert lines(ax)["teacher"] == ([8, 64], pytest.approx(rows["median"].tolist()))
    assert smallest_font(figure) >= 9


def test_masses_and_overlap_are_numpys():
    frame = fed(TailMass, STUDENT, TEACHER, KS).table().set_index(["quantity", "k"])
    p, q = (side.softmax(-1).numpy() for side in (TEACHER, STUDENT))
    best, mine = (-p).argsort(1), (-q).argsort(1)
    for k in KS:
        each = {
            "teacher": np.take_along_axis(p, best[:, k:], 1).sum(1),
            "student": np.take_along_axis(q, best[:, k:], 1).sum(1),
            "overlap": np.array(
                [len({*a} & {*b}) / k for a, b in zip(best[:, :k], mine[:, :k], strict=True)]
            ),
        }
        for name, values in each.items():
            row = frame.loc[(name, k)]
            assert row["mean"] == pytest.approx(values.mean(), rel=1e-12)
            assert row["std"] == pytest.approx(values.std(ddof=1), rel=1e-9)
            close = {"abs": 0.0015} if name == "overlap" else {"rel": 0.038}
            for column, level in (("q10", 0.1), ("median", 0.5), ("q90", 0.9)):
                expected = np.quantile(values, level, method="inverted_cdf")
                assert row[column] == pytest.approx(expected, **close), (name, k, column)
    assert (frame.n == N).all()


def bootstrap(*samples: np.ndarray, times: int = 2000) -> list[np.ndarray]:
    """Each sample drawn anew with replacement, (times, n), apart from the others."""
    draw = np.random.default_rng(0)
    return [x[draw.integers(len(x), size=(times, len(x)))] for x in samples]


def test_the_interval_of_the_ratio_of_tails_is_that_of_the_bootstrap():
    frame = fed(TailMass, STUDENT, TEACHER, KS).table().set_index(["quantity", "k"])
    p, q = (side.softmax(-1).numpy() for side in (TEACHER, STUDENT))
    best = (-p).argsort(1)[:, 4:]
    tail = [np.take_along_axis(x, best, 1).sum(1) for x in (q, p)]
    found = times_as_much(frame.loc[("student", 4)], frame.loc[("teacher", 4)])
    drawn = bootstrap(*tail)
    logs = np.log(drawn[0].mean(1) / drawn[1].mean(1))
    assert found.half == pytest.approx(1.96 * logs.std(), rel=0.1)


def test_the_interval_of_a_median_is_near_that_of_the_bootstrap():
    frame = fed(TruncatedDirection, STUDENT, TEACHER, KS).table()
    row = frame.set_index(["quantity", "convention", "k"]).loc[("cosine", "none", 4)]
    gradients, _ = plain(STUDENT, TEACHER, 4)
    kept, full = gradients["none"], gradients["full"]
    each = (kept * full).sum(1) / np.linalg.norm(kept, axis=1) / np.linalg.norm(full, axis=1)
    assert [row.median_low, row.median_high] == pytest.approx(np.sort(each)[[21, 38]], abs=0.02)
    drawn = np.median(bootstrap(each)[0], axis=1)
    assert np.mean((drawn >= row.median_low) & (drawn <= row.median_high)) > 0.94


def tails(median: float = 0.2, q90: float = 0.4, student: float = 2.0) -> pd.DataFrame:
    """Masses that fall tenfold with every K."""
    rows = [
        (1.0, name, k, *(scale * x / 10**place for x in (median, median / 2, median, q90)), 200)
        for name, scale in (("teacher", 1.0), ("student", student), ("overlap", 1.0))
        for place, k in enumerate((8, 16, 32))
    ]
    names = ["temperature", "quantity", "k", "mean", "q10", "median", "q90", "n"]
    frame = pd.DataFrame(rows, columns=names).assign(non_finite=0)
    by_chance = (frame.k / 80).where(frame.quantity == "overlap")
    return frame.assign(std=0.2 * frame["mean"], by_chance=by_chance)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (
            tails(),
            "The K looked at are too few to tell whether one serves most rows: 95 % of the "
            "teacher's mass takes at most K = 16 in the median row and at most K = 16 in nine of",
        ),
        (
            tails().replace({"k": {8: 15}}),
            "One K serves most rows: 95 % of the teacher's mass takes K = 16 in the median row",
        ),
        (
            tails(0.04),
            "No K serves all rows alike: 95 % of the teacher's mass takes at most K = 8 in the "
            "median row and at most K = 16 in nine of ten",
        ),
        (tails(0.04, 0.04).replace({"k": {8: 1}}), "takes K = 1 in the median row and K = 1 in"),
        (tails(0.4, 6.0), "at most K = 16 in the median row and more than K = 32 in nine of ten"),
        (tails(20.0, 40.0), "Even K = 32 does not hold 95 % of the teacher's mass"),
        (tails(), "That the student has more outside than its teacher is seen: 2.00 (95 % 1.92 to"),
        (tails(student=0.5), "less outside than its teacher is seen: 0.500 (95 % 0.481 to 0.520)"),
        (tails(student=1.02), "more outside than its teacher is not seen: 1.02 (95 % 0.98 to"),
        (tails(student=0.0), "The student has 0.0 % outside K = 32, its teacher 0.2 %; there its"),
        (tails(0.0, 0.0), "The student has 0.0 % outside K = 32, its teacher 0.0 %; there its own"),
        (tails().assign(n=3), "were unrelated). One row of ten is the last of 3 rows here."),
        (tails().drop(columns="std"), "than its teacher cannot be tested here: 2 times"),
        (
            tails(),
            "agrees in 0.20 % (0.19 % to 0.21 %) of its classes (40.0 % if they were unrelated).",
        ),
    ],
)
def test_the_sentence_about_the_tail_follows_the_table(frame, words):
    assert words in tail_reading(frame).sentence


def test_panels_show_masses_and_overlap():
    frame = tails()
    masses, overlap = tail_over_k(frame).axes
    rows = frame[frame.quantity == "student"]
    assert lines(masses)["student, median"][1] == pytest.approx(100 * rows["median"])
    assert lines(masses)["teacher, mean"][1] == pytest.approx([20, 2, 0.2])
    assert list(lines(overlap)) == ["overlap, median", "overlap, mean"]


def test_an_overlap_of_nothing_is_drawn_and_a_mass_of_nothing_is_not():
    frame = tails().assign(q10=0.0)
    masses, overlap = tail_over_k(frame).axes
    (band,) = overlap.collections
    assert {float(y) for y in band.get_paths()[0].vertices[:, 1]} >= {0.0}
    assert not any(len(band.get_paths()) for band in masses.collections)
