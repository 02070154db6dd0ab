"""A small student, teacher and training loop that the capture tests share."""

from dataclasses import dataclass, field

import torch
from torch import nn


def network(seed: int, classes: int = 6, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(seed)
    layers = [nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(16, classes))


def batches(count: int, size: int = 10, classes: int = 6, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    for number in range(count):
        x = torch.randn(size, 8, generator=generator)
        y = torch.randint(classes, (size,), generator=generator)
        yield x, y, torch.arange(number * size, (number + 1) * size)


@dataclass
class Training:
    """Student, frozen teacher, optimizer; ``step`` runs one training step."""

    dropout: float = 0.0
    student: nn.Module = field(init=False)
    teacher: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        self.student, self.teacher = network(0, dropout=self.dropout), network(1).eval()
        self.teacher.requires_grad_(False)
        self.optimizer = torch.optim.SGD(self.student.parameters(), lr=0.1, momentum=0.9)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            teacher = self.teacher(x)
        return self.student(x), teacher

    def update(self, loss: torch.Tensor) -> None:
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
