"""Several students' uptake: each mark is a table's, the sentence names most and least."""

import pytest

from kdanalysis.analyzers.regions.uptake_figure import last_epoch
from kdanalysis.analyzers.regions.uptake_runs_figure import (
    run_shares,
    uptake_of_runs,
    uptake_runs_number,
    uptake_runs_sentence,
)
from tests.analyzers.readback import smallest_font
from tests.analyzers.regions.test_uptake_figure import table


def students() -> dict:
    slow = table(whole=0.3, epochs=(0,))
    return {"kd": slow, "sdd": table(whole=0.1), "fine": table(scales=(1, 2, 4))}


def test_marks_are_the_shares_of_every_student_at_the_finest_common_scale():
    tables = students()
    figure = uptake_of_runs(tables)
    (ax,) = figure.axes
    drawn = [
        (line.get_ydata()[0], round(line.get_xdata()[0], 6), line.get_fillstyle())
        for line in ax.lines
        if len(line.get_xdata())
    ]
    expected = []
    for place, each in enumerate(tables.values()):
        same, other = last_epoch(each)[2]
        expected += [(place, same["local"], "full"), (place, other["local"], "full")]
        expected += [(place, other["whole"], "none")]
    assert drawn == [(place, round(100 * x, 6), fill) for place, x, fill in expected]
    assert [t.get_text() for t in ax.get_yticklabels()] == list(tables)
    assert ax.get_xlabel().startswith("2 x 2 cells")
    assert smallest_font(figure) >= 9


def test_sentence_and_number_follow_the_tables():
    tables = students()
    shares = run_shares(tables).query("kind == 'other'").set_index("run").local
    told = uptake_runs_sentence(tables)
    assert f"sdd says so most often, in {shares['sdd']:.1%}" not in told  # equal to fine's
    assert f"fine says so most often, in {shares['fine']:.1%} of the cells, and kd least" in told
    assert uptake_runs_number(tables).startswith(f"kd: {shares['kd']:.1%}, the image's class 30.0%")


def test_students_without_a_scale_in_common_are_refused():
    with pytest.raises(ValueError, match="no scale in common"):
        uptake_of_runs({"a": table(scales=(1, 2)), "b": table(scales=(1, 3))})


def test_a_single_student_has_nobody_to_be_compared_with():
    assert uptake_runs_sentence({"kd": table()}).startswith("There are no two students")


def test_students_that_say_nothing_of_it_are_drawn_too():
    silent = table().assign(local=0.0, whole=0.0)
    assert uptake_of_runs({"a": silent, "b": silent}).axes[0].get_xlim() == (0, 1)
