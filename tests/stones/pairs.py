"""Students and teachers that the tests of stepping stones share, one pair an architecture."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdanalysis.networks.zoo import build_model

CLASSES = 5


class Encoder(nn.Module):
    """A plain transformer encoder on patches of 16x16 images; its blocks are not exposed."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        layer = {"dim_feedforward": 2 * width, "dropout": 0.1, "batch_first": True}
        layers = [nn.TransformerEncoderLayer(width, 2, **layer) for _ in range(depth)]
        self.layers, self.norm = nn.ModuleList(layers), nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).mT
        for layer in self.layers:
            x = layer(x)
        return self.classify(x)

    def classify(self, tokens: Tensor) -> Tensor:
        return self.head(self.norm(tokens.mean(1)))


class OpenEncoder(Encoder):
    """The same, with its blocks exposed as ``Network`` exposes its own."""

    @property
    def block_names(self) -> tuple[str, ...]:
        return tuple(f"layers.{i}" for i in range(len(self.layers)))

    @property
    def blocks(self) -> tuple[nn.Module, ...]:
        return tuple(self.layers)


@dataclass
class Pair:
    """A student in training mode and a teacher in evaluation mode, with batch statistics used."""

    student: nn.Module
    teacher: nn.Module
    student_blocks: tuple[str, ...] | None = None
    teacher_blocks: tuple[str, ...] | None = None

    @property
    def blocks(self) -> dict:
        return {"student_blocks": self.student_blocks, "teacher_blocks": self.teacher_blocks}


def pair(name: str) -> Pair:
    torch.manual_seed(0)
    made = {
        "resnet": lambda: Pair(build_model("resnet8", CLASSES), build_model("resnet14", CLASSES)),
        "vgg": lambda: Pair(
            build_model("resnet8x4", CLASSES),
            build_model("vgg8", CLASSES),
            None,
            ("block1", "block3", "block4"),
        ),
        "encoder": lambda: Pair(Encoder(8, 2), OpenEncoder(12, 3), *halves(2, 3)),
        "sequential": lambda: Pair(sequential(6), sequential(9), ("2", "5"), ("2", "5")),
    }[name]()
    with torch.no_grad():  # running statistics of their own, so that the mode matters
        for seed in range(3):
            made.teacher.train()(images(seed))
    made.teacher.eval()
    return made


def halves(*depths: int) -> tuple[tuple[str, ...], ...]:
    """Names of the first and the last layer of encoders of these depths."""
    return tuple((f"layers.{0}", f"layers.{depth - 1}") for depth in depths)


def sequential(width: int) -> nn.Sequential:
    first = nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()
    second = nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU()
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, CLASSES)
    return nn.Sequential(*first, *second, *head)


def images(seed: int = 9, count: int = 4) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


PAIRS = ("resnet", "vgg", "encoder", "sequential")
