"""Record in one of two ranks that nobody launched together: record_apart.py FOLDER RANK.

The ranks meet in a gloo group by a file, as those of a training do, and go through the cases one
after the other; in the last one of them is killed.
"""

import os
import signal
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.utils.data import DistributedSampler
from toy import network

from kdanalysis import (
    KD,
    Recorder,
    Store,
    every,
)

SAMPLES, BATCH, WORLD, KILLED = 13, 7, 2, 1
GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn(SAMPLES, 8, generator=GENERATOR)
LABELS = torch.randint(6, (SAMPLES,), generator=GENERATOR)


def record(path: Path, order: list[int], batch: int = BATCH, after=None, **options) -> None:
    """Record a frozen student over samples in the given order; call ``after(step, recorder)``."""
    sides = {"student": network(0).eval(), "teacher": network(1).eval()}
    options = {"schedule": every(1), "store": Store("float32")} | options
    with Recorder(path, KD(), **sides, **options) as recorder, torch.no_grad():
        for step, start in enumerate(range(0, len(order), batch)):
            index = torch.tensor(order[start : start + batch])
            for side in sides.values():
                side(IMAGES[index])
            recorder.observe(LABELS[index], sample_id=index)
            if after is not None:
                after(step, recorder)


def padded(rank: int) -> list[int]:
    """Return a rank's samples: 13 over 2 ranks, so that one of them comes twice."""
    return list(DistributedSampler(range(SAMPLES), WORLD, rank, shuffle=False))


def die(acknowledged: Path, rank: int):
    """Return what flushes after every second step, says so, and kills a rank in step 5."""

    def after(step: int, recorder: Recorder) -> None:
        if rank == KILLED and step == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        if step % 2:
            recorder.flush()
            acknowledged.write_text(str(step))

    return after


def main(folder: Path, rank: int) -> None:
    """Go through the cases."""
    store = dist.FileStore(str(folder / "meeting"), WORLD)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=WORLD)
    record(folder / "padded", 2 * padded(rank))
    for empty in range(WORLD):
        record(folder / f"empty-{empty}", [] if rank == empty else list(range(SAMPLES)))
    dist.barrier()  # the last time that they need each other
    order = 12 * list(range(rank, SAMPLES - 1, WORLD))
    record(folder / "killed", order, 6, die(folder / f"acknowledged-{rank}", rank))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
