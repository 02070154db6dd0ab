"""Training in the ranks of ``torchrun``: one network in all of them, a share of every batch each.

Batches are those of one process: of every batch each rank takes as many images, the last batch of
an epoch being filled up with the first images. Batch normalisation uses the statistics of a rank's
own share, and keeps the running ones of rank 0, as DDP does by itself.
"""

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from kdanalysis.core.ranks import RANKS


def images_a_rank(batch_size: int) -> int:
    """Return how many images of a batch this rank trains on.

    Raises:
        ValueError: the ranks cannot share the batch equally, or get one image each.
    """
    share, rest = divmod(batch_size, RANKS.world)
    if rest or (share < 2 and RANKS.world > 1):
        raise ValueError(
            f"a batch size of {batch_size} cannot be shared by {RANKS.world} processes: it must be "
            f"a multiple of their number, at least twice that, for each trains on a part of a batch"
        )
    return share


def in_all_ranks(model: nn.Module, device: torch.device) -> nn.Module:
    """Return the model as the ranks train it together: under DDP, if there are several."""
    if RANKS.world == 1:
        return model
    return DistributedDataParallel(model, [device] if device.type == "cuda" else None)


def share_buffers(model: nn.Module) -> None:
    """Give every rank the running statistics of rank 0, for a prediction they share."""
    if RANKS.world > 1:
        for buffer in model.buffers():
            distributed.broadcast(buffer, 0)
