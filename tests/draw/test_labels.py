"""A picture goes where its user wants it, in the user's font, with the user's names."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from kdanalysis.analyzers.teacher.modality import Modality, modality_by_class
from kdanalysis.analyzers.terms.magnitude import TermMagnitude
from kdanalysis.analyzers.terms.share import TermShare
from kdanalysis.draw.colours import LOSSES, SECOND, TEACHER, loss_colours, term_colour
from kdanalysis.draw.labels import relabel
from kdanalysis.draw.look import new_axes
from kdanalysis.losses.registry import KINDS
from kdanalysis.pages.opened import open as open_anything
from tests.analyzers.reference import logits, targets

SHARES = pd.DataFrame(
    [("kd", "high", 0.4), ("kd", "low_other", 0.6), ("dkd", "nckd", 1.0)],
    columns=["loss", "term", "share"],
).assign(std=0.1, n=9, non_finite=0)
MODES = Modality(12)
MODES.update(logits(0), targets(1))


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def test_names_are_written_as_the_user_wants_where_they_are_whole_words():
    (ax,) = [TermShare.pictures[0].of(SHARES, labels={"low_other": "$L_{other}$", "kd": "KD"})]
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["high", "$L_{other}$", "nckd"]
    ax.figure.canvas.draw()
    assert [t.get_text() for t in ax.get_yticklabels()] == ["KD", "dkd"]
    assert any(text.get_parse_math() for text in ax.get_legend().get_texts())


def test_without_names_nothing_is_touched():
    ax = new_axes()
    ax.set_title("kd")
    relabel(ax, {})
    assert ax.get_title() == "kd"


def test_a_drawing_of_one_axes_is_on_the_axes_given():
    axes = plt.subplots(1, 2)[1]
    assert TermShare.pictures[0].of(SHARES, ax=axes[1]) is axes[1]
    assert axes[1].patches
    assert not axes[0].patches


@pytest.mark.parametrize("layout", ["constrained", None])
def test_a_drawing_of_several_axes_takes_the_place_of_the_axes_given(layout):
    figure, axes = plt.subplots(1, 2, layout=layout)
    place = axes[1].get_position()
    assert Modality.pictures[0].draw is modality_by_class
    drawn = Modality.pictures[0].of(MODES.table(), ax=axes[1])
    assert len(drawn) == 2
    assert drawn[0].get_figure(root=True) is figure
    assert axes[1] not in figure.axes
    figure.canvas.draw()
    assert drawn[0].get_position().x0 >= 0
    assert drawn[0].get_window_extent().x0 / figure.bbox.width >= place.x0 - 0.1


def test_a_subfigure_serves_for_every_drawing():
    left, right = plt.figure(layout="constrained").subfigures(1, 2)
    (one,) = [TermShare.pictures[0].of(SHARES, ax=left)]
    several = Modality.pictures[0].of(MODES.table(), ax=right)
    assert one.figure is left
    assert {ax.figure for ax in several} == {right}


def test_axes_that_stand_freely_are_refused_where_several_are_drawn():
    ax = plt.figure().add_axes((0, 0, 1, 1))
    with pytest.raises(ValueError, match="needs a subfigure, or axes of a grid"):
        Modality.pictures[0].of(MODES.table(), ax=ax)


def test_the_callers_settings_are_kept_and_sizes_follow_the_font():
    with mpl.rc_context({"font.size": 7, "axes.spines.top": True, "lines.linewidth": 3.5}):
        ax = TermShare.pictures[0].of(SHARES)
        assert ax.get_legend().get_texts()[0].get_fontsize() == pytest.approx(6.3)
        assert ax.xaxis.label.get_fontsize() == pytest.approx(7)
    with mpl.rc_context({"legend.fontsize": 13}):
        ax = TermShare.pictures[0].of(SHARES)
        assert ax.get_legend().get_texts()[0].get_fontsize() == 13
    plain = TermShare.pictures[0].of(SHARES)
    assert plain.get_legend().get_texts()[0].get_fontsize() == pytest.approx(9)


def test_a_loss_has_one_colour_and_no_two_share_one():
    few = loss_colours(["kd", "gdkd"])
    many = loss_colours(["ce", "gdkd 1/1/1", "gdkd", "kd", "mine", "other"])
    assert few == {name: LOSSES[name] for name in few}
    assert {name: many[name] for name in few} == few
    assert len(set(many.values())) == 6
    assert many["gdkd 1/1/1"] == "#eb7099"  # gdkd's, lighter
    assert loss_colours(["kd", "kd x 6"])["kd x 6"] == "#8a5f00"  # kd's, darker
    assert loss_colours(["kd", "kd x 6"])["kd x 6"] not in LOSSES.values()
    assert loss_colours(["mine"]) == {"mine": LOSSES["trained"]}  # kd's and ce's come last
    assert loss_colours(["run gdkd", "student kd"]) == {
        "run gdkd": LOSSES["gdkd"], "student kd": LOSSES["kd"]
    }  # fmt: skip
    nameless = [f"student {i}" for i in range(18)]
    assert len(set(loss_colours(nameless).values())) == len(nameless)


def test_colours_of_losses_are_far_apart():
    colours = [*LOSSES.values(), *SECOND.values()]
    places = np.array([oklab(colour) for colour in colours])
    apart = np.linalg.norm(places[:, None] - places, axis=-1)
    assert apart[~np.eye(len(places), dtype=bool)].min() > 0.08


def oklab(colour: str) -> np.ndarray:
    """Ottosson's OKLab of a colour."""
    parts = np.array(mpl.colors.to_rgb(colour))
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    cones = [
        (0.4122214708, 0.5363325363, 0.0514459929),
        (0.2119034982, 0.6806995451, 0.1073969566),
        (0.0883024619, 0.2817188376, 0.6299787005),
    ]
    opponents = [
        (0.2104542553, 0.7936177850, -0.0040720468),
        (1.9779984951, -2.4285922050, 0.4505937099),
        (0.0259040371, 0.7827717662, -0.8086757660),
    ]
    return np.array(opponents) @ np.cbrt(np.array(cones) @ linear)


def test_no_loss_has_the_colour_of_a_term_of_another_name():
    terms = {term: term_colour(term) for kind in KINDS.values() for term in kind.colours}
    shared = {(loss, term) for loss, one in LOSSES.items() for term in terms if terms[term] == one}
    assert shared == {("ce", "ce"), ("kd", "kd")}
    assert not set(terms.values()) & (set(SECOND.values()) | {TEACHER})


def test_an_opened_file_draws_on_axes_with_labels(tmp_path):
    student, teacher, target = logits(0), logits(1), targets(2)
    np.savez(tmp_path / "a.npz", student_logits=student, teacher_logits=teacher, target=target)
    opened = open_anything(tmp_path / "a.npz")
    ax = plt.subplots()[1]
    drawn = opened.figure("share", ax=ax, labels={"low_other": "$L_{other}$"})
    assert drawn is ax
    assert "$L_{other}$" in [text.get_text() for text in ax.get_legend().get_texts()]
    panels = opened.figure("magnitude", ax=plt.subplots()[1])
    assert len(panels) == 4
    assert TermMagnitude.pictures[0].panels
