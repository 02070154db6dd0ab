"""Compiled loops give what whole arrays give, and choose as a stable sort does."""

import pytest
import torch
from problems import batch

from kdanalysis.core.compiled import expecting
from kdanalysis.core.divergence import decompose, slopes
from kdanalysis.core.largest import top
from kdanalysis.core.partition import Groups, Target, Top1, Top1TopK, TopK

RULES = [
    Target(),
    Top1(),
    TopK(3),
    TopK(6),
    TopK(2, "worst"),
    Top1TopK(4),
    Groups((0, 1, 2, 1, 0, 2, 2)),
]


def both_ways(call):
    compiled = call()
    with expecting(1):
        return compiled, call()


@pytest.mark.parametrize("rule", [*RULES, None], ids=repr)
@pytest.mark.parametrize("scale", [1e-7, 1.0, 100.0, 1e4])
@pytest.mark.parametrize("by_mass", [False, True])
def test_loops_give_what_arrays_give(rule, scale, by_mass):
    student, teacher, target = batch(3, scale, n=40)
    student = teacher + student if scale < 1 else student
    members = rule.members(teacher, target) if rule else (None,)
    weights = range(2, 3 + len(members))
    for call, digits in (
        (lambda: decompose(student, teacher, members, 3.0), 1e-20),
        (lambda: slopes(student, teacher, members, weights, 3.0, by_mass=by_mass), 1e-15),
    ):
        found, expected = both_ways(call)
        options = {"rtol": 1e-7, "atol": digits} if scale < 1 else {"rtol": 1e-9, "atol": 1e-12}
        torch.testing.assert_close(found, expected, **options)


def test_a_graph_goes_through_arrays_and_has_a_second_derivative():
    student, teacher, target = batch(4)
    members = TopK(3).members(teacher, target)
    assert torch.autograd.gradgradcheck(
        lambda s: decompose(s, teacher, members, 2.0)[:2], student.requires_grad_()
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 4, 11])
def test_the_largest_are_those_of_a_stable_sort(dtype, k):
    logits = batch(5, n=60, c=12)[1].round().to(dtype)  # many ties
    logits[0, :2] = torch.tensor([-0.0, 0.0])
    order = logits.sort(dim=-1, descending=True, stable=True).indices
    worst = logits.sort(dim=-1, stable=True).indices
    target = torch.zeros(60, dtype=torch.long)
    assert torch.equal(TopK(k).members(logits, target)[0], order[:, :k])
    assert torch.equal(TopK(k, "worst").members(logits, target)[0], worst[:, :k])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_top_class_is_the_first_of_equal_ones(dtype):
    logits = batch(5, n=60, c=12)[1].round().to(dtype)  # many ties
    logits[0] = torch.tensor([-1.0, -0.0, 0.0] * 4)
    logits[1] = -torch.inf
    expected = [row.index(max(row)) for row in logits.tolist()]
    assert top(logits.requires_grad_()).tolist() == expected
    assert top(logits.repeat(1, 2)[:, ::2]).shape == (60,)
    assert top(logits[:0]).dtype == torch.long


def test_no_sample_has_no_gradient():
    student, teacher, target = (x[:0] for x in batch(6))
    high, low = slopes(student, teacher, TopK(2).members(teacher, target), (1, 1, 1))
    assert [x.shape for x in (high, *low)] == [(0, 7)] * 3


@pytest.mark.parametrize("k", [1, 5, 64])
@pytest.mark.parametrize("classes", [3000, 3007])
@pytest.mark.parametrize("values", [10, 10_000])
def test_the_largest_of_a_vocabulary_are_those_of_a_stable_sort(k, classes, values):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randint(values, (6, classes), generator=generator).float()
    logits = torch.cat((logits, torch.arange(classes).expand(2, -1)))
    expected = logits.sort(dim=-1, descending=True, stable=True).indices[:, :k]
    assert TopK(k).members(logits, torch.zeros(8, dtype=torch.long))[0].equal(expected)
