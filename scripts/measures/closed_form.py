"""Gradients of losses' terms in closed form against one ``backward()`` a term."""

from collections.abc import Callable
from math import log

import torch
import torch.nn.functional as F

import kdanalysis as kd
from measures.timing import alternate

SIZES = (64, 100), (256, 100), (4096, 100), (256, 1000)
WIDE = 256, 32_000
CYCLE = 16  # batches in turn: a processor would learn the branches of a single one


def plain_gdkd(student, teacher, k: int, temperature: float) -> list[torch.Tensor]:
    """The three terms of the teacher's top k and the others."""
    return published(
        student, teacher, [marked(teacher, teacher.topk(k, dim=1).indices)], temperature
    )


def plain_dkd(student, teacher, target, temperature: float) -> list[torch.Tensor]:
    """The terms of the target and the others, without that of the target alone."""
    high, _, low = published(student, teacher, [marked(teacher, target[:, None])], temperature)
    return [high, low]


def plain_gdkd3(student, teacher, k: int, temperature: float) -> list[torch.Tensor]:
    """The terms of the top class, the others of the top k and the rest, without that of the top."""
    order = teacher.topk(k, dim=1).indices
    top = [marked(teacher, classes) for classes in (order[:, :1], order[:, 1:])]
    high, _, *low = published(student, teacher, top, temperature)
    return [high, *low]


def plain_kd(student, teacher, temperature: float) -> list[torch.Tensor]:
    """The one term of plain distillation."""
    log_s, t = F.log_softmax(student / temperature, 1), F.softmax(teacher / temperature, 1)
    return [F.kl_div(log_s, t, reduction="batchmean") * temperature**2]


def plain_jsd(student, teacher) -> list[torch.Tensor]:
    """The mean of both sides' divergences from their mean."""
    log_s, log_t = student.log_softmax(-1), teacher.log_softmax(-1)
    log_m = torch.stack((log_s, log_t)).logsumexp(0) - log(2)
    parts = (F.kl_div(log_m, x, reduction="batchmean", log_target=True) for x in (log_s, log_t))
    return [sum(parts) / 2]


def marked(like: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Mark classes of every sample."""
    return torch.zeros_like(like, dtype=torch.bool).scatter(1, classes, True)


def published(student, teacher, masks: list, temperature: float) -> list[torch.Tensor]:
    """The terms as published code computes them: masks of -1000, sums of probabilities."""
    masks = [*masks, ~torch.stack(masks).any(0)] if len(masks) > 1 else [*masks, ~masks[0]]
    soft_s, soft_t = student / temperature, teacher / temperature
    s, t = F.softmax(soft_s, dim=1), F.softmax(soft_t, dim=1)
    mass_s, mass_t = (
        torch.cat([(x * m).sum(1, keepdim=True) for m in masks], dim=1) for x in (s, t)
    )
    high = F.kl_div(mass_s.log(), mass_t, reduction="batchmean") * temperature**2
    low = []
    for mask in masks:
        log_s, log_t = (F.log_softmax(x - 1000.0 * ~mask, dim=1) for x in (soft_s, soft_t))
        value = F.kl_div(log_s, log_t, reduction="batchmean", log_target=True)
        low.append(value * temperature**2)
    return [high, *low]


def closed_form(device: torch.device, repetitions: int) -> dict[str, dict]:
    """Per-term logit gradients against one ``backward()`` a term on one forward pass.

    The forward pass is once the published way of computing the terms and once ours; GDKD in four
    sizes, the other losses in one. ``training`` is the loss of a training step, forward and
    backward through the sum of its terms, beside the same of the published way. Last, GDKD's values
    against its gradients at 32 000 classes.
    """
    gdkd, results = kd.GDKD(k=5, weights=(1, 1, 1)), {}
    ways: dict[str, tuple[kd.Loss, Callable]] = {
        "gdkd": (gdkd, lambda s, t, _: plain_gdkd(s, t, 5, 4.0)),
        "gdkd3": (kd.GDKD3(k=4, weights=(1, 1, 1)), lambda s, t, _: plain_gdkd3(s, t, 4, 4.0)),
        "dkd": (kd.DKD(beta=1.0), lambda s, t, y: plain_dkd(s, t, y, 4.0)),
        "dkd top1": (
            kd.DKD(beta=1.0, partition="top1"),
            lambda s, t, _: plain_dkd(s, t, t.argmax(1), 4.0),
        ),
        "kd": (kd.KD(), lambda s, t, _: plain_kd(s, t, 4.0)),
    }
    cases = [("gdkd", size) for size in SIZES] + [(name, (256, 100)) for name in list(ways)[1:]]
    for loss_name, (n, c) in cases:
        loss, terms = ways[loss_name]
        problems = [problem(n, c, device) for _ in range(CYCLE)]
        others = {
            "published": terms,
            "our values": lambda *given, loss=loss: [x.mean() for x in loss(*given).values()],
        }
        inner = CYCLE * max(1, 12_500 // (n * c))
        for name, other in others.items():
            ours = in_turn(
                lambda *given, loss=loss: list(loss.gradients(*given).values()), problems
            )
            plain = in_turn(lambda *given, other=other: backward(other, *given), problems)
            for a, b in zip(ours(), plain(), strict=True):
                torch.testing.assert_close(a, n * b, rtol=1e-3, atol=1e-4)
            figures = alternate(ours, plain, device, repetitions, inner)
            results[f"{loss_name} {n}x{c} against backward over {name}"] = figures
    ways["jsd"] = kd.JSD(), lambda s, t, _: plain_jsd(s, t)
    for loss_name, (n, c), batches in (
        *((name, size, CYCLE) for name, size in cases),
        *((name, WIDE, 2) for name in ("kd", "gdkd", "jsd")),
    ):
        problems = [problem(n, c, device) for _ in range(batches)]
        steps = training(*ways[loss_name], problems)
        inner = batches * max(1, 12_500 // (n * c))
        results[f"{loss_name} {n}x{c}, training"] = alternate(*steps, device, repetitions, inner)
    wide, problems = kd.GDKD(k=64), [problem(8, 32_000, device)]
    calls = in_turn(wide, problems), in_turn(wide.gradients, problems)
    results["gdkd k=64 8x32000, values against gradients"] = alternate(
        *calls, device, repetitions, 4
    )
    return results


def problem(n: int, c: int, device: torch.device) -> tuple[torch.Tensor, ...]:
    """Student and teacher logits and targets."""
    student, teacher = 3 * torch.randn(2, n, c, device=device)
    return student, teacher, torch.randint(c, (n,), device=device)


def in_turn(call: Callable, problems: list) -> Callable:
    """Make a call without arguments that takes the problems one after the other."""
    place = iter(range(10**9))
    return lambda: call(*problems[next(place) % len(problems)])


def training(loss: kd.Loss, terms: Callable, problems: list) -> list[Callable]:
    """A step through the sum of the terms, ours and the published way, which agree."""

    def ours(*given):
        return [x.mean() for x in loss(*given).values()]

    steps = [
        in_turn(lambda *given, way=way: stepped(way, *given), problems) for way in (ours, terms)
    ]
    torch.testing.assert_close(*(step() for step in steps), rtol=1e-3, atol=1e-4)
    return steps


def stepped(terms: Callable, student, teacher, target) -> torch.Tensor:
    """One backward pass through the sum of the terms."""
    student = student.clone().requires_grad_()
    sum(terms(student, teacher, target)).backward()
    return student.grad


def backward(terms: Callable, student, teacher, target) -> list[torch.Tensor]:
    """One backward pass a term."""
    student, gradients = student.clone().requires_grad_(), []
    for value in terms(student, teacher, target):
        student.grad = None
        value.backward(retain_graph=True)
        gradients.append(student.grad)
    return gradients
