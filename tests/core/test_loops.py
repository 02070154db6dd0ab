"""Compiled loops give what whole arrays give, and choose as a stable sort does."""

import subprocess
import sys
from decimal import Decimal, localcontext

import pytest
import torch
from problems import batch
from torch.fx.experimental.proxy_tensor import make_fx

from kdanalysis.core.compiled import expecting
from kdanalysis.core.divergence import decompose, slopes, whole_slopes
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


def test_a_graph_has_a_second_derivative():
    student, teacher, target = batch(4)
    members = TopK(3).members(teacher, target)
    assert torch.autograd.gradgradcheck(
        lambda s: decompose(s, teacher, members, 2.0)[:2], student.requires_grad_()
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 4, 11])
@pytest.mark.parametrize("classes", [12, 70])
def test_the_largest_are_those_of_a_stable_sort(dtype, k, classes):
    logits = batch(5, n=60, c=classes)[1].round().to(dtype)  # many ties
    logits[0, :2] = torch.tensor([-0.0, 0.0])
    logits[1, 2:] = logits[2] = -torch.inf
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "classes"), [(1, 2), (3, 17), (45, 100), (41, 127), (3, 2500)])
def test_loops_give_what_arrays_give_of_any_number_of_samples_and_classes(n, classes, dtype):
    student, teacher, target = batch(7, 3.0, n, classes)
    student, teacher = student.to(dtype), teacher.to(dtype)
    rules = [Target(), *([TopK(3), Top1TopK(12)] if classes > 12 else [])]
    for rule in rules:
        members = rule.members(teacher, target)
        weights = range(1, 2 + len(members))
        digits = {} if dtype == torch.float32 else {"rtol": 1e-10, "atol": 1e-14}
        for call in (
            lambda members=members: decompose(student, teacher, members, 2.0),
            lambda members=members, weights=weights: slopes(
                student, teacher, members, weights, 2.0
            ),
            lambda: whole_slopes(student, teacher, 3.0, 2.0),
        ):
            torch.testing.assert_close(*both_ways(call), **digits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_sides_have_no_gradient_and_no_value(dtype):
    teacher = batch(8, 3.0, 30, 100)[1].to(dtype)
    members = TopK(5).members(teacher, torch.zeros(30, dtype=torch.long))
    high, low = slopes(teacher, teacher, members, (1, 1, 1), 4.0)
    parts = decompose(teacher, teacher, members, 4.0)
    for found in (high, *low, whole_slopes(teacher, teacher, 1.0, 4.0), parts.high, parts.low):
        assert (found == 0).all()
    assert (whole_slopes(1.01 * teacher, teacher, 1.0, 4.0) != 0).all()


def test_rows_need_not_lie_beside_each_other_and_a_sample_is_not_moved_by_the_others():
    student, teacher, target = batch(9, 3.0, 45, 100)
    members = TopK(5).members(teacher, target)
    wide = torch.stack((student, teacher), -1)
    found = slopes(*wide.unbind(-1), members, (1, 1, 1), 4.0)
    alone = slopes(student[40:], teacher[40:], (members[0][40:], None), (1, 1, 1), 4.0)
    torch.testing.assert_close(found, slopes(student, teacher, members, (1, 1, 1), 4.0))
    for some, one in zip((found.high, *found.low), (alone.high, *alone.low), strict=True):
        assert some[40:].equal(one)


@pytest.mark.parametrize("scale", [1e-9, 1e-5, 0.1, 1.0, 30.0])
def test_values_keep_their_digits_near_and_far_from_the_teacher(scale):
    teacher, other, target = batch(10, 2.0, 6, 9)
    student = teacher + scale * other
    members = TopK(3).members(teacher, target)
    found = decompose(student, teacher, members)
    for row in range(6):
        for group, classes in enumerate((members[0][row].tolist(), None)):
            classes = classes or [x for x in range(9) if x not in members[0][row].tolist()]
            expected = exact_kl(teacher[row, classes].tolist(), student[row, classes].tolist())
            assert float(found.low[row, group]) == pytest.approx(expected, rel=1e-6, abs=1e-24)


def exact_kl(teacher: list[float], student: list[float]) -> float:
    """KL of two softmaxes to 40 digits."""
    with localcontext(prec=40):
        p, q = ([Decimal(x).exp() for x in side] for side in (teacher, student))
        p, q = ([x / sum(side) for x in side] for side in (p, q))
        return float(sum(a * (a / b).ln() for a, b in zip(p, q, strict=True)))


def test_a_low_part_is_exactly_0_outside_its_group():
    student, teacher, target = batch(11, 3.0, 30, 100)
    members = TopK(5).members(teacher, target)
    _, (top, others) = slopes(student, teacher, members, (1, 1, 1), 4.0)
    inside = torch.zeros_like(teacher, dtype=torch.bool).scatter(1, members[0], True)
    assert (top[~inside] == 0).all()
    assert (others[inside] == 0).all()
    assert (top[inside] != 0).all()


WHOLE = """
import torch
from kdanalysis import DKD, GDKD, GDKD3
from kdanalysis.core.divergence import decompose

student, teacher = torch.randn(2, 40, 7, dtype=torch.float64)
target, leaf = torch.arange(40) % 7, student.requires_grad_()
for loss in (DKD(), GDKD(k=3), GDKD3(k=4)):
    def total(*given):
        return sum(values.mean() for values in loss(*given).values())

    torch.compiler.reset()
    whole = torch.compile(total, backend="eager")
    for _ in range(2):
        found, expected = whole(leaf, teacher, target), total(leaf, teacher, target)
        torch.testing.assert_close(found, expected)
        gradients = (torch.autograd.grad(value, leaf)[0] for value in (found, expected))
        torch.testing.assert_close(*gradients)

def divergence(logits):
    return decompose(logits, teacher, (None,), 2.0).low.sum()

without_gradient = student.detach()
whole = torch.compile(divergence, backend="eager", fullgraph=True)
torch.testing.assert_close(whole(without_gradient), divergence(without_gradient))
"""


def test_torch_compile_takes_a_whole_loss():
    done = subprocess.run([sys.executable, "-c", WHOLE], capture_output=True, text=True)  # no hook
    assert done.returncode == 0, done.stderr


def test_tracers_and_modes_see_every_operation():
    student, teacher, target = batch(10)
    members = TopK(3).members(teacher, target)

    def total(student):
        high, low, _ = decompose(student, teacher, members, 2.0)
        return high.sum() + low.sum()

    other = student.flip(0)
    for leaf in (student, student.clone().requires_grad_()):
        traced = make_fx(total)(leaf)
        torch.testing.assert_close(traced(other), total(other))
