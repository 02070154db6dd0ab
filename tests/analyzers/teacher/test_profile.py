"""Class profiles are pandas' group means, and are drawn with a stated choice of classes."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from kdanalysis.analyzers.teacher.profile import (
    ClassProfile,
    class_profiles,
    profile_reading,
    spread_classes,
)
from kdanalysis.draw.colours import BLUE, FAINT, VERMILION
from tests.analyzers.readback import smallest_font
from tests.analyzers.reference import logits, probabilities, targets


def table(teacher, target, split: int = 20) -> pd.DataFrame:
    metric = ClassProfile(teacher.shape[-1], 2)
    metric.update(teacher[:split], target[:split])
    metric.update(teacher[split:], target[split:])
    return metric.table()


def test_profiles_and_ranks_agree_with_pandas():
    teacher, target = logits(0), targets(1)
    expected = pd.DataFrame(probabilities(teacher, 2)).groupby(target.numpy()).mean()
    rows = table(teacher, target)
    square = rows.pivot(index="target", columns="class", values="probability")
    np.testing.assert_allclose(square, expected, rtol=1e-12)
    ranks = rows.pivot(index="target", columns="class", values="rank")
    np.testing.assert_array_equal(ranks, expected.rank(axis=1, ascending=False))
    assert rows.groupby("target").n.first().tolist() == np.bincount(target).tolist()


def test_a_class_without_samples_has_no_profile():
    rows = table(logits(0), torch.zeros(60, dtype=torch.long))
    empty = rows[rows.target > 0]
    assert empty[["probability", "rank"]].isna().all(axis=None)
    assert (empty.n == 0).all()
    assert rows[rows.target == 0].probability.sum() == pytest.approx(1)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"temperature must lie between 0\.001 and 10000, got 0"):
        ClassProfile(3, 0)
    with pytest.raises(ValueError, match="target of sample 0 is -1"):
        ClassProfile(3).update(torch.zeros(1, 3), torch.tensor([-1]))


def test_errors_are_those_of_pandas():
    teacher, target = logits(0), targets(1)
    expected = pd.DataFrame(probabilities(teacher, 2)).groupby(target.numpy()).sem()
    square = table(teacher, target).pivot(index="target", columns="class", values="probability_se")
    np.testing.assert_allclose(square, expected, rtol=1e-7)


@pytest.mark.parametrize(("each", "told"), [(2, "not seen"), (200, "seen not to hold")])
def test_rivals_of_two_samples_are_not_those_of_the_class(each, told):
    """Logits of a class are its own and noise: no class has a rival, in two samples all seem to."""
    target = torch.arange(50).repeat(each)
    noise = torch.randn(len(target), 50, generator=torch.Generator().manual_seed(0))
    metric = ClassProfile(50, 1)
    metric.update(noise.scatter_add(1, target[:, None], torch.full_like(noise, 4.0)), target)
    assert f"That most classes have a rival is {told}: " in profile_reading(metric.table()).sentence


def example(classes: int, rival: float = 0.2, own: float = 0.5) -> pd.DataFrame:
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


def test_classes_taken_for_each_other_stand_side_by_side():
    frame = example(4, rival=0.0)
    for one, other in ((0, 2), (2, 0), (1, 3), (3, 1)):
        pair = (frame.target == one) & (frame["class"] == other)
        frame.loc[pair, "probability"] = 0.3
    panels = class_profiles(frame, names=list("abcd")).axes
    titles = "".join(ax.get_title(loc="left") for ax in panels)
    assert {frozenset(titles[:2]), frozenset(titles[2:])} == {frozenset("ac"), frozenset("bd")}
    assert "".join(label.get_text() for label in panels[0].get_yticklabels()) == titles
    for ax in panels:
        values = frame[frame.target == "abcd".index(ax.get_title(loc="left"))]
        expected = values.set_index("class").probability
        drawn = [bar.get_width() for bar in ax.patches]
        assert drawn == [expected["abcd".index(letter)] for letter in titles]


def test_small_class_sets_are_drawn_whole():
    frame = example(10)
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
    frame = example(classes)
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
    chosen = spread_classes(example(62))
    assert chosen[0] == 61  # own mass grows with the class number
    assert chosen[-1] == 0
    assert chosen == sorted(chosen, reverse=True)
    assert len(set(chosen)) == 12


def test_a_choice_of_ones_own_is_kept():
    figure = class_profiles(example(62), classes=[5, 3])
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["5", "3"]
    assert figure.get_suptitle() == "2 of 62 classes"


def test_classes_without_samples_are_not_drawn():
    frame = example(10)
    frame.loc[frame.target == 4, ["probability", "rank"]] = np.nan
    assert len(class_profiles(frame).axes) == 9
    with pytest.raises(ValueError, match="class 4 has no samples"):
        class_profiles(frame, classes=[4])


def test_names_are_not_read_as_math():
    figure = class_profiles(example(10), names=["$x$"] * 10)
    labels = figure.axes[0].get_yticklabels()
    assert labels[0].get_text() == "$x$"
    assert not any(label.get_parse_math() for label in labels)


@pytest.mark.parametrize("classes", [4, 8, 10, 12])
def test_long_names_above_panels_leave_each_other_room(classes):
    names = [f"great white whales {n}" for n in range(classes)]
    figure = class_profiles(example(classes), names)
    FigureCanvasAgg(figure).draw()
    rows = {}
    for ax in figure.axes:
        box = ax._left_title.get_window_extent()
        rows.setdefault(round(box.y0), []).append((box.x0, box.x1))
    assert sum(map(len, rows.values())) == classes
    for row in map(sorted, rows.values()):
        assert all(end < begin for (_, end), (begin, _) in pairwise(row))


def test_sentence_follows_the_table():
    assert profile_reading(example(10)).sentence.startswith(
        "That most classes have a rival is seen: 10 of 10 classes (95 % interval 72 % to 100 %)"
    )
    assert profile_reading(example(10)).number.startswith("1 rival above twice an even spread")
    assert (
        "40 % of the mass" in profile_reading(example(10)).number
    )  # 0.2 of the 0.5 beside the true class
    assert profile_reading(example(10, rival=0.06)).sentence.startswith(
        "That most classes have a rival is seen not to hold: 0 of 10 classes (95 % interval 0 % to "
        "28 %)"
    )
    pairs = {"target": [0, 0, 1, 1], "class": [0, 1, 0, 1], "probability": [0.9, 0.1, 0.2, 0.8]}
    assert "two classes the other one is no rival" in profile_reading(pd.DataFrame(pairs)).sentence
    certain = example(10).assign(probability=lambda t: (t.target == t["class"]).astype(float))
    assert profile_reading(certain).sentence.startswith("The teacher leaves no mass")
