"""Ticks that are kept, and copied, change no byte of a picture."""

import matplotlib as mpl
import pytest
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.spines import Spine
from matplotlib.text import Text

from kdanalysis.draw.drawn import Drawn
from kdanalysis.draw.figure import Drawing, QuickAxes
from kdanalysis.draw.look import new_panels, plain_log, slant_ticks
from kdanalysis.draw.still import still

DRAWN = True  # the pictures are looked at


def panels():
    figure, axes = new_panels(2, 2, figsize=(6.0, 4.0), sharex=True)
    for place, ax in enumerate(axes.flat):
        ax.plot([1, 20, 300], [10.0**-place, 3, 2e5 + place])
        ax.set_title(f"panel {place}", loc="left")
    plain_log(axes[0, 0])
    axes[0, 1].set_xscale("log")
    axes[1, 0].set_xticks([1, 100], labels=["a long name", "another one"])
    slant_ticks(axes[1, 0])
    axes[1, 1].set(xlabel="x", ylabel="y")
    return figure


@pytest.fixture(params=[(Axis, "_update_ticks"), (Spine, "get_window_extent")])
def updates(monkeypatch, request):
    """How often matplotlib worked out the ticks of an axis, or measured a spine, by which."""
    found, (kind, name) = {}, request.param
    work_out = getattr(kind, name)

    def counted(one, *given):
        found[id(one)] = found.get(id(one), 0) + 1
        return work_out(one, *given)

    monkeypatch.setattr(kind, name, counted)
    return found


def test_pictures_are_those_of_matplotlib_to_the_byte(monkeypatch):
    ours = Drawn(panels)
    pictures = [ours.as_bytes(kind) for kind in ("svg", "png")]
    monkeypatch.setattr("kdanalysis.draw.figure.QuickAxes", mpl.axes.Axes)
    plain = panels()
    assert type(plain.axes[0]) is mpl.axes.Axes
    monkeypatch.setattr("kdanalysis.draw.drawn.still", lambda figure: mpl.rc_context())
    assert pictures == [Drawn(lambda: plain).as_bytes(kind) for kind in ("svg", "png")]


def test_layout_and_drawing_work_ticks_and_spines_out_but_a_few_times(updates):
    figure = panels()
    updates.clear()
    drawn = Drawn(lambda: figure)
    drawn.as_bytes("svg")
    assert len(updates) in (8, 16)
    assert max(updates.values()) <= 4


def test_control_ticks_and_spines_are_worked_out_over_and_over(updates, monkeypatch):
    monkeypatch.setattr("kdanalysis.draw.drawn.still", lambda figure: mpl.rc_context())
    Drawn(panels).as_bytes("svg")
    assert max(updates.values()) > 8


def test_after_the_block_ticks_follow_the_axes_again():
    figure = panels()
    ax = figure.axes[3]
    with pytest.raises(ZeroDivisionError), still(figure):
        1 / len(ax.yaxis.get_majorticklabels()[:0])
    ax.set_ylim(0, 1)
    assert ax.yaxis.get_majorticklabels()[-1].get_text() == "1.0"


def test_inside_the_block_ticks_follow_limits_and_size():
    figure = panels()
    ax = figure.axes[3]
    with still(figure):
        tall = len(ax.yaxis._update_ticks())
        ax.set_position((0.1, 0.1, 0.8, 0.06))
        assert len(ax.yaxis._update_ticks()) < tall
        ax.set_ylim(0, 1)
        assert ax.yaxis.get_majorticklabels()[-1].get_text() == "1"
        low = ax.spines["bottom"].get_window_extent()
        ax.set_position((0.1, 0.2, 0.8, 0.06))
        assert ax.spines["bottom"].get_window_extent().y1 > low.y1


def test_a_copied_tick_is_a_tick_of_its_own():
    ax = Drawing().subplots()
    assert type(ax) is QuickAxes
    first, second = ax.xaxis.get_major_ticks(2)
    second.label1.set(text="other", fontsize=20, color="red")
    second.tick1line.set_markersize(9)
    second.update_position(0.7)
    assert first.label1.get_text() != "other"
    assert first.label1.get_fontsize() != 20
    assert first.tick1line.get_markersize() != 9
    assert first.label1.get_position()[0] != 0.7


def test_equal_texts_of_ticks_are_laid_out_once_and_others_anew(monkeypatch):
    laid_out, work_out = [], Text._get_layout

    def counted(text, renderer):
        laid_out.append((text.get_text(), text.get_rotation(), text.get_fontsize()))
        return work_out(text, renderer)

    monkeypatch.setattr(Text, "_get_layout", counted)
    left, right = Drawing().subplots(1, 2)
    for ax in (left, right):
        ax.set_xticks([0, 1], labels=["first", "second"])
    renderer = FigureCanvasAgg(left.figure).get_renderer()
    boxes = [ax.get_xticklabels()[0].get_window_extent(renderer).bounds for ax in (left, right)]
    assert [one[2:] for one in boxes] == [pytest.approx(boxes[0][2:])] * 2
    assert boxes[0][0] < boxes[1][0]
    assert len(laid_out) == 1
    label = right.get_xticklabels()[0]
    for change in ({"rotation": 90}, {"fontsize": 20}, {"text": "1st"}, {"ha": "right"}):
        before = label.get_window_extent(renderer).bounds
        label.set(**change)
        assert label.get_window_extent(renderer).bounds != before
    assert len(laid_out) == 5
