"""The anatomy of the regions agrees with a loop over (image, region) pairs and with autograd."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis import DKD, GDKD, KD
from kdanalysis.analyzers.regions.anatomy import RegionAnatomy
from kdanalysis.core.cases import CASES, KINDS, complementary, region_cases, region_kinds
from tests.analyzers.reference import region_facts, regions, targets

STUDENT, TEACHER, TARGET = regions(0), regions(1), targets(2, 40, 5)
EPOCH = torch.arange(40) // 14
LOSS = DKD(1.0, 2.0, 3.0)
QUANTITIES = ["n", "value", "norm"]


def filled(student=STUDENT, teacher=TEACHER, target=TARGET, epoch=EPOCH, loss=LOSS):
    metric = RegionAnatomy(loss, 5, epochs=(0, 1, 2))
    for rows in (slice(0, 11), slice(11, None)):
        metric.update(student[rows], teacher[rows], target[rows], epoch[rows])
    return metric


@cache
def facts(loss=LOSS) -> pd.DataFrame:
    """Every (image, region) pair with its value and its gradient by autograd, one at a time."""
    frame = pd.DataFrame(region_facts(TEACHER, TARGET)).assign(count=1)
    frame["epoch"] = EPOCH.numpy()[frame.n]
    values, norms = [], []
    for n, region in zip(frame.n, frame.region, strict=True):
        z = STUDENT[n : n + 1, :, region].clone().requires_grad_()
        value = sum(loss(z, TEACHER[n : n + 1, :, region], TARGET[n : n + 1]).values()).sum()
        (gradient,) = torch.autograd.grad(value, z)
        values.append(value.item())
        norms.append(np.linalg.norm(gradient.numpy()))
    return frame.assign(value=values, norm=norms)


@pytest.mark.parametrize("loss", [LOSS, KD(2.0), GDKD(2)], ids=repr)
@pytest.mark.parametrize(
    ("part", "place"),
    [("cell", ["epoch", "scale", "row", "column"]), ("class", ["label", "scale"])],
)
def test_counts_means_and_shares_agree_with_a_loop_over_pairs(part, place, loss):
    table = filled(loss=loss).table().query(f"part == '{part}'").rename(columns={"class": "label"})
    table = table.set_index([*place, "case"])
    expected = facts(loss).groupby([*place, "case"])
    sums = expected[["count", "value", "norm"]].sum()
    whole = facts(loss).groupby(place)[["count", "value", "norm"]].sum()
    for name, column in zip(QUANTITIES, sums.columns, strict=True):
        mean = sums[column] if name == "n" else sums[column] / sums["count"]
        np.testing.assert_allclose(table.loc[sums.index, name].astype(float), mean, rtol=1e-9)
        share = (sums[column] / whole[column]).reindex(sums.index)
        np.testing.assert_allclose(table.loc[sums.index, f"share_{name}"], share, rtol=1e-9)
    empty = table[~table.index.isin(sums.index)]
    assert (empty.n == 0).all()
    assert empty.value.isna().all()
    assert table.n.sum() == 40 * 21


def test_the_table_tells_which_cases_are_complementary_by_which_definition():
    table = filled().table()
    told = table.drop_duplicates("case").set_index("case")[["by_class", "by_correctness"]]
    kinds = region_kinds(TEACHER, TARGET)
    for split in ("class", "correctness"):
        found = complementary(TEACHER, TARGET, split)
        for place, kind in enumerate(KINDS):
            assert (found[kinds == place] == told.loc[kind, f"by_{split}"]).all()
    assert table[table.by_class != table.by_correctness].case.unique().tolist() == ["GW-LW other"]


def test_kinds_are_cases_with_one_of_them_in_two():
    kinds, cases = region_kinds(TEACHER, TARGET), region_cases(TEACHER, TARGET)
    for place, kind in enumerate(KINDS):
        assert (cases[kinds == place] == CASES.index(kind.split()[0])).all()
        assert (kinds == place).any()


def test_the_global_region_is_consistent():
    table = filled().table().query("part == 'cell' and scale == 1")
    assert (table[table.by_class | table.by_correctness].n == 0).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RegionAnatomy(LOSS, 5, (2, 4)), "scales must rise from 1"),
        (lambda: RegionAnatomy(LOSS, 1), "need at least 2 classes"),
        (lambda: filled(STUDENT[..., :5], TEACHER[..., :5]), "have 5 regions, the scales .* 21"),
        (lambda: filled(STUDENT[:, :4], TEACHER[:, :4]), "have 4 classes, the analyzer expects 5"),
        (lambda: filled(target=TARGET + 5), "need an index from 0 to 4"),
        (lambda: filled(epoch=EPOCH + 9), "is not among the 3"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
