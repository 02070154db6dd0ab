"""The cases of the regions against a plain loop, the published counts, and each other."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kdanalysis import region_cases
from kdanalysis.core.cases import CASES, complementary

GOLDEN = Path(__file__).parents[1] / "golden"


def golden(case: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, dict]:
    """Teacher regions, targets, the published consistent mask (n, r) and case counts."""
    with np.load(GOLDEN / "reference_losses.npz", allow_pickle=False) as file:
        names = ("teacher_logits", "target", "consistent")
        teacher, target, mask = (torch.from_numpy(file[f"{case}/{name}"]) for name in names)
    rows = json.loads((GOLDEN / "reference_losses.json").read_text())
    return teacher, target, mask.T, next(r for r in rows if r["case"] == case and "gt_lt" in r)


@pytest.mark.parametrize("case", ["s0", "s1"])
def test_the_cases_are_those_of_the_published_code(case):
    teacher, target, consistent, row = golden(case)
    counts = torch.bincount(region_cases(teacher, target).flatten(), minlength=4)
    published = [row[name.lower().replace("-", "_")] for name in CASES]
    assert counts.tolist() == published
    assert torch.equal(complementary(teacher, target, "correctness"), ~consistent)


def test_every_region_is_in_the_case_that_its_definition_says():
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(40, 4, 5, generator=generator)
    target = torch.randint(4, (40,), generator=generator)
    cases, by_class = region_cases(teacher, target), complementary(teacher, target, "class")
    seen = set()
    for i in range(40):
        top = [max(range(4), key=lambda c, r=r: teacher[i, c, r]) for r in range(5)]
        for r in range(5):
            words = [f"{k}{'T' if top[p] == target[i] else 'W'}" for k, p in (("G", 0), ("L", r))]
            assert CASES[cases[i, r]] == "-".join(words)
            assert bool(by_class[i, r]) is (top[r] != top[0])
            seen.add("-".join(words))
    assert seen == set(CASES)


def test_the_definitions_differ_only_where_both_are_wrong_in_two_ways():
    teacher, target, *_ = golden("s0")
    cases = region_cases(teacher, target)
    by_class, by_label = (complementary(teacher, target, s) for s in ("class", "correctness"))
    differ = by_class != by_label
    assert differ.any()
    assert set(cases[differ].tolist()) == {CASES.index("GW-LW")}
    assert not by_class[:, 0].any()
    assert not by_label[:, 0].any()


def test_a_target_that_is_no_class_is_named():
    teacher, target, *_ = golden("s0")
    target[2] = 10
    with pytest.raises(ValueError, match="target of sample 2 is 10, need an index from 0 to 9"):
        region_cases(teacher, target)
