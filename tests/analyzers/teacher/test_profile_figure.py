"""Class profiles: bars from the table, the truth marked, and a stated choice of classes."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from kdanalysis.analyzers.teacher.profile_figure import (
    class_profiles,
    profile_number,
    profile_sentence,
    spread_classes,
)
from kdanalysis.draw.look import BLUE, FAINT, VERMILION
from tests.analyzers.readback import smallest_font


def table(classes: int, rival: float = 0.2, own: float = 0.5) -> pd.DataFrame:
    """Every class: ``own`` for itself (more for later classes), ``rival`` for the next class."""
    p = np.full((classes, classes), 0.0)
    for i in range(classes):
        p[i] = (1 - own - rival) / (classes - 2)
        p[i, i], p[i, (i + 1) % classes] = own, rival
        p[i] = (1 - i / classes / 2) * p[i] + i / classes / 2 * np.eye(classes)[i]
    frame = pd.DataFrame(p).stack().rename_axis(["target", "class"]).rename("probability")
    frame = frame.reset_index()
    frame["rank"] = frame.groupby("target").probability.rank(ascending=False, method="first")
    return frame.assign(n=5, non_finite=1, temperature=4.0)


def test_small_class_sets_are_drawn_whole_in_class_order():
    frame = table(10)
    figure = class_profiles(frame, names=list("abcdefghij"), k=2)
    panels = figure.axes
    assert [ax.get_title(loc="left") for ax in panels] == list("abcdefghij")
    third = [bar.get_width() for bar in panels[2].patches]
    assert third == pytest.approx(frame[frame.target == 2].probability.tolist())
    colours = [to_hex(bar.get_facecolor()) for bar in panels[2].patches]
    assert colours == [FAINT, FAINT, VERMILION, BLUE] + [FAINT] * 6
    assert figure.get_suptitle() == ""
    assert "1 sample with NaN" in figure.legends[0].get_title().get_text()
    assert smallest_font(figure) >= 9


@pytest.mark.parametrize("classes", [62, 100])
def test_of_many_classes_twelve_are_drawn_and_said(classes):
    frame = table(classes)
    figure = class_profiles(frame, [f"class with a long name {i}" for i in range(classes)])
    assert figure.get_suptitle().startswith(f"12 of {classes} classes, evenly spaced")
    panels = figure.axes
    assert len(panels) == 12
    first = spread_classes(frame)[0]
    rows = frame[frame.target == first].nsmallest(8, "rank")
    assert [bar.get_width() for bar in panels[0].patches] == pytest.approx(
        rows.probability.tolist()
    )
    others = 1 - rows.probability.sum()
    assert panels[0].texts[0].get_text() == f"others {others:.2f}"
    assert panels[0].get_title(loc="left").endswith(f" {first}")


def test_the_choice_runs_from_the_most_to_the_least_concentrated():
    chosen = spread_classes(table(62))
    assert chosen[0] == 61  # own mass grows with the class number
    assert chosen[-1] == 0
    assert chosen == sorted(chosen, reverse=True)
    assert len(set(chosen)) == 12


def test_a_choice_of_ones_own_is_kept():
    figure = class_profiles(table(62), classes=[5, 3])
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["5", "3"]
    assert figure.get_suptitle() == "2 of 62 classes"


def test_classes_without_samples_are_not_drawn():
    frame = table(10)
    frame.loc[frame.target == 4, ["probability", "rank"]] = np.nan
    assert len(class_profiles(frame).axes) == 9
    with pytest.raises(ValueError, match="class 4 has no samples"):
        class_profiles(frame, classes=[4])


def test_names_are_not_read_as_math():
    figure = class_profiles(table(10), names=["$x$"] * 10)
    labels = figure.axes[0].get_yticklabels()
    assert labels[0].get_text() == "$x$"
    assert not any(label.get_parse_math() for label in labels)


def test_sentence_follows_the_table():
    assert profile_sentence(table(10)).startswith("Classes have several modes: the median class")
    assert profile_number(table(10)).startswith("1 rival above twice an even spread")
    assert "40% of the mass" in profile_number(table(10))  # 0.2 of the 0.5 beside the true class
    assert profile_sentence(table(10, rival=0.06)).startswith("These data do not show")
    certain = table(10).assign(probability=lambda t: (t.target == t["class"]).astype(float))
    assert profile_sentence(certain).startswith("The teacher leaves no mass")
