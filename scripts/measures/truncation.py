"""What truncation loses of a language model's gradient, in milliseconds a token."""

from functools import partial

import numpy as np
import torch

import kdanalysis as kd
from measures.sweep import pair
from measures.timing import alternate

FEW, ALL = (1, 8, 32, 64), tuple(range(1, 65))
ROWS = {32_000: 64, 152_000: 16}  # classes: tokens


def truncation(device: torch.device, repetitions: int) -> dict[str, dict]:
    """All four conventions for a few K and for every K to 64, norms, cosines and values.

    Beside one ``torch.logsumexp`` over the same logits in float32, which any loss of a vocabulary
    takes once a side. Ours takes the exponentials of both sides in float64, which alone is about
    1.2 times that.
    """
    check(*pair(8, 1000, device))
    results = {}
    for classes, rows in ROWS.items():
        student, teacher = pair(rows, classes, device)
        for name, ks in (("few K", FEW), ("every K to 64", ALL)):
            times = alternate(
                partial(analysed, student, teacher, ks),
                partial(torch.logsumexp, student, -1),
                device,
                repetitions,
            )
            results[f"{name}, {classes} classes"] = {
                "ours_ms_per_token": times["ours_ms"] / rows,
                "plain_ms_per_token": times["plain_ms"] / rows,
                "ours_over_plain": times["ours_over_plain"],
            }
    return results


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
