"""Logits of networks over a set of images, and the features they are made of."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int64, Shaped
from torch import nn

from kdanalysis.core.ranks import RANKS
from kdanalysis.data.images import Images
from kdanalysis.networks.mode import evaluating
from kdanalysis.networks.zoo import Network
from kdanalysis.store.files import whole_file


@torch.inference_mode()
def predict(
    model: nn.Module, images: Images, device: torch.device, batch_size: int = 500
) -> Float32[np.ndarray, "n c *r"]:
    """Return the logits in evaluation mode, ordered by sample id; modes are restored after.

    Under ``torchrun`` each rank computes its share, and all of them get all logits.
    """
    layout = {"device": device, "memory_format": torch.channels_last}
    batches = images.batches(batch_size, shard=(RANKS.rank, RANKS.world))
    with evaluating(model):
        logits = torch.cat([model(x.to(**layout)).float().cpu() for x, _, _ in batches])
    return RANKS.gather(logits, len(images)).numpy()


def predict_pooled(
    model: Network, images: Images, device: torch.device
) -> tuple[Float32[np.ndarray, "n c"], Shaped[np.ndarray, "n d"]]:
    """Return the logits as :func:`predict` does, and the pooled features that the head saw.

    Features are float16, or float32 where one of them is beyond the largest float16.
    """
    seen: list[torch.Tensor] = []
    watch = lambda head, inputs: seen.append(inputs[0].float().cpu())  # noqa: E731
    hook = model.head.register_forward_pre_hook(watch)
    try:
        logits = predict(model, images, device)
    finally:
        hook.remove()
    features = RANKS.gather(torch.cat(seen), len(images)).numpy()
    fits = np.abs(features).max() <= np.finfo(np.float16).max
    return logits, features.astype(np.float16) if fits else features


def accuracy(logits: Float32[np.ndarray, "n c"], labels: Int64[np.ndarray, " n"]) -> float:
    """Share of samples whose largest logit is the label."""
    return float((logits.argmax(-1) == labels).mean())


def save_logits(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays as one .npz file, whole or not at all; of several ranks the first writes."""
    if not RANKS.first:
        return
    with whole_file(path) as file:
        np.savez(file, **arrays)
