"""What truncation loses of a language model's gradient, in milliseconds a token."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

import kdanalysis as kd
from measures.sweep import pair
from measures.timing import alternate

FEW, ALL = (1, 8, 32, 64), tuple(range(1, 65))
ROWS = (32_000, 256), (32_000, 2048), (152_000, 64)  # classes, tokens


def truncation(device: torch.device, repetitions: int) -> dict[str, dict]:
    """All four conventions, a few K and every K to 64: norms, cosines and values, on one thread.

    Beside one ``torch.logsumexp`` over the student's logits in float32, also on one thread, which
    any loss of a vocabulary takes. ``sparse`` is ``kd.truncation`` with the teacher's 64 largest
    tokens, its three tables included: it has to look at one side, and is to take two of those
    passes at most. ``dense`` looks at all logits of both sides, whose exponentials in float64 are
    about three passes already; 4096 tokens of 152 000 classes are to take 6 s at most.
    """
    check(*pair(8, 1000, device))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {
            f"{kind}, {name}, {classes} classes, {rows} tokens": against_logsumexp(
                partial(call, *sides, ks), sides[0], device, repetitions
            )
            for classes, rows in ROWS
            for kind, call, sides in calls(*pair(rows, classes, device))
            for name, ks in (("few K", FEW), ("every K to 64", ALL))
        }
    finally:
        torch.set_num_threads(threads)


def calls(student: torch.Tensor, teacher: torch.Tensor) -> list[tuple]:
    """The two kinds of analysis, each with its name and what it looks at."""
    sparse = kd.SparseTeacher.from_logits(teacher, ALL[-1])
    return [
        ("sparse", kd.truncation, (student, sparse)),
        ("dense", analysed, (student, teacher)),
    ]


def against_logsumexp(
    call: Callable, student: torch.Tensor, device: torch.device, repetitions: int
) -> dict[str, float]:
    """Milliseconds a token of a call and of one logsumexp, in turn."""
    times = alternate(call, partial(torch.logsumexp, student, -1), device, repetitions)
    return {
        "ours_ms_per_token": times["ours_ms"] / len(student),
        "plain_ms_per_token": times["plain_ms"] / len(student),
        "ours_over_plain": times["ours_over_plain"],
    }


def analysed(student: torch.Tensor, teacher: torch.Tensor, ks: tuple[int, ...]) -> kd.Analyzer:
    """Return the analyzer of the gradient that is lost, with its rows."""
    analyzer = kd.analyzers["truncation"](teacher.shape[1], ks)
    analyzer.update(student, teacher)
    return analyzer


def check(student: torch.Tensor, teacher: torch.Tensor) -> None:
    """Hold the L2 norm that the bucket of 8 classes loses against autograd."""
    student, teacher = student.double(), teacher.double()
    table = analysed(student, teacher, FEW).table().set_index(["measure", "convention", "k"])
    z = student.requires_grad_()
    top = teacher.topk(8).indices
    p, q = teacher.softmax(-1), z.softmax(-1)
    tails = [
        torch.cat((x.gather(-1, top), 1 - x.gather(-1, top).sum(-1, keepdim=True)), -1)
        for x in (p, q)
    ]
    values = [(a * (a.log() - b.log())).sum() for a, b in ((p, q), tails)]
    full, kept = (torch.autograd.grad(value, z, retain_graph=True)[0] for value in values)
    share = (full - kept).norm(dim=-1).sum() / full.norm(dim=-1).sum()
    np.testing.assert_allclose(table.share["l2", "bucket", 8], float(share), rtol=1e-9)
