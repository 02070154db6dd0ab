"""Ambiguity agrees with scipy, cell by cell; its figure shows the table, its words follow it."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from kdanalysis.analyzers.evidence import wilson
from kdanalysis.analyzers.regions.ambiguity import (
    MOST,
    RegionAmbiguity,
    ambiguity_by_class,
    ambiguity_reading,
)
from kdanalysis.analyzers.student_t import wide
from tests.analyzers.readback import smallest_font
from tests.analyzers.reference import regions, targets

TEACHER, TARGET = regions(1), targets(2, 40, 5)
PARTS = {2: slice(1, 5), 4: slice(5, 21)}
MEANS = ["entropy", "differing", "divergence", "clear"]


def filled(teacher=TEACHER, target=TARGET):
    metric = RegionAmbiguity(5)
    metric.update(teacher[:13], target[:13])
    metric.update(teacher[13:], target[13:])
    return metric


def facts() -> pd.DataFrame:
    rows = []
    for regional, y in zip(TEACHER.numpy(), TARGET.tolist(), strict=True):
        top, p = regional.argmax(0), softmax(regional, axis=0)
        for m, part in PARTS.items():
            counts = np.unique(top[part], return_counts=True)[1]
            row = {"class": y, "scale": m, "entropy": entropy(counts)}
            row["teacher"] = "right" if top[0] == y else "wrong"
            row["differing"] = np.mean(top[part] != top[0])
            row["clear"] = float((top[part] == top[0]).all())
            cells = range(part.start, part.stop)
            row["divergence"] = np.mean([entropy(p[:, r], p[:, 0]) for r in cells])
            rows.append(row)
    return pd.DataFrame(rows)


def test_the_table_agrees_with_scipy():
    table, each = filled().table(), facts()
    of_class = table[table.part == "class"].set_index(["class", "scale"])
    of_teacher = table[table.part == "teacher"].set_index(["teacher", "scale"])
    for place, group in each.groupby(["class", "scale"]):
        np.testing.assert_allclose(of_class.loc[place, MEANS].astype(float), group[MEANS].mean())
        assert of_class.loc[place, "n"] == len(group)
        assert of_class.loc[place, "entropy_se"] == pytest.approx(group.entropy.sem())
    for place, group in each.groupby(["teacher", "scale"]):
        np.testing.assert_allclose(of_teacher.loc[place, MEANS].astype(float), group[MEANS].mean())
    for m, group in each.groupby("scale"):
        found = of_teacher.loc[("all", m), MEANS].astype(float)
        np.testing.assert_allclose(found, group[MEANS].mean())
    assert of_teacher.n["all"].tolist() == [40, 40]


def test_an_image_that_is_the_same_everywhere_is_clear_and_one_of_many_classes_is_not():
    alike = torch.eye(5, dtype=torch.float64)[:1].unsqueeze(-1).expand(1, 5, 21)
    row = filled_with(alike).query("part == 'teacher' and teacher == 'all' and scale == 2").iloc[0]
    assert row[MEANS].tolist() == [0, 0, 0, 1]
    apart = alike.clone()
    apart[0, :, 1:5] = 3 * torch.eye(5, dtype=torch.float64)[1:].T
    row = filled_with(apart).query("part == 'teacher' and teacher == 'all' and scale == 2").iloc[0]
    assert row.entropy == pytest.approx(np.log(4))
    assert (row.differing, row.clear) == (1, 0)


def filled_with(teacher):
    metric = RegionAmbiguity(5)
    metric.update(teacher, torch.zeros(len(teacher), dtype=torch.long))
    return metric.table()


def test_the_whole_image_alone_has_no_cells_to_compare():
    with pytest.raises(ValueError, match="need a scale of more than one cell"):
        RegionAmbiguity(5, (1,))


def drawable(wrong=0.6, classes=20) -> pd.DataFrame:
    rows = []
    for m in (2, 4):
        for teacher, share, n in (("right", 0.4, 30), ("wrong", wrong, 10), ("all", 0.45, 40)):
            rows.append({"part": "teacher", "teacher": teacher, "class": pd.NA, "scale": m, "n": n})
            rows[-1] |= {"entropy": share * m, "differing": share, "divergence": 0.2, "clear": 0.1}
        for c in range(classes):
            rows.append({"part": "class", "teacher": "all", "class": c, "scale": m, "n": 12})
            value = 0.05 * m * ((7 * c) % classes)
            rows[-1] |= {"entropy": value, "differing": 0.4, "divergence": 0.2, "clear": 0.1}
    return pd.DataFrame(rows).astype({"class": "Int64"}).assign(entropy_se=0.02, non_finite=0)


def test_bars_and_points_are_the_tables():
    frame = drawable()
    figure = ambiguity_by_class(frame, [f"class{i}" for i in range(20)])
    left, right = figure.axes
    heights = [[bar.get_height() for bar in bars] for bars in left.containers]
    assert heights == [[pytest.approx(40)] * 2, [pytest.approx(60)] * 2]
    lines = [[s[:, 1].tolist() for s in x.get_segments()] for x in left.collections]
    ends = [[100 * end for end in wilson(share, n)] for share, n in ((0.4, 30), (0.6, 10))]
    assert lines == [[pytest.approx(end)] * 2 for end in ends]
    assert left.texts[0].get_text() == "10 %\nclear"
    ranked = frame[(frame.part == "class") & (frame.scale == 4)].sort_values("entropy")
    expected = pd.concat([ranked[:MOST], ranked[-MOST:]])
    assert right.lines[0].get_xdata().tolist() == expected.entropy.tolist()
    half = right.collections[0].get_segments()[3][:, 0] - expected.entropy.iloc[3]
    assert half == pytest.approx([-wide(12) * 0.02, wide(12) * 0.02])
    assert right.get_xlabel().endswith("\nblue line: 95 % interval)")
    labels = [text.get_text() for text in right.get_yticklabels()]
    assert labels == [f"class{c}" for c in expected["class"]]
    assert right.get_xlim()[0] == 0
    assert right.get_xlim()[1] > expected.entropy.max()
    assert smallest_font(figure) >= 9


def test_few_classes_are_all_drawn_and_those_without_images_left_out():
    frame = drawable(classes=6)
    frame.loc[frame["class"] == 3, ["n", "entropy"]] = [0, np.nan]
    _, right = ambiguity_by_class(frame).axes
    assert sorted(t.get_text() for t in right.get_yticklabels()) == ["0", "1", "2", "4", "5"]


def test_the_sentence_follows_the_table():
    told = ambiguity_reading(drawable(), [f"class{i}" for i in range(20)]).sentence
    assert told.startswith("At scale 4, 45.0 % of the cells name another class than the whole")
    assert "1.80 nats of at most 2.77" in told
    assert "are more ambiguous is not seen: 60.0 % of their cells differ, 40.0 % where" in told
    assert told.endswith("by class: not seen (chi-square 0, by chance below 31 in 95 of 100).")
    frame = drawable()
    frame.loc[frame.part == "teacher", "n"] *= 10
    frame.loc[(frame["class"] == 7).fillna(False), ["n", "differing"]] = 40, 1.0
    told = ambiguity_reading(frame).sentence
    assert "are more ambiguous is seen: 60.0 % of their cells differ" in told
    assert "differs by class: seen (from 40.0 % of class 0 to 100.0 % of class 7;" in told


def test_classes_of_few_images_are_not_named_and_not_drawn_beside_larger_ones():
    frame = drawable()
    small = (frame["class"] != 5) & (frame["class"] != 6)
    frame.loc[small.fillna(False), "n"] = 9
    assert "by chance below 2.74 in 95" in ambiguity_reading(frame).sentence  # of two classes
    _, right = ambiguity_by_class(frame).axes
    assert [t.get_text() for t in right.get_yticklabels()] == ["6", "5"]
    frame.loc[frame.part == "class", "n"] = 2
    assert "by class" not in ambiguity_reading(frame).sentence
    _, right = ambiguity_by_class(frame).axes
    assert len(right.get_yticklabels()) == 2 * MOST
    assert "; 2 images a class;\n" in right.get_xlabel()
    _, right = ambiguity_by_class(frame.drop(columns="entropy_se")).axes  # made before
    assert right.get_xlabel().endswith("; 2 images a class)")


def test_few_images_that_the_teacher_gets_wrong_are_not_compared():
    frame = drawable()
    assert "more ambiguous" in ambiguity_reading(frame).sentence
    frame.loc[frame.teacher == "wrong", "n"] = 9
    assert "more ambiguous" not in ambiguity_reading(frame).sentence


def test_the_number_names_every_scale():
    assert ambiguity_reading(drawable()).number.startswith(
        "scale 2: 45.0 % of the cells differ, 10.0 % of the images are clear, entropy 0.900 nats, "
        "divergence 0.200 nats; scale 4: 45.0 %"
    )


def test_an_image_that_is_there_three_times_counts_once():
    once, thrice = RegionAmbiguity(5), RegionAmbiguity(5, times=3)
    once.update(TEACHER, TARGET)
    for _ in range(3):
        thrice.update(TEACHER, TARGET)
    tables = once.table(), thrice.table()
    np.testing.assert_allclose(*(table.entropy_se for table in tables))
    one, three = (ambiguity_reading(table).sentence for table in tables)
    assert "chi-square 0.194, by chance" in one  # of three times the images it would be .58
    assert three == f"{one} A row's image is there 3 times on average, and counts once."
