"""Uptake agrees with a loop over (image, cell) pairs."""

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.regions.uptake import RegionUptake
from tests.analyzers.reference import region_facts, regions, targets

TEACHER, TARGET = regions(1), targets(2, 40, 5)
STUDENT = TEACHER + regions(3)  # half taught
EPOCH = torch.arange(40) // 14
SHARES = ["local", "whole", "own", "label"]


def filled(student=STUDENT, teacher=TEACHER, target=TARGET, epoch=EPOCH):
    metric = RegionUptake(5, epochs=(0, 1, 2))
    for rows in (slice(0, 11), slice(11, None)):
        metric.update(student[rows], teacher[rows], target[rows], epoch[rows])
    return metric


def test_shares_agree_with_a_loop_over_pairs():
    frame = pd.DataFrame(region_facts(TEACHER, TARGET))
    top = STUDENT.numpy().argmax(1)
    says = np.array([top[n, r] for n, r in zip(frame.n, frame.region, strict=True)])
    frame["epoch"], frame["own"] = EPOCH.numpy()[frame.n], top[frame.n, 0]
    each = frame.assign(**{name: says == frame[name] for name in SHARES})
    each = each.groupby(["epoch", "scale", "case"])
    table = filled().table().set_index(["epoch", "scale", "case"])
    counts = each.size()
    for name in SHARES:
        np.testing.assert_allclose(table.loc[counts.index, name], each[name].mean())
    assert table.loc[counts.index, "n"].tolist() == counts.tolist()
    assert table.n.sum() == 40 * 21
    assert table[~table.index.isin(counts.index)].local.isna().all()


def test_where_the_classes_are_the_same_so_are_the_shares_and_else_they_exclude_each_other():
    table = filled().table()
    same = table[~table.by_class & (table.n > 0)]
    assert same.local.tolist() == same.whole.tolist()
    apart = table[table.by_class & (table.n > 0)]
    assert (apart.local + apart.whole <= 1 + 1e-12).all()
    assert (apart.local > apart.whole).any()


def test_a_student_that_copies_its_teacher_takes_up_everything():
    table = filled(TEACHER).table()
    assert (table[table.n > 0].local == 1).all()


def test_non_finite_samples_are_counted_and_left_out():
    student = STUDENT.clone()
    student[7, 1, 3] = torch.nan
    keep = torch.arange(40) != 7
    rows = filled(student).table()
    clean = filled(STUDENT[keep], TEACHER[keep], TARGET[keep], EPOCH[keep]).table()
    assert (rows.non_finite == 1).all()
    same = rows.columns != "non_finite"
    pd.testing.assert_frame_equal(rows.loc[:, same], clean.loc[:, same])


def test_halves_merge_into_the_whole():
    left, right = (RegionUptake(5, epochs=(0, 1, 2)) for _ in range(2))
    left.update(STUDENT[:9], TEACHER[:9], TARGET[:9], EPOCH[:9])
    right.update(STUDENT[9:], TEACHER[9:], TARGET[9:], EPOCH[9:])
    left.merge_state(right)
    pd.testing.assert_frame_equal(left.table(), filled().table())


def test_epochs_are_needed_where_several_were_announced():
    with pytest.raises(ValueError, match="expects 3 steps"):
        RegionUptake(5, epochs=(0, 1, 2)).update(STUDENT, TEACHER, TARGET)
