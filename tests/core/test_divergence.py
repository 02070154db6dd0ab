"""The split of the divergence is exact for any logits, partition size and temperature."""

from math import inf

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from problems import batch
from torch.autograd import forward_ad

from kdanalysis.core.compiled import expecting
from kdanalysis.core.divergence import decompose, slopes
from kdanalysis.core.partition import Top1TopK, TopK


@given(st.integers(0, 999), st.integers(1, 6), st.floats(0.5, 20), st.floats(0.1, 300))
def test_parts_weighted_by_teacher_mass_add_up_to_kl(seed, k, temperature, scale):
    student, teacher, target = batch(seed, scale)
    members = TopK(k).members(teacher, target)
    log_q, log_p = ((x / temperature).log_softmax(-1) for x in (student, teacher))
    kl = F.kl_div(log_q, log_p, log_target=True, reduction="none").sum(-1)  # torch's own
    for graph in (False, True):  # and with gradients in closed form
        parts = decompose(student.requires_grad_(graph), teacher, members, temperature)
        torch.testing.assert_close(parts.high + (parts.mass * parts.low).sum(-1), kl)


@given(st.integers(0, 999), st.integers(1, 6), st.floats(0.5, 20))
def test_slopes_weighted_by_teacher_mass_add_up_to_the_slope_of_kl(seed, k, temperature):
    student, teacher, target = batch(seed)
    groups = TopK(k).members(teacher, target)
    mass = decompose(student, teacher, groups, temperature).mass
    high, low = slopes(student, teacher, groups, (1, 1, 1), temperature)
    q, p = ((x / temperature).softmax(-1) for x in (student, teacher))
    low = sum(m.unsqueeze(-1) * part for m, part in zip(mass.T, low, strict=True))
    torch.testing.assert_close(high + low, temperature * (q - p))


@pytest.mark.parametrize("divergence", ["forward", "reverse", "both"])
@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_chosen_classes_are_a_partition_like_any_other(scale, divergence):
    student, teacher, target = batch(3, scale)
    rule = TopK(3)
    masks = [rule(teacher, target) == group for group in (0, 1)]
    chosen, masked = (
        slopes(student, teacher, members, (2, 3, 5), 4.0, divergence)
        for members in (rule.members(teacher, target), masks)
    )
    torch.testing.assert_close(chosen.high, masked.high, rtol=1e-10, atol=1e-12)
    for one, other in zip(chosen.low, masked.low, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_a_shift_of_one_group_moves_only_the_high_part():
    student, teacher, target = batch(0)
    groups = TopK(3).members(teacher, target)

    before = decompose(student, teacher, groups)
    after = decompose(student + 5.0 * TopK(3)(teacher, target), teacher, groups)

    torch.testing.assert_close(after.low, before.low)
    assert (after.high != before.high).all()  # the control: the shift does reach the loss


@pytest.mark.parametrize("divergence", ["forward", "reverse", "both"])
def test_directions_exchange_the_two_sides(divergence):
    student, teacher, target = batch(1)
    groups = TopK(3).members(teacher, target)
    swapped = {"forward": "reverse", "reverse": "forward", "both": "both"}[divergence]
    one = decompose(student, teacher, groups, 2.0, divergence)
    other = decompose(teacher, student, groups, 2.0, swapped)
    torch.testing.assert_close(one.low, other.low)


@pytest.mark.parametrize("divergence", ["forward", "reverse", "both"])
@pytest.mark.parametrize("looped", [True, False])
@pytest.mark.parametrize("groups", ["chosen", "marked", "whole"])
def test_the_backward_pass_is_what_autograd_makes_of_every_operation(divergence, looped, groups):
    student, teacher, target = batch(5)
    rule = Top1TopK(3)
    members = {
        "chosen": rule.members(teacher, target),
        "marked": [rule(teacher, target) == group for group in range(3)],
        "whole": (None,),
    }[groups]
    student.requires_grad_()
    with expecting(inf if looped else 1):
        high, low, _ = decompose(student, teacher, members, 3.0, divergence)
        upstream = torch.sin(torch.arange(len(high), dtype=torch.float64))  # another one a sample
        weights = torch.arange(1, 1 + len(members), dtype=torch.float64)
        total = (upstream * high).sum() + (torch.outer(upstream, weights) * low).sum()
        (found,) = torch.autograd.grad(total, student, retain_graph=True)
    (expected,) = torch.autograd.grad(total, student, create_graph=True)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert expected.grad_fn is not None  # of operations, where the other one is a closed form


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # by torch itself
def test_transforms_and_forward_mode_see_through_the_split():
    student, teacher, target = batch(6)
    along = torch.cos(student)
    members = TopK(3).members(teacher, target)

    def total(student):
        high, low, _ = decompose(student, teacher, members, 2.0)
        return high.sum() + low.sum()

    slope = torch.func.grad(total)(student)
    leaf = student.clone().requires_grad_()
    torch.testing.assert_close(slope, torch.autograd.grad(total(leaf), leaf)[0])
    expected = (slope * along).sum()
    torch.testing.assert_close(torch.func.jvp(total, (student,), (along,))[1], expected)
    for graph in (False, True):
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(student.clone().requires_grad_(graph), along)
            found = forward_ad.unpack_dual(total(dual)).tangent
            torch.testing.assert_close(found.detach(), expected)


def test_a_backward_pass_keeps_the_logits_and_the_chosen_classes_alone():
    student, teacher, target = batch(7)
    leaf, saved = student.requires_grad_(), []
    members = TopK(3).members(teacher, target)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        decompose(leaf, teacher, members, 2.0)
    assert {x.data_ptr() for x in saved} == {x.data_ptr() for x in (leaf, teacher, members[0])}
