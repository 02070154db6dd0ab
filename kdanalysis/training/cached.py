"""A frozen teacher's logits, computed once for every image and its mirror image."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, Shaped
from torch import Tensor, nn

from kdanalysis.core.ranks import RANKS
from kdanalysis.core.regions import region_logits
from kdanalysis.data import Images
from kdanalysis.networks.zoo import Network
from kdanalysis.training.predict import predict, predict_pooled, save_logits

SOME = 256  # images of a set too large to hold whose pixels make its key


class CachedTeacher:
    """What a teacher says of the training images, in place of running it on every batch.

    Args:
        teacher: frozen, in evaluation mode, on ``device``.
        images: of the training.
        device: where the teacher is, and where the logits go.
        folder: where they are kept; the file's name holds the hash of weights, images and scales.
        scales: of regions, whose logits (c, r) are kept then; () for the logits (c,) alone.
        seed: of the training's order and augmentation.
        augment: whether the training mirrors images.
    """

    def __init__(
        self,
        teacher: Network,
        images: Images,
        device: torch.device,
        folder: Path,
        scales: Sequence[int],
        seed: int,
        augment: bool,
    ) -> None:
        self.images, self.seed, self.device, self._epoch = images, seed, device, -1
        self.mirrors = augment and images.mirror
        views = [View(teacher, mirror, scales) for mirror in (False, True)[: 1 + self.mirrors]]
        self.logits = kept_once(
            folder / f"{_key(teacher, images, scales, self.mirrors)}.npz",
            lambda: {"teacher_logits": np.stack([predict(v, images, device) for v in views])},
        )["teacher_logits"]

    def __call__(self, ids: Int[Tensor, " n"], epoch: int) -> Float[Tensor, "n c *r"]:
        """Return the logits of these images as a shuffled epoch of the training shows them."""
        if epoch != self._epoch:
            self._epoch, self._flips = epoch, self.images.mirrored(self.seed, epoch)
        view = self._flips[ids].long() if self.mirrors else torch.zeros_like(ids)
        return torch.from_numpy(self.logits[view.numpy(), ids.numpy()]).to(self.device)


def said_once(
    teacher: Network, images: Images, device: torch.device, folder: Path
) -> tuple[Float32[np.ndarray, "n c"], Shaped[np.ndarray, "n d"]]:
    """Return what :func:`predict_pooled` does, computed once and kept in a folder."""
    names = "teacher_logits", "teacher_features"
    found = kept_once(
        folder / f"{_key(teacher, images, names, False)}.npz",
        lambda: dict(zip(names, predict_pooled(teacher, images, device), strict=True)),
    )
    return found["teacher_logits"], found["teacher_features"]


def kept_once(
    path: Path, make: Callable[[], dict[str, np.ndarray]]
) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Return the arrays of a file; where it is not there they are made and written."""
    RANKS.agree(f"{path.name}{' is there' if path.is_file() else ''}")
    if path.is_file():
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    made = make()
    save_logits(path, **made)
    return made


class View(nn.Module):
    """A network that mirrors its images first, or gives the logits of regions."""

    def __init__(self, network: Network, mirror: bool, scales: Sequence[int]) -> None:
        super().__init__()
        self.network, self.mirror, self.scales = network, mirror, scales

    def forward(self, images: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n c *r"]:
        """Return logits, or region logits as ``region_logits`` makes them."""
        images = images.flip(-1) if self.mirror else images
        if not self.scales:
            return self.network(images)
        features = self.network.forward_features(images)
        return region_logits(features, self.network.head, None, self.scales)


def _key(teacher: nn.Module, images: Images, what: Sequence[int | str], mirrors: bool) -> str:
    """Hash what is kept and follows from weights, pixels, normalisation: scales, or names."""
    known = sha256(repr((len(images), images.image_shape, tuple(what), mirrors)).encode())
    whole = isinstance(images.pixels, Tensor)
    count = len(images) if whole else min(SOME, len(images))
    some = torch.linspace(0, len(images) - 1, count, dtype=torch.float64).round().long()
    state = dict(teacher.named_parameters()) | dict(teacher.named_buffers())
    for values in (images.pixels[some], images.mean, images.std, *state.values()):
        known.update(values.detach().cpu().contiguous().numpy().tobytes())
    known.update(repr([type(teacher).__name__, *state]).encode())
    return known.hexdigest()[:32]
