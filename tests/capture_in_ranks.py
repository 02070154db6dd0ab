"""Train and record in the ranks of one ``torchrun``, every case into a folder of its name.

    torchrun --nproc-per-node 2 capture_in_ranks.py FOLDER

Beside the run, ``RANK.pt`` gets what a case left in a rank: the weights, the number of reductions
that were asked for from Python, and the sentence of an error.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import distributed, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from kdanalysis import (
    GDKD,
    SDD,
    CrossEntropy,
    Layers,
    Recorder,
    Store,
    Sum,
    every,
    open_run,
)
from kdanalysis.losses import Loss

PLAIN = Sum(CrossEntropy(), GDKD(k=2, weights=(1, 2, 8)))
REGIONAL = Sum(CrossEntropy(), SDD(GDKD(k=2), scales=(1, 2)))
LAYERS = ("logits", "first", "body.*", "head")
SAMPLES = 10


class Network(nn.Module):
    """A convolutional classifier without statistics of a batch."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Sequential(nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.ReLU())
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(12, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.body(self.first(x))).flatten(1))


def plain(model: nn.Module) -> nn.Module:
    return model


def static(model: nn.Module) -> nn.Module:
    return DistributedDataParallel(model, static_graph=True)


def shard(model: nn.Module) -> nn.Module:
    fully_shard(model.body)
    return fully_shard(model)


def shard_head(model: nn.Module) -> nn.Module:
    fully_shard(model.head)
    return fully_shard(model)


@dataclass
class Case:
    """How to train: ``cuts`` are the ranks' shares of a batch, ``spoil`` a step with a NaN."""

    wrap: Callable[[nn.Module], nn.Module] = plain
    loss: Loss = PLAIN
    layers: tuple[str, ...] = ()
    steps: int = 5
    cuts: tuple[int, ...] = (0, 5, SAMPLES)
    records: bool = True
    spoil: int | None = None
    give_inner: bool = False


DDP = DistributedDataParallel
CASES = {
    "bare": Case(DDP, records=False),
    "logits": Case(DDP),
    "layers": Case(DDP, layers=LAYERS),
    "unused": Case(lambda model: DDP(model, find_unused_parameters=True), layers=LAYERS),
    "inner": Case(DDP, layers=LAYERS, give_inner=True),
    "static": Case(static, layers=LAYERS),
    "static-inner": Case(static, layers=LAYERS, give_inner=True),
    "heads": Case(DDP, layers=("head",)),
    "uneven": Case(DDP, layers=LAYERS, steps=1, cuts=(0, 7, SAMPLES)),
    "single": Case(DDP, layers=LAYERS, steps=1, cuts=(0, 9, SAMPLES)),
    "empty": Case(DDP, layers=LAYERS, steps=1, cuts=(0, 0, SAMPLES)),
    "spoilt": Case(DDP, layers=LAYERS, spoil=2),
    "regions": Case(DDP, REGIONAL, LAYERS),
    "sharded": Case(shard, layers=("logits",)),
    "sharded-regions": Case(shard, REGIONAL),
    "sharded-head": Case(shard_head, REGIONAL),
    "sharded-layers": Case(shard, layers=LAYERS),
}


def batches(count: int):
    generator = torch.Generator().manual_seed(0)
    for number in range(count):
        x = torch.randn(SAMPLES, 3, 8, 8, generator=generator)
        y = torch.randint(6, (SAMPLES,), generator=generator)
        yield x, y, torch.arange(SAMPLES) + number * SAMPLES


def train(path: Path, case: Case, rank: int = 0, cuts: tuple[int, ...] | None = None) -> nn.Module:
    """Return the student, trained on this rank's share, a run of it at ``path``."""
    mine = slice(*(cuts or case.cuts)[rank : rank + 2])
    inner, teacher = Network(0), Network(1).requires_grad_(False)
    student = case.wrap(inner)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.5, momentum=0.9)
    recorder = None
    if case.records:
        sides = {"student": inner if case.give_inner else student, "teacher": teacher}
        keep = Layers(*case.layers) if case.layers else ()
        options = {"keep": keep, "schedule": every(2), "store": Store("float32")}
        recorder = Recorder(path, case.loss, **sides, **options)
    for step, (x, y, ids) in enumerate(batches(case.steps)):
        taught, learned = teacher(x[mine]), student(x[mine])
        if recorder is not None and step == case.spoil:
            given = taught * (torch.nan if rank == 1 else 1.0)
            recorder.observe(y[mine], ids[mine], teacher=given)
            loss = sum(case.loss(learned, taught, y[mine]).values()).mean()
        elif recorder is not None and case.cuts[1] == 0:
            recorder.observe(y[mine], ids[mine])
            loss = sum(case.loss(learned, taught, y[mine]).values()).sum()
        elif recorder is not None:
            loss = recorder.loss(y[mine], ids[mine])
        else:
            loss = sum(case.loss(learned, taught, y[mine]).values()).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    if recorder is not None:
        recorder.close()
    return student


def whole(parameter: torch.Tensor) -> torch.Tensor:
    parameter = parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter
    return parameter.detach().clone()


def main(folder: Path) -> None:
    distributed.init_process_group("gloo")
    rank, reduce, calls = distributed.get_rank(), distributed.all_reduce, []

    def counted(*arguments: object, **options: object) -> object:
        calls.append(arguments)
        return reduce(*arguments, **options)

    distributed.all_reduce = counted
    for name, case in CASES.items():
        calls.clear()
        left = {}
        try:
            student = train(folder / name, case, rank)
            left["weights"] = [whole(p) for p in student.parameters()]
        except (ValueError, RuntimeError) as error:
            left["error"] = str(error)
        left["reductions"] = len(calls)
        torch.save(left, folder / f"{name}-{rank}.pt")
        distributed.barrier()
    if rank == 0:  # the other is not asked
        open_run(folder / "logits").table("magnitude").to_pickle(folder / "magnitude.pickle")
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
