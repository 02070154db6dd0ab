"""Runs stand in one picture: a panel a quantity, a line a run, neighbouring steps put together."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from kdanalysis.draw.colours import BLACK, LOSSES
from kdanalysis.draw.drawn import Drawn
from kdanalysis.draw.overlay import curves_over, dots_by_name, two_lines
from kdanalysis.draw.runs import POINTS, lines_by_run
from tests.analyzers.readback import lines, smallest_font


def table(steps: int = 4, runs=("kd", "gdkd"), panels=("a", "b")) -> pd.DataFrame:
    rows = [
        (run, 10 * step, panel, 1.0 + r + step + 100 * p, 8 + step)
        for r, run in enumerate(runs)
        for p, panel in enumerate(panels)
        for step in range(steps)
    ]
    return pd.DataFrame(rows, columns=["run", "step", "panel", "value", "n"]).assign(non_finite=0)


def draw(frame: pd.DataFrame, **more):
    return lines_by_run(frame, "value", "panel", "a value", **more)


def test_a_panel_holds_one_line_a_run():
    figure = draw(table())
    first, second = figure.axes
    assert [ax.get_title(loc="left") for ax in (first, second)] == ["a", "b"]
    assert lines(first)["kd"] == ([0, 10, 20, 30], [1, 2, 3, 4])
    assert lines(second)["gdkd"] == ([0, 10, 20, 30], [102, 103, 104, 105])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["kd", "gdkd"]
    assert [line.get_color() for line in first.lines] == [LOSSES["kd"], LOSSES["gdkd"]]
    assert figure.get_supxlabel() == "training step"
    assert smallest_font(figure) >= 9


def test_what_all_runs_share_is_black():
    frame = table()
    frame.loc[frame.panel == "b", "value"] = frame.step
    first, second = draw(frame).axes
    assert second.lines[-1].get_color() == BLACK
    assert second.lines[-1].get_ydata().tolist() == [0, 10, 20, 30]
    assert BLACK not in [line.get_color() for line in first.lines]


def test_panels_whose_ends_differ_have_each_its_own_axis():
    frame = table(steps=9)
    few = frame[(frame.panel == "a") | (frame.step <= 30)]
    for rows, ends in ((few, [(0, 80), (0, 30)]), (frame, [(0, 80), (0, 80)])):
        axes = curves_over(rows, "step", "value", "panel", ("step", "value")).axes
        assert [ax.get_xlim() for ax in axes] == [
            pytest.approx((a - b / 20, b * 1.05)) for a, b in ends
        ]


def test_runs_over_each_other_have_the_colours_of_their_losses():
    expected = [LOSSES["kd"], LOSSES["gdkd"]]
    over = curves_over(table(), "step", "value", "panel", ("step", "value"))
    dots = dots_by_name(table(steps=1), "value", "panel", "panel", "value")
    for figure in (over, dots):
        assert [line.get_color() for line in figure.axes[0].lines] == expected


def test_many_steps_are_means_weighted_by_their_samples():
    frame = table(steps=70, panels=("a",))
    drawn = lines(draw(frame).axes[0])
    rows = frame[frame.run == "kd"]
    assert len(drawn["kd"][0]) == 24 <= POINTS
    assert drawn["kd"][0][0] == 10  # the mean of 0, 10, 20
    assert drawn["kd"][1][0] == pytest.approx(np.average(rows.value[:3], weights=rows.n[:3]))
    assert drawn["kd"][1][-1] == pytest.approx(rows.value.iloc[-1])  # the 70th stands alone
    assert draw(frame).get_supxlabel() == "training step (points: means of 3 captured steps)"


def test_a_value_that_is_missing_is_left_out_of_its_mean():
    frame = table(steps=60, panels=("a",))
    frame.loc[(frame.run == "kd") & (frame.step == 10), "value"] = np.nan
    drawn = lines(draw(frame).axes[0])
    assert drawn["kd"][1][0] == 1.0  # of steps 0 and 10 only the first has a value


def test_runs_without_steps_are_dots_by_name_with_their_numbers():
    figure = draw(table(steps=1), log=True, limits=(0.5, 200))
    (ax,) = figure.axes
    drawn = lines(ax)
    assert [drawn[run][0] for run in ("kd", "gdkd")] == [[1.0, 101.0], [2.0, 102.0]]
    assert [np.round(drawn[run][1]).tolist() for run in ("kd", "gdkd")] == [[0, 1], [0, 1]]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert [text.get_text() for text in ax.texts] == ["1", "101", "2", "102"]
    assert (figure.get_supxlabel(), ax.get_title(loc="left")) == ("a value", "")
    assert (ax.get_xscale(), ax.get_xlim()) == ("log", (0.5, 200))
    assert ax.get_xticks().tolist() == [1, 10, 100]


def test_numbers_beside_dots_have_the_same_decimals_unless_that_hides_one():
    frame = table(steps=1)
    told = {}
    for small in (-0.0259, 0.0004):
        frame["value"] = [0.339, small, 0.7, 0.34]
        told[small] = [text.get_text() for text in draw(frame).axes[0].texts]
    assert told[-0.0259] == ["0.339", "\u22120.026", "0.700", "0.340"]
    assert sorted(told[0.0004]) == ["0.0004", "0.339", "0.34", "0.700"]
    frame["value"] = [0.339, float("nan"), 0.7, 0.34]
    assert "" in [text.get_text() for text in draw(frame).axes[0].texts]


def test_dots_have_a_line_over_their_interval_and_lines_have_none():
    ends = {"low": 0.5, "high": 200.0}
    figure = draw(table(steps=1).assign(**ends))
    segments = [line.get_segments()[0][:, 0].tolist() for line in figure.axes[0].collections]
    assert segments == [[0.5, 200.0]] * 2
    assert figure.get_supxlabel() == "a value\n(line: 95 % interval over samples)"
    assert not any(ax.collections for ax in draw(table().assign(**ends)).axes)


def test_numbers_stand_in_columns_below_the_marks_of_their_runs():
    figure = draw(table(steps=1))
    figure.canvas.draw()
    (ax,) = figure.axes
    boxes = [text.get_window_extent() for text in ax.texts]
    heads = [line for line in ax.lines if line.get_label().startswith("_")]
    for place, (run, head) in enumerate(zip(("kd", "gdkd"), heads, strict=True)):
        column, x = boxes[2 * place : 2 * place + 2], head.get_window_extent().x0
        assert len({round(box.x1, 3) for box in column}) == 1, "right-aligned"
        assert max(box.width for box in column) > abs(x - column[0].x1), "over its column"
        assert head.get_color() == LOSSES[run]
    assert boxes[0].x1 < boxes[3].x0, "columns do not touch"


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("count", [2, 3, 4, 6])
def test_a_frame_beside_numbers_has_room_and_ticks_that_do_not_touch(count, log):
    frame = table(1, [f"a-long-name-of-{n}" for n in range(count)], ["gdkd-k15: low_other", "b"])
    drawn = Drawn(lambda: draw(frame.assign(value=0.00123 * frame.value), log=log))
    assert drawn.box.width < 8
    (ax,) = drawn.figure.axes
    assert ax.get_position().width * drawn.figure.get_figwidth() > 1.7
    assert bool(ax.texts) == (count <= 3)
    heights = [y for line in ax.lines if line.get_label()[0] != "_" for y in line.get_ydata()]
    assert max(abs(y - round(y)) for y in heights) < 0.35, "dots stay on their line"
    shown = [t.get_window_extent() for t in ax.get_xticklabels() if t.get_text()]
    assert all(a.x1 < b.x0 for a, b in pairwise(shown))


@pytest.mark.parametrize("count", [2, 5, 13])
def test_a_frame_of_one_line_keeps_its_height_below_a_legend_and_above_what_is_left_out(count):
    frame = table(1, [f"run-{n}" for n in range(count)], ["kd"]).assign(non_finite=1)
    drawn = Drawn(lambda: draw(frame))  # a warning that axes collapse is an error
    drawn.box  # noqa: B018
    (ax,) = drawn.figure.axes
    assert ax.get_position().height * drawn.figure.get_figheight() > 0.4


def test_two_runs_of_one_name_are_refused():
    frame = table(steps=1)
    with pytest.raises(ValueError, match="two rows of the table are of run 'kd', panel 'a': need"):
        draw(pd.concat([frame, frame[frame.run == "kd"]]))


def test_rows_over_all_steps_are_no_point():
    frame = table().astype({"step": "Int64"})
    whole = frame.iloc[:1].assign(step=pd.NA, value=99.0)
    assert lines(draw(pd.concat([frame, whole])).axes[0])["kd"][1] == [1, 2, 3, 4]


def test_the_axis_can_be_logarithmic_and_limited():
    frame = table()
    frame["value"] = [0.12 * 1.4**row for row in range(len(frame))]
    ax = draw(frame, log=True).axes[0]
    assert ax.get_yscale() == "log"
    shown = [label.get_text() for label in ax.get_yticklabels() if label.get_text()]
    assert 2 <= len(shown) <= 4
    assert ax.get_yticks(minor=True).size == 0
    assert draw(table(), limits=(0, None)).axes[0].get_ylim()[0] == 0
    assert draw(table(), limits=(-1, 1)).axes[0].get_ylim() == (-1, 1)


def test_seven_panels_stand_in_three_rows_and_the_last_have_their_steps():
    figure = draw(table(panels=tuple("abcdefg")))
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert len(shown) == 7
    assert figure.axes[0].get_gridspec().nrows == 3
    figure.canvas.draw()
    labelled = [ax.get_title(loc="left") for ax in shown if any(
        label.get_visible() and label.get_text() for label in ax.get_xticklabels())]  # fmt: skip
    assert labelled == ["e", "f", "g"]


def test_a_table_without_values_is_refused():
    with pytest.raises(ValueError, match="the table has no value of 'value'"):
        draw(table().assign(value=np.nan))


def test_the_term_of_a_long_title_stands_below_its_loss():
    assert two_lines("dkd: nckd", 26) == "dkd: nckd"
    assert two_lines("kd parts by target (T = 1): nckd", 26) == "kd parts by target (T = 1)\nnckd"
    assert two_lines("a" * 40, 26).count("…") == 1
    rows = pd.DataFrame({"run": "kd", "x": [1, 2], "y": 0.5, "loss": "kd parts (T = 1): low_other"})
    (ax,) = curves_over(rows, "x", "y", "loss", ("x", "y")).axes
    assert ax.get_title(loc="left") == "kd parts (T = 1)\nlow_other"
    over_steps = table(panels=("kd parts by target (T = 1): nckd",))
    (ax,) = lines_by_run(over_steps, "value", "panel", "value").axes
    assert ax.get_title(loc="left") == "kd parts by target (T = 1)\nnckd"
