"""Many logits: by rows, with closed forms; what needs autograd's own operations still has them."""

import gc
import weakref
from typing import ClassVar
from unittest.mock import patch

import pytest
import torch
from problems import batch
from torch.autograd import forward_ad

from kdanalysis import (
    DKD,
    GDKD,
    JSD,
    KD,
    CrossEntropy,
    Decoupled,
    LogitStandardized,
    Loss,
    SparseTeacher,
    Sum,
    Truncated,
)
from kdanalysis.core.partition import Partition
from kdanalysis.losses import by_rows


@pytest.fixture(autouse=True)
def three_rows_at_a_time():
    with patch.dict(by_rows.AT_A_TIME, cpu=21):
        yield


def slope_of(loss, student, *given):
    leaf = student.clone().requires_grad_()
    sum(loss(leaf, *given).values()).sum().backward()
    return leaf.grad


def test_nothing_is_kept_but_the_logits_and_the_labels():
    student, teacher, target = batch(1, n=50)
    leaf, saved = student.requires_grad_(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        JSD()(leaf, teacher, target)
    assert {x.data_ptr() for x in saved} == {x.data_ptr() for x in (leaf, teacher, target)}


def test_no_more_rows_are_looked_at_together():
    student, teacher, target = batch(2, n=50)
    seen = []
    with patch.object(JSD, "values", lambda self, z, *_: seen.append(len(z)) or {"jsd": z[:, 0]}):
        JSD()(student, teacher, target)
    with patch.object(JSD, "slopes", lambda self, z, *_: seen.append(len(z)) or {"jsd": z}):
        JSD().gradients(student, teacher, target)
    assert seen == 2 * ([3] * 16 + [2])


def test_a_sparse_teacher_is_cut_with_the_student():
    student, teacher, target = batch(3, n=50)
    sparse, loss = SparseTeacher.from_logits(teacher, 4, (1, 2)), Truncated(k=3)
    found = slope_of(loss, student, sparse, target)
    torch.testing.assert_close(found, loss.gradients(student, sparse, target)["topk"])
    for held in (sparse.logprobs, sparse.logsumexp[2]):
        value = loss(student.requires_grad_(), sparse, target)["topk"].sum()
        held.add_(1e-3)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            value.backward()


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_made_float32_by_rows(dtype, sparse):
    student, teacher, target = batch(3, n=50)
    student = student.to(dtype)
    teacher = SparseTeacher.from_logits(teacher, 4) if sparse else teacher.to(dtype)
    loss = Truncated(k=3)
    expected = loss.gradients(student, teacher, target)["topk"]
    with patch.dict(by_rows.AT_A_TIME, cpu=student.numel()):
        torch.testing.assert_close(loss.gradients(student, teacher, target)["topk"], expected)
    with patch.object(Truncated, "slopes", wraps=loss.slopes) as slopes:
        found = slope_of(loss, student, teacher, target)
    assert {call.args[0].dtype for call in slopes.mock_calls} == {torch.float32}
    assert [len(call.args[0]) for call in slopes.mock_calls] == [3] * 16 + [2]
    assert torch.equal(found, expected.to(dtype))


@pytest.mark.parametrize("most", [21, 2**19])  # by rows, and the split alone
@pytest.mark.parametrize("changed", ["student", "teacher", "target"])
def test_what_a_backward_pass_needs_is_not_changed_in_between(changed, most):
    student, teacher, target = batch(4, n=50)
    seen = {"student": student.requires_grad_() * 1, "teacher": teacher, "target": target}
    with patch.dict(by_rows.AT_A_TIME, cpu=most):
        value = DKD()(*seen.values())["nckd"].sum()
    seen[changed].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


@pytest.mark.parametrize("most", [21, 2**19])
def test_constants_made_in_inference_mode_are_taken(most):
    student, teacher, target = batch(5, n=50)
    with patch.dict(by_rows.AT_A_TIME, cpu=most):
        expected = slope_of(DKD(), student, teacher, target)
        with torch.inference_mode():
            teacher, target = teacher.clone(), target.clone()
        assert torch.equal(slope_of(DKD(), student, teacher, target), expected)


def test_an_error_names_the_sample_by_its_own_number():
    student, teacher, target = batch(6, n=50)
    teacher[40] = 2.0
    loss = LogitStandardized(KD())
    for asked in (loss, loss.gradients):
        with pytest.raises(ValueError, match="teacher logits of sample 40 have no spread"):
            asked(student, teacher, target)


@pytest.mark.parametrize("most", [21, 2**19])
def test_hooks_on_the_logits_run_once_though_a_graph_is_asked_for(most):
    student, *given = batch(10, n=50)
    seen = []
    for graph in (False, True):
        with patch.dict(by_rows.AT_A_TIME, cpu=most):
            leaf = student.clone().requires_grad_() * 1
            leaf.register_hook(lambda slope: seen.append(slope.detach()))
            torch.autograd.grad(sum(DKD()(leaf, *given).values()).sum(), leaf, create_graph=graph)
    assert len(seen) == 2
    torch.testing.assert_close(*seen)


@pytest.mark.parametrize("most", [21, 2**19])
def test_a_teacher_goes_when_the_backward_pass_is_done(most):
    student, teacher, target = batch(11, n=50)
    held = teacher.numpy().copy()
    gone = weakref.ref(held)
    with patch.dict(by_rows.AT_A_TIME, cpu=most):
        found = DKD()(student.requires_grad_(), torch.from_numpy(held), target)
        value = sum(found.values()).mean()
    value.backward()
    del held
    gc.collect()
    assert value.isfinite()
    assert gone() is None


@pytest.mark.parametrize("most", [21, 2**19])
@pytest.mark.parametrize("loss", [KD(), GDKD(k=3)], ids=repr)
def test_several_gradients_are_taken_at_once(most, loss):
    student, *given = batch(12, n=50)
    leaf = student.requires_grad_()
    with patch.dict(by_rows.AT_A_TIME, cpu=most):
        value = sum(loss(leaf, *given).values())
        of = torch.eye(50, dtype=torch.float64)[:4]
        found = torch.autograd.grad(value, leaf, of, is_grads_batched=True, retain_graph=True)[0]
        expected = [torch.autograd.grad(value, leaf, one, retain_graph=True)[0] for one in of]
    torch.testing.assert_close(found, torch.stack(expected))


def test_soft_targets_that_ask_for_a_gradient_get_none():
    student, teacher, _ = batch(13, n=50)
    soft = teacher.softmax(-1).requires_grad_()
    assert not CrossEntropy()(student, teacher, soft)["ce"].requires_grad


class OfTheBatch(Partition):
    """A rule that looks at other rows."""

    num_groups = 2

    def __call__(self, teacher, target):
        return (teacher > teacher.mean(0)).long()


def test_a_partition_of_ones_own_sees_the_whole_batch():
    given = batch(14, n=50)
    loss = Decoupled(OfTheBatch(), (1, 1, 1))
    assert not by_rows.is_own(loss)
    found = slope_of(loss, *given)
    torch.testing.assert_close(found, sum(loss.gradients(*given).values()))


@pytest.fixture
def own():
    class Wrong(Loss):  # whose slope is no gradient of its value
        term_weights: ClassVar = {"wrong": 1.0}

        def values(self, student, teacher, target, ramp):
            return {"wrong": student.sum(-1)}

        def slopes(self, student, teacher, target, ramp):
            return {"wrong": 0 * student}

    return Wrong()


def test_a_loss_of_ones_own_goes_through_autograd_wherever_it_stands(own):
    given = batch(7, n=50)
    assert by_rows.is_own(Sum(KD(), LogitStandardized(DKD())))
    assert not by_rows.is_own(LogitStandardized(own))
    changed = KD()
    changed.values = own.values  # whose slopes are still KD's
    assert not by_rows.is_own(Sum(changed))
    for loss in (own, Sum(own)):
        assert torch.equal(slope_of(loss, *given), torch.ones_like(given[0]))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # by torch itself
@pytest.mark.parametrize("loss", [KD(), GDKD(k=3), JSD()], ids=repr)
def test_transforms_and_forward_mode_see_through_it(loss):
    student, teacher, target = batch(8, n=50)
    along = torch.cos(student)

    def total(student):
        return sum(loss(student, teacher, target).values()).sum()

    slope = torch.func.grad(total)(student)
    torch.testing.assert_close(slope, slope_of(loss, student, teacher, target))
    expected = (slope * along).sum()
    torch.testing.assert_close(torch.func.jvp(total, (student,), (along,))[1], expected)
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(total(forward_ad.make_dual(student, along))).tangent
        torch.testing.assert_close(found, expected)
