"""Discrepancy maps: cells from the table, one colour scale a kind, and the number beside each."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from kdanalysis.analyzers.students.discrepancy_pictures import (
    class_order,
    correlation_maps,
    discrepancy_maps,
    shared_limit,
)
from kdanalysis.analyzers.students.discrepancy_reading import (
    discrepancy_reading,
    map_numbers,
    size,
    students_reading,
)
from tests.analyzers.readback import smallest_font


def table(classes: int = 5, scale: float = 1.0, se: float = 0.1, seed: int = 0) -> pd.DataFrame:
    """Random means of size ``scale``; the students' correlations depart by a tenth of it."""
    rng = np.random.default_rng(seed)
    means = scale * rng.normal(size=(classes, classes))
    teacher = np.corrcoef(rng.normal(size=(classes, 9)))
    step = 0.1 * scale * (1 - np.eye(classes))
    given, other = np.indices((classes, classes)).reshape(2, -1)
    return pd.DataFrame(
        {
            "given": given,
            "class": other,
            "given_by": "target",
            "logits": means.flatten(),
            "logits_se": se * scale,
            "probability": means.flatten() / 100,
            "probability_se": se * scale / 100,
            "student_correlation": (teacher + step).flatten(),
            "teacher_correlation": teacher.flatten(),
            "n": 20,
            "temperature": 4.0,
            "first_step": 0,
            "non_finite": 0,
        }
    )


def cells(ax) -> np.ndarray:
    return np.asarray(ax.images[0].get_array().filled(np.nan))


def order(tables) -> list[int]:
    return [member for group in class_order(tables, None)[0] for member in group]


def square(frame: pd.DataFrame, column: str, tables=None) -> np.ndarray:
    """A column class by class, in the order in which the tables are drawn."""
    places = order(tables or TWO)
    return frame[column].to_numpy().reshape(5, 5)[np.ix_(places, places)]


def off_diagonal(cells: np.ndarray) -> np.ndarray:
    return cells[~np.eye(len(cells), dtype=bool)]


TWO = {"kd": table(), "dkd": table(scale=0.5, seed=1)}


def test_rows_are_students_and_columns_are_kinds():
    axes = discrepancy_maps(TWO).axes[:6]
    for row, frame in enumerate(TWO.values()):
        logits, probability, correlation = axes[3 * row : 3 * row + 3]
        np.testing.assert_allclose(cells(logits), square(frame, "logits"))
        np.testing.assert_allclose(cells(probability), square(frame, "probability"))
        difference = square(frame, "student_correlation") - square(frame, "teacher_correlation")
        np.testing.assert_allclose(cells(correlation), difference)
    assert axes[0].get_ylabel() == "kd\ntrue class"
    assert axes[3].get_ylabel() == "dkd\ntrue class"


def test_all_maps_of_a_kind_share_one_symmetric_scale():
    axes = discrepancy_maps(TWO).axes
    for column in range(3):
        upper, lower = (axes[column + row].images[0].get_clim() for row in (0, 3))
        assert upper == lower
        assert upper[0] == -upper[1]
    cells_off = [off_diagonal(square(frame, "logits")) for frame in TWO.values()]
    both = np.abs(np.concatenate(cells_off))
    assert axes[0].images[0].get_clim()[1] == pytest.approx(np.quantile(both, 0.995))


def test_the_bar_has_pointed_ends_where_cells_lie_beyond_it():
    bars = discrepancy_maps(TWO).axes[6:]
    extends = [ax._colorbar.extend for ax in bars]
    assert extends == ["both", "both", "neither"]  # all correlations depart by the same


def test_the_limit_is_never_zero_or_nan():
    assert shared_limit([np.zeros((2, 2))]) == 1
    assert shared_limit([np.full((2, 2), np.nan)]) == 1
    one = np.zeros((100, 100))
    one[0, 0] = 2.0  # beyond the quantile, which is 0
    assert shared_limit([one, np.full((1, 1), np.nan)]) == 2


def test_the_number_beside_a_map_is_its_root_mean_square():
    frame = table()
    expected = np.sqrt((frame.logits**2).mean())
    assert size(frame, "logits").rms == pytest.approx(expected)
    title = discrepancy_maps({"": frame}).axes[0].get_title(loc="left")
    off = np.sqrt((off_diagonal(frame.logits.to_numpy().reshape(5, 5)) ** 2).mean())
    assert title == f"rms {expected:.3f} (chance 0.100)\noff diag. {off:.3f} (0.100)"
    assert off != pytest.approx(expected, rel=0.01)


def test_classes_that_rise_together_in_the_teacher_stand_together():
    frame = table(6)
    likeness = np.where(np.equal.outer(np.arange(6) % 2, np.arange(6) % 2), 0.8, -0.5)
    frame["teacher_correlation"] = likeness.flatten()
    places = order({"": frame})
    assert {frozenset(places[:3]), frozenset(places[3:])} == {
        frozenset({0, 2, 4}),
        frozenset({1, 3, 5}),
    }
    ax = discrepancy_maps({"": frame}, list("abcdef")).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["abcdef"[place] for place in places]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["abcdef"[place] for place in places]


def test_of_many_classes_groups_are_named_and_told_apart():
    frame = table(40)
    kind = np.arange(40) % 4
    frame["teacher_correlation"] = np.where(np.equal.outer(kind, kind), 0.8, -0.3).flatten()
    groups, names = class_order({"": frame}, None)
    assert len(groups) <= 8
    assert all(len({kind[member] for member in group}) == 1 for group in groups)
    ax = discrepancy_maps({"": frame}).axes[0]
    assert len(ax.lines) == 2 * (len(groups) - 1)
    shown = [t.get_text() for t in ax.get_yticklabels()]
    assert shown
    assert set(shown) <= set(names)


def test_the_number_of_the_correlations_leaves_the_diagonal_out():
    assert size(table(), "correlation").rms == pytest.approx(0.1)
    assert discrepancy_reading(table()).number.endswith("correlation: rms 0.100")


def test_empty_cells_are_left_out_of_the_number_and_shown_as_gaps():
    frame = table()
    empty = frame.given == 2
    columns = ["logits", "logits_se", "probability", "probability_se"]
    frame.loc[empty, columns] = np.nan
    kept = frame.logits[~empty]
    assert size(frame, "logits").rms == pytest.approx(np.sqrt((kept**2).mean()))
    place = order({"": frame}).index(2)
    assert np.isnan(cells(discrepancy_maps({"": frame}).axes[0])[place]).all()


@pytest.mark.parametrize("classes", [10, 100])
def test_maps_of_few_and_of_many_classes_are_readable(classes):
    tables = {name: table(classes, seed=i) for i, name in enumerate(("kd", "dkd", "gdkd"))}
    names = [f"a long name {i}" for i in range(classes)]
    for draw in (discrepancy_maps, correlation_maps):
        figure = draw(tables, names)
        assert smallest_font(figure) >= 9
        labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
        assert all("a lon" in label for label in labels)
        assert (" + " in "".join(labels)) == (classes == 100)
        assert len(labels) <= 12


def test_names_are_not_read_as_math():
    figure = discrepancy_maps({"$x$": table()}, ["$y$"] * 5)
    ax = figure.axes[0]
    assert not ax.yaxis.label.get_parse_math()
    assert not any(text.get_parse_math() for text in ax.get_yticklabels())


def test_the_teachers_correlation_stands_before_its_students():
    same = table(scale=0.5)  # the seed of kd: the same teacher
    axes = correlation_maps({"kd": table(), "dkd": same}).axes[:-1]
    assert [ax.get_title(loc="left") for ax in axes] == ["teacher", "kd", "dkd"]
    np.testing.assert_allclose(cells(axes[0]), square(same, "teacher_correlation"))
    np.testing.assert_allclose(cells(axes[2]), square(same, "student_correlation"))
    assert {ax.images[0].get_clim() for ax in axes} == {(-1.0, 1.0)}


def test_long_names_above_correlations_leave_each_other_room():
    students = {f"long_resnet-with-gdkd-seed-{n}": table(20) for n in range(2)}
    figure = correlation_maps(students, [f"a long name of class {n}" for n in range(20)])
    FigureCanvasAgg(figure).draw()
    boxes = [ax._left_title.get_window_extent() for ax in figure.axes[:-1]]
    rows = [sorted((b.x0, b.x1) for b in boxes if b.y0 == y) for y in {b.y0 for b in boxes}]
    assert sum(map(len, rows)) == 3
    assert all(end + 5 < begin for row in rows for (_, end), (begin, _) in pairwise(row))


def test_another_teacher_is_shown_before_its_student():
    axes = correlation_maps(TWO).axes[:-1]
    titles = [ax.get_title(loc="left") for ax in axes]
    assert titles == ["teacher", "kd", "teacher of dkd", "dkd"]


def test_samples_left_out_and_the_kind_of_class_are_stated():
    frame = table().assign(non_finite=1, given_by="teacher")
    figure = discrepancy_maps({"": frame})
    assert figure.get_supxlabel() == "(1 sample with NaN or inf left out)"
    assert figure.axes[0].get_ylabel() == "teacher's class"


def test_the_sentence_says_whether_more_than_chance_is_seen():
    frame = table()
    frame.loc[frame.given == frame["class"], "logits"] = -0.5
    frame.loc[7, ["logits", "logits_se"]] = 9.0, 0.3
    text = discrepancy_reading(frame, list("abcde")).sentence
    assert text.startswith(
        "That the student departs from its teacher by class is seen: class means"
    )
    # 5 classes of 20 samples, each with an error of 0.1: t of 95 freedoms, 1.985 * 0.1 / root(5)
    assert "less of that class than its teacher has is seen: \u22120.500 ± 0.089 on average" in text
    # 25 gaps: the 0.999 point of t with 19 freedoms, 3.579, times 0.3
    assert "The widest gap, for c given b, is seen: +9.0 ± 1.1, 95 % for all 25 gaps" in text
    chance = discrepancy_reading(table(se=1.0)).sentence
    assert chance.startswith("That the student departs from its teacher by class is not seen")
    assert chance.count("is not seen") == 3
    assert (
        "Where the teacher sees a class"
        in discrepancy_reading(frame.assign(given_by="teacher")).sentence
    )
    assert "widest" not in discrepancy_reading(frame.assign(n=9)).sentence


def test_chance_stays_below_its_bound_in_95_of_100():
    """Of simulated students that are their teacher, and of others 1.4 times chance away."""
    rng, seen = np.random.default_rng(0), {0.0: [], 0.4: []}
    for true in np.repeat(list(seen), 200):
        shift = true * np.where(np.arange(6) % 2, 1.0, -1.0)
        samples = rng.normal(size=(6, 12, 6)) + shift  # given class, sample, class
        frame = table(6).assign(
            logits=samples.mean(1).flatten(),
            logits_se=(samples.std(1, ddof=1) / np.sqrt(12)).flatten(),
        )
        seen[float(true)].append(size(frame, "logits").verdict == "seen")
    assert np.mean(seen[0.0]) < 0.05
    assert np.mean(seen[0.4]) > 0.8


def test_one_sample_a_class_has_no_chance_to_compare_with():
    frame = table().assign(logits_se=np.nan, probability_se=np.nan, n=1)
    told = discrepancy_reading(frame)
    assert "by class cannot be tested here" in told.sentence
    assert told.sentence.endswith("and no class has two samples to tell what chance is.")
    assert "chance" not in told.number


def test_students_are_compared_map_by_map():
    tables = {"kd": table(), "dkd": table(scale=0.5)}
    text = students_reading(tables).sentence
    assert text.startswith(
        "Closer to its teacher than kd is dkd: seen in centred logits (0.429 against 0.858), soft"
    )
    apart = (
        "Not to be compared by one student each: correlation (rms kd 0.100, dkd 0.050). One student"
    )
    assert f"(0.00429 against 0.00858). {apart}" in text
    more = students_reading(tables | {"gdkd": table(scale=0.2)}).sentence
    assert (more.count("correlation"), more.count("cannot be tested here")) == (1, 1)
    swapped = students_reading({"kd": tables["dkd"], "dkd": tables["kd"]}).sentence
    assert (
        "kd is dkd: the opposite is seen in centred logits (0.858 against 0.429), soft"
    ) in swapped
    same = students_reading({"kd": tables["kd"], "dkd": tables["kd"]}).sentence
    assert "kd is dkd: not seen in centred logits (0.858" in same
    mixed = tables["dkd"].assign(probability=9.0)
    part = students_reading({"kd": tables["kd"], "dkd": mixed}).sentence
    assert "the opposite is seen in softmax (9 against" in part
    assert students_reading(TWO).number.startswith("centred logits: kd rms ")
    assert students_reading({"kd": TWO["kd"]}).sentence.startswith("One loss alone")


def test_many_students_are_counted_map_by_map():
    tables = {"kd": table()} | {f"loss{c}": table(scale=0.5) for c in "abcdef"}
    text = students_reading(tables | {"lossf": table(scale=2.0)}).sentence
    assert text.startswith(
        "Closer to the teacher than kd are others: in centred logits seen for 5 of 6, the opposite "
        "is seen for 1; in softmax seen for 5 of 6, the opposite is seen for 1. Not to be compared "
        "by one student each: correlation (rms 0.050 to 0.200). One student"
    )


def test_students_of_several_seeds_are_compared_seed_by_seed():
    tables = {
        f"{loss}-{seed}": table(scale=scale * (1 + 0.01 * seed), seed=seed)
        for loss, scale in (("kd", 1.0), ("dkd", 0.5))
        for seed in range(3)
    }
    text = students_reading(tables).sentence
    assert "dkd: seen in centred logits (" in text
    assert "correlation (0.051 against 0.101). Intervals are over seeds" in text
    assert "cannot be tested here" not in text


def test_students_at_chance_are_said_to_be():
    at_chance = {name: frame.assign(logits_se=9.0) for name, frame in TWO.items()}
    text = students_reading(at_chance).sentence
    assert "That a student departs at all is not seen in centred logits. One student" in text
    assert "departs at all" not in students_reading(TWO).sentence
    one = {"kd": TWO["kd"].assign(logits_se=9.0), "dkd": TWO["dkd"]}
    assert "departs at all" not in students_reading(one).sentence


def test_rounding_of_equal_correlations_is_no_difference():
    frame = table(scale=0.0)
    frame["student_correlation"] += 1e-15
    assert size(frame, "correlation").rms == 0


def test_other_students_are_held_against_the_first():
    text = students_reading({"one": TWO["kd"], "two": TWO["dkd"]}).sentence
    assert text.startswith(
        "Closer to its teacher than one is two: not seen in centred logits (0.41"
    )


def test_tables_that_cannot_be_drawn_are_refused():
    with pytest.raises(ValueError, match="need the table of at least one student"):
        discrepancy_maps({})
    with pytest.raises(ValueError, match=r"the tables have \[5, 6\] classes"):
        discrepancy_maps({"kd": table(), "dkd": table(6)})
    with pytest.raises(ValueError, match="the table has no value of 'logits'"):
        discrepancy_maps({"kd": table().assign(logits=np.nan)})


def test_cells_without_a_standard_error_are_held_against_no_chance():
    frame = table()
    frame.loc[frame.given == 2, "logits"] = 50.0  # a single sample
    frame.loc[frame.given == 2, "logits_se"] = np.nan
    kept = frame[frame.given != 2]
    assert size(frame, "logits").rms == pytest.approx(np.sqrt((kept.logits**2).mean()))
    assert "+50" not in discrepancy_reading(frame).sentence


def test_the_table_of_numbers_is_that_of_the_maps():
    rows = map_numbers(table()).set_index("map")
    logits = table().logits
    assert rows.loc["centred logits", "rms"] == pytest.approx(np.sqrt((logits**2).mean()))
    assert rows.loc["centred logits", "mean_abs"] == pytest.approx(logits.abs().mean())
    assert rows.loc["centred logits", "largest_abs"] == pytest.approx(logits.abs().max())
    assert rows.loc["softmax", "chance"] == pytest.approx(0.001)
    assert np.isnan(rows.loc["correlation", "chance"])
