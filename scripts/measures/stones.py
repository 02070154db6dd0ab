"""A training step with stepping stones against the plain step, in time and in memory."""

from collections.abc import Callable

import torch
from torch import Tensor

import kdanalysis as kd
from kdanalysis.networks.zoo import build_model
from measures.timing import alternate, seconds

BATCH, CLASSES = 64, 100
PAIRS = {"resnet8_resnet20": ("resnet8", "resnet20"), "resnet20_resnet56": ("resnet20", "resnet56")}
LADDERS = {"all": {}, "light": {"light": True}, "one": {"stones": (3,)}, "whole": {"fast": False}}


def stones(device: torch.device, repetitions: int) -> dict[str, dict]:
    """Steps at batch 64, 32x32 pixels, with all stones, the deeper ones, the last, and none.

    ``whole`` runs all of the teacher for every stone. ``allowed`` is 1 plus the share of the
    teacher's time that lies behind the block of each stone, and 10 % more; ``saved_over_plain``
    compares the bytes that the graph holds for the backward pass.
    """
    results = {}
    for name, pair in PAIRS.items():
        for kind, options in LADDERS.items():
            plain, ours = Plain(pair, device), WithStones(pair, device, options)
            times = alternate(ours, plain, device, repetitions)
            share = remaining(ours.ladder, ours.x, device, repetitions)
            results[f"{name}_{kind}"] = times | {
                "allowed": 1.1 * (1 + sum(share[number - 1] for number in ours.ladder.numbers)),
                "fast": ours.ladder.fast,
                "saved_over_plain": saved_bytes(ours.forward) / saved_bytes(plain.forward),
            }
    return results


class Plain:
    """The plain step: teacher, student, cross-entropy and KD, backward, optimizer."""

    def __init__(self, pair: tuple[str, str], device: torch.device) -> None:
        torch.manual_seed(0)
        student, teacher = (build_model(name, CLASSES).to(device) for name in pair)
        self.student, self.teacher = student, teacher.eval().requires_grad_(False)
        self.x = torch.randn(BATCH, 3, 32, 32, device=device)
        self.y = torch.randint(CLASSES, (BATCH,), device=device)
        self.loss = kd.Sum(kd.CrossEntropy(), kd.KD())
        self.trained = self.student
        self.optimizer = torch.optim.SGD(self.trained.parameters(), lr=0.01, momentum=0.9)

    def forward(self) -> Tensor:
        """Return the loss of a step."""
        with torch.no_grad():
            taught = self.teacher(self.x)
        return sum(self.loss(self.student(self.x), taught, self.y).values()).mean()

    def __call__(self) -> None:
        """Run one step."""
        self.forward().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


class WithStones(Plain):
    """The same with a ladder."""

    def __init__(self, pair: tuple[str, str], device: torch.device, options: dict) -> None:
        super().__init__(pair, device)
        self.ladder = kd.Ladder(self.student, self.teacher, self.x[:2], **options).to(device)
        self.loss = kd.Blockwise(kd.KD(), self.ladder.blocks, self.ladder.numbers)
        self.optimizer = torch.optim.SGD(self.ladder.parameters(), lr=0.01, momentum=0.9)

    def forward(self) -> Tensor:
        """Return the loss of a step."""
        return sum(self.loss(*self.ladder(self.x), self.y).values()).mean()


@torch.no_grad()
def remaining(ladder: kd.Ladder, x: Tensor, device: torch.device, repetitions: int) -> list[float]:
    """Return which share of the teacher's time lies behind each of its blocks."""
    teacher = ladder.teacher
    features = ladder.features(x)[1]
    whole = min(seconds(lambda: teacher(x), device) for _ in range(repetitions + 2))
    tails = []
    for place, feature in enumerate(features):

        def tail(values: Tensor = feature, blocks: tuple = teacher.blocks[place + 1 :]) -> None:
            for block in blocks:
                values = block(values)
            teacher.classify(values)

        tails.append(min(seconds(tail, device) for _ in range(repetitions + 2)))
    return [tail / whole for tail in tails]


def saved_bytes(forward: Callable[[], Tensor]) -> int:
    """Return the bytes of all that the graph of a forward pass saves, each storage once."""
    held = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = forward()
    total = sum(held.values())
    del value
    return total
