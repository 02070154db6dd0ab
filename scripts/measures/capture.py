"""A captured training step against the bare step."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

import kdanalysis as kd
from kdanalysis.networks.zoo import build_model
from measures.timing import alternate


def capture(device: torch.device, repetitions: int) -> dict[str, dict]:
    """A training step of resnet20 at batch 64, captured, against the bare step."""
    results = {}
    for name, every, steps in (("every_step", 1, 6), ("every_50th_step", 50, 50)):
        with tempfile.TemporaryDirectory() as folder:
            step = {side: Step(device) for side in ("ours", "plain")}
            recorder = kd.Recorder(
                Path(folder) / "run",
                step["ours"].loss,
                student=step["ours"].student,
                teacher=step["ours"].teacher,
                schedule=kd.every(every),
            )

            def ours(run=step["ours"], recorder=recorder, steps=steps):
                for _ in range(steps):
                    run(lambda s, t, y: recorder.loss(y))

            def plain(run=step["plain"], steps=steps):
                for _ in range(steps):
                    run(run.plain_loss)

            with recorder:
                results[name] = alternate(ours, plain, device, repetitions)
            equal = zip(
                step["ours"].student.parameters(), step["plain"].student.parameters(), strict=True
            )
            assert all(torch.equal(a, b) for a, b in equal), "capture changed the training"
    return results


class Step:
    """One training step: teacher, student, loss, backward, optimizer."""

    def __init__(self, device: torch.device) -> None:
        torch.manual_seed(0)
        self.student = build_model("resnet20", 100).to(device)
        self.teacher = build_model("resnet20", 100).to(device).eval().requires_grad_(False)
        self.loss = kd.Sum(kd.CrossEntropy(), kd.GDKD())
        self.optimizer = torch.optim.SGD(self.student.parameters(), lr=0.01, momentum=0.9)
        self.x = torch.randn(64, 3, 32, 32, device=device)
        self.y = torch.randint(100, (64,), device=device)

    def plain_loss(self, *problem: torch.Tensor) -> torch.Tensor:
        """Return the mean of the sum of the terms, as the recorder does."""
        return sum(self.loss(*problem).values()).mean()

    def __call__(self, loss: Callable) -> None:
        """Run one step whose loss takes student logits, teacher logits and labels."""
        with torch.no_grad():
            teacher = self.teacher(self.x)
        loss(self.student(self.x), teacher, self.y).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
