"""Rows of a completed teacher from one pass over the student are those of all its logits."""

import pytest
import torch

from kdanalysis.core.truncation.algebra import rows_of
from kdanalysis.core.truncation.completed import rows_completed

N, V, KS = 6, 50, (1, 3, 8)


def problem(held: int, temperature: float, tail: float | None = None):
    """A student, what is known of its teacher, and the logits of the completed one."""
    generator = torch.Generator().manual_seed(0)
    teacher = 3 * torch.randn(N, V, dtype=torch.float64, generator=generator)
    student = teacher + torch.randn(N, V, dtype=torch.float64, generator=generator)
    q, p = ((side / temperature).softmax(-1) for side in (student, teacher))
    top = p.sort(-1, descending=True)
    unknown = top.indices[:, held:]
    left = top.values[:, held:].sum(-1) if tail is None else torch.full((N,), tail)
    known = top.values[:, :held] * ((1 - left) / top.values[:, :held].sum(-1)).unsqueeze(-1)
    shape = q.gather(-1, unknown)
    rest = shape * (left / shape.sum(-1)).unsqueeze(-1)
    whole = torch.empty_like(p).scatter(-1, top.indices[:, :held], known)
    whole = whole.scatter(-1, unknown, rest)
    return student, top.indices[:, :held], known.log(), left.log(), temperature * whole.log()


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("held", [8, 20, V])
def test_every_sum_is_that_of_all_logits(held, temperature):
    student, ids, inside, tail, teacher = problem(held, temperature)
    found, unknown = rows_completed(student, ids, inside, tail, KS, temperature)
    q = (student / temperature).softmax(-1).scatter(-1, ids, 0.0)
    expected = rows_of(student, teacher, temperature, found.known, KS)
    for name in ("top", "tail", "entropy", "factors", "apart"):
        one, other = getattr(found, name), getattr(expected, name)
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-13, msg=name)
    order = student.argsort(-1, descending=True)
    shared = [
        [len({*a[:k]} & {*b[:k]}) / k for k in KS]
        for a, b in zip(ids.tolist(), order.tolist(), strict=True)
    ]
    assert found.known.overlap[:, [k - 1 for k in KS]].tolist() == shared
    torch.testing.assert_close(unknown.mass, q.sum(-1))
    torch.testing.assert_close(unknown.square, q.square().sum(-1))


def test_unknown_classes_without_mass_have_none_of_the_sums():
    student, ids, inside, tail, _ = problem(20, 1.0, tail=0.0)
    rows, unknown = rows_completed(student, ids, inside, tail, KS, 1.0)
    p = inside.exp()
    torch.testing.assert_close(rows.entropy, -(p * inside).sum(-1))
    torch.testing.assert_close(rows.tail[:, 0], p[:, KS[-1] :].sum(-1))
    more = (student.softmax(-1).gather(-1, ids) - p)[:, KS[-1] :].abs().sum(-1)
    torch.testing.assert_close(rows.tail[:, -1], more + unknown.mass)


def test_a_teacher_who_is_the_student_leaves_no_direction():
    student, *_ = problem(20, 1.0)
    log_q, ids = student.log_softmax(-1).sort(-1, descending=True)
    tail = log_q[:, 20:].logsumexp(-1)
    rows, _ = rows_completed(student, ids[:, :20], log_q[:, :20], tail, KS, 1.0)
    assert rows.tail[:, [1, 4, 5, -1]].eq(0).all()
    assert rows.top[2].eq(0).all()
