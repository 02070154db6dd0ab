"""Where this process stands among those of a distributed training."""

import os

import torch.distributed as dist


def place() -> tuple[int, int]:
    """Return the rank of this process and the number of processes.

    They are those of torch.distributed where it runs, since not every launcher sets the variables
    RANK and WORLD_SIZE as torchrun does; else those of the variables, else 0 and 1.
    """
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
