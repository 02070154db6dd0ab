"""What the ranks say to each other: one object a rank, brought to all of them."""

import pickle
import time
import weakref
from typing import Any

import torch
from torch import Tensor, distributed

PATIENCE = 5.0  # seconds; a thread needs the interpreter's lock for less than a millisecond


def gather_objects(own: object) -> list[Any]:
    """Return what every rank hands in, by rank.

    Ends when gloo has let go of the tensors. Its threads drop them after the caller has what it
    waits for, and need the interpreter's lock for that: a thread that asks for the lock when the
    interpreter is shutting down would abort a process that has done its work. The group cannot be
    ended in time instead, for DDP keeps it alive.
    """
    said = torch.frombuffer(bytearray(pickle.dumps(own)), dtype=torch.uint8)
    sizes = _gather(torch.tensor([len(said)]))
    room = max(int(size) for size in sizes)
    texts = _gather(torch.nn.functional.pad(said, (0, room - len(said))))
    return [
        pickle.loads(bytes(text[: int(size)].tolist()))
        for text, size in zip(texts, sizes, strict=True)
    ]


def _gather(own: Tensor) -> list[Tensor]:
    lent = [own.clone(), *(torch.empty_like(own) for _ in range(distributed.get_world_size()))]
    distributed.all_gather(lent[1:], lent[0])
    copies = [tensor.clone() for tensor in lent[1:]]
    held = [weakref.ref(tensor) for tensor in lent]
    del lent
    end = time.monotonic() + PATIENCE
    while any(tensor() is not None for tensor in held) and time.monotonic() < end:
        time.sleep(1e-4)
    return copies
