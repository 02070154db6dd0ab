"""Gradients of loss terms at layers: against one ``backward()`` a term, and in a training step."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

import kdanalysis as kd
from kdanalysis.core.parameters import layer_grams
from kdanalysis.networks.names import find_layers
from measures.capture import Step
from measures.timing import alternate
from measures.wide import wide

CHOICES = {"all layers": ("*",), "layer1, layer3, fc": ("layer1", "layer3", "fc")}


def parameter(device: torch.device, repetitions: int) -> dict[str, dict]:
    """Gram matrices of 4 terms in resnet20 at batch 64, and a step that takes them every 50th time.

    The step also estimates the variance over samples, which doubles the work at the layers.
    """
    return {
        **{f"4 terms, {name}": _probe(device, repetitions, n) for name, n in CHOICES.items()},
        "every_50th_step": _steps(device, repetitions, kd.every(50), 50),
        **wide(device, repetitions),
    }


def _probe(device: torch.device, repetitions: int, names: tuple[str, ...]) -> dict[str, float]:
    """Closed forms and Gram matrices, against a backward pass a term on the same graph."""
    step, loss = Step(device), kd.Sum(kd.CrossEntropy(), kd.GDKD())
    with torch.no_grad():
        teacher = step.teacher(step.x)
    logits = step.student(step.x)
    layers = {n: [*x.learning().values()] for n, x in find_layers(step.student, names).items()}
    parameters = list(step.student.parameters())

    def ours() -> dict[str, torch.Tensor]:
        closed = torch.stack([*loss.gradients(logits.detach(), teacher, step.y).values()])
        return layer_grams(logits, closed, layers)

    def plain(keep: Callable[[], object] = lambda: None) -> list:
        found = []
        for value in loss(logits, teacher, step.y).values():
            for p in parameters:
                p.grad = None
            value.mean().backward(retain_graph=True)
            found.append(keep())
        return found

    grams = ours()
    for name, inside in layers.items():
        rows = plain(lambda inside=inside: torch.cat([p.grad.flatten() for p in inside]))
        rows = torch.stack(rows).double()
        torch.testing.assert_close(grams[name], rows @ rows.T, rtol=1e-3, atol=1e-8)
    return alternate(ours, plain, device, repetitions)


def _steps(
    device: torch.device, repetitions: int, schedule: Callable[[int], bool], steps: int
) -> dict[str, float]:
    """So many steps of training under a recorder with all layers, against bare ones."""
    with tempfile.TemporaryDirectory() as folder:
        watched, bare = Step(device), Step(device)
        sides = {"student": watched.student, "teacher": watched.teacher}
        options = {"keep": kd.Layers("*"), "schedule": schedule}
        with kd.Recorder(Path(folder) / "run", watched.loss, **sides, **options) as recorder:
            figures = alternate(
                lambda: [watched(lambda s, t, y: recorder.loss(y)) for _ in range(steps)],
                lambda: [bare(bare.plain_loss) for _ in range(steps)],
                device,
                repetitions,
            )
        pairs = zip(watched.student.parameters(), bare.student.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs), "capture changed the training"
    return figures
