"""Train models whose logits are never made, sharded over the ranks of one ``torchrun``.

    torchrun --nproc-per-node 2 projected_in_ranks.py FOLDER

Every way of ``WAYS`` writes a run of its name, and beside it ``NAME-RANK.pt``: the whole weights
after the training, and by which sentences a rank's part of the head was refused.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.functional import linear

import kdanalysis as kd

CLASSES, ROWS, STEPS = 40, 12, 2
LOSS = kd.Sum(kd.CrossEntropy(), kd.GDKD(k=3, temperature=2.0))


class Language(nn.Module):
    """A body and a head, of which the loss is made inside, a few rows of logits at a time."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body, self.head = nn.Sequential(nn.Linear(6, 8), nn.Tanh()), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor, taught: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.body(x)
        parts = [
            sum(LOSS(linear(h, self.head.weight, self.head.bias), t, y).values())
            for h, t, y in zip(hidden.split(4), taught.split(4), target.split(4), strict=True)
        ]
        return hidden, torch.cat(parts).mean()


class Way:
    """How a model is wrapped, and how its head is gathered; here it is whole."""

    def wrap(self, model: Language) -> nn.Module:
        return model

    @contextmanager
    def gathered(self, model: nn.Module, inner: Language) -> Iterator[tuple[Tensor, Tensor]]:
        yield inner.head.weight, inner.head.bias


class FullTensor(Way):
    def wrap(self, model: Language) -> nn.Module:
        fully_shard(model.body)
        return fully_shard(model, reshard_after_forward=True)

    @contextmanager
    def gathered(self, model, inner):
        yield inner.head.weight.full_tensor(), inner.head.bias.full_tensor()


class Unsharded(FullTensor):
    @contextmanager
    def gathered(self, model, inner):
        model.unshard()
        yield inner.head.weight, inner.head.bias
        model.reshard()


class Summoned(Way):
    def __init__(self, original: bool) -> None:
        self.original = original

    def wrap(self, model: Language) -> nn.Module:
        cpu = torch.device("cpu")
        return FullyShardedDataParallel(model, device_id=cpu, use_orig_params=self.original)

    @contextmanager
    def gathered(self, model, inner):
        with FullyShardedDataParallel.summon_full_params(model, writeback=False):
            yield inner.head.weight, inner.head.bias


plain = Way()
WAYS = {
    "full_tensor": FullTensor(),
    "unshard": Unsharded(),
    "summon": Summoned(False),
    "summon-original": Summoned(True),
}


def train(
    path: Path,
    way: Way,
    mine: slice = slice(None),
    part: Callable[[str, nn.Module], None] | None = None,
) -> list[Tensor]:
    """Return the whole weights, trained on some rows of every batch; a run of it at ``path``.

    Args:
        path: of the run.
        way: to shard and to gather.
        mine: the rows of this rank.
        part: is called before and after every step, with which of both and the model's head.
    """
    inner, teacher = Language(0), Language(1).requires_grad_(False)
    model = way.wrap(inner)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    options = {"schedule": kd.every(1), "store": kd.Store("float32")}
    with kd.Recorder(path, LOSS, **options) as recorder:
        for step in range(STEPS):
            generator = torch.Generator().manual_seed(step)
            x = torch.randn(ROWS, 6, generator=generator)[mine]
            target = torch.randint(CLASSES, (ROWS,), generator=generator)[mine]
            ids = torch.arange(step * ROWS, (step + 1) * ROWS)[mine]
            known = teacher.body(x)
            if part is not None:
                part("before", inner.head)
            hidden, loss = model(x, teacher.head(known), target)
            taught = kd.Projected(known, teacher.head.weight, teacher.head.bias)
            with way.gathered(model, inner) as head:
                recorder.observe(target, ids, student=kd.Projected(hidden, *head), teacher=taught)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if part is not None:
                part("after", inner.head)
    with way.gathered(model, inner) as head:
        return [one.detach().clone() for one in head]


def main(folder: Path) -> None:
    distributed.init_process_group("gloo")
    rank, half = distributed.get_rank(), ROWS // 2
    for name, way in WAYS.items():
        refused = {}

        def part(when: str, head: nn.Module, refused: dict = refused) -> None:
            try:
                kd.Projected(torch.zeros(2, 8), head.weight, head.bias)
            except ValueError as error:
                refused.setdefault(when, []).append(str(error))

        weights = train(folder / name, way, slice(rank * half, (rank + 1) * half), part)
        torch.save({"weights": weights, "refused": refused}, folder / f"{name}-{rank}.pt")
        distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
