"""Ambiguity agrees with scipy, cell by cell and image by image."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from kdanalysis.analyzers.regions.ambiguity import RegionAmbiguity
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


def test_non_finite_samples_are_counted_and_left_out():
    teacher = TEACHER.clone()
    teacher[7, 1, 3] = torch.inf
    keep = torch.arange(40) != 7
    rows, clean = filled(teacher).table(), filled(TEACHER[keep], TARGET[keep]).table()
    assert (rows.non_finite == 1).all()
    same = rows.columns != "non_finite"
    pd.testing.assert_frame_equal(rows.loc[:, same], clean.loc[:, same])


def test_halves_merge_into_the_whole():
    left, right = RegionAmbiguity(5), RegionAmbiguity(5)
    left.update(TEACHER[:9], TARGET[:9])
    right.update(TEACHER[9:], TARGET[9:])
    left.merge_state(right)
    pd.testing.assert_frame_equal(left.table(), filled().table())


def test_the_whole_image_alone_has_no_cells_to_compare():
    with pytest.raises(ValueError, match="need a scale of more than one cell"):
        RegionAmbiguity(5, (1,))
