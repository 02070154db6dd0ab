"""Gradients of GDKD's terms in closed form against one ``backward()`` a term."""

import torch
import torch.nn.functional as F

import kdanalysis as kd
from measures.timing import alternate


def plain_gdkd(student, teacher, k: int, temperature: float) -> list[torch.Tensor]:
    """The three terms as published code computes them: masks of -1000, sums of probabilities."""
    top = torch.zeros_like(teacher, dtype=torch.bool)
    top = top.scatter(1, teacher.topk(k, dim=1).indices, True)
    soft_s, soft_t = student / temperature, teacher / temperature
    s, t = F.softmax(soft_s, dim=1), F.softmax(soft_t, dim=1)
    mass_s, mass_t = (
        torch.cat([(x * m).sum(1, keepdim=True) for m in (top, ~top)], dim=1) for x in (s, t)
    )
    high = F.kl_div(mass_s.log(), mass_t, reduction="batchmean") * temperature**2
    low = []
    for outside in (~top, top):
        log_s, log_t = (F.log_softmax(x - 1000.0 * outside, dim=1) for x in (soft_s, soft_t))
        value = F.kl_div(log_s, log_t, reduction="batchmean", log_target=True)
        low.append(value * temperature**2)
    return [high, *low]


def closed_form(device: torch.device, repetitions: int) -> dict[str, dict]:
    """Per-term logit gradients of GDKD against one ``backward()`` a term on one forward pass.

    The forward pass is once the published way of computing the terms and once ours.
    """
    loss, results = kd.GDKD(k=5, weights=(1, 1, 1)), {}
    for n, c in ((64, 100), (256, 100), (4096, 100), (256, 1000)):
        student, teacher = 3 * torch.randn(2, n, c, device=device)
        target = torch.randint(c, (n,), device=device)

        def ours(problem=(student, teacher, target)):
            return list(loss.gradients(*problem).values())

        def plain(student=student, teacher=teacher):
            student = student.clone().requires_grad_()
            gradients = []
            for value in plain_gdkd(student, teacher, 5, 4.0):
                student.grad = None
                value.backward(retain_graph=True)
                gradients.append(student.grad)
            return gradients

        def backward(problem=(student, teacher, target)):
            student = problem[0].clone().requires_grad_()
            gradients = []
            for value in loss(student, *problem[1:]).values():
                student.grad = None
                value.mean().backward(retain_graph=True)
                gradients.append(student.grad)
            return gradients

        inner = max(1, 200_000 // (n * c))
        for name, other in (("published", plain), ("our values", backward)):
            for a, b in zip(ours(), other(), strict=True):
                torch.testing.assert_close(a, n * b, rtol=1e-3, atol=1e-4)
            figures = alternate(ours, other, device, repetitions, inner)
            results[f"{n}x{c} against backward over {name}"] = figures
    return results
