"""A labelled set of images and its deterministic batches."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from kdanalysis.data.encoded import Encoded
from kdanalysis.data.pixels import crop_and_flip

Pixels = UInt8[Tensor, "_ 3 _ _"] | Encoded
Batch = tuple[Float[Tensor, "b 3 h w"], Int[Tensor, " b"], Int[Tensor, " b"]]


class Images(Dataset):
    """Bytes and labels; ``images[i] -> (uint8 (3, h, w), label, sample_id)``, sample_id = i.

    Args:
        pixels: all images as one tensor, or encoded ones that are decoded batch by batch.
        labels: class of each image.
        mean: per channel, on the scale 0 to 1; taken off every batch.
        std: per channel, on the scale 0 to 1; divides every batch.
        mirror: whether augmentation may mirror, that is, whether a mirrored image keeps its class.
    """

    def __init__(
        self,
        pixels: Pixels,
        labels: Int[np.ndarray, " n"],
        mean: Float[Tensor, "3"],
        std: Float[Tensor, "3"],
        mirror: bool,
    ) -> None:
        if len(pixels) != len(labels):
            raise ValueError(f"{len(pixels)} images need as many labels, got {len(labels)}")
        self.pixels, self.labels, self.mirror = pixels, labels.astype(np.int64), mirror
        self.mean, self.std = mean, std

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[UInt8[Tensor, "3 h w"], int, int]:
        """Return one image as it is stored, its class and its id."""
        sample_id = range(len(self))[index]
        return self.pixels[torch.tensor([sample_id])][0], int(self.labels[sample_id]), sample_id

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels (3), height and width of every image."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    def normalise(self, pixels: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """Return ``(pixels / 255 - mean) / std``."""
        mean, std = (255 * value.view(3, 1, 1) for value in (self.mean, self.std))
        return pixels.float().sub_(mean).div_(std)

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        epoch: int = 0,
        augment: bool = False,
        crops: bool = True,
        shard: tuple[int, int] = (0, 1),
    ) -> Iterator[Batch]:
        """Iterate over ``(normalised images, labels, sample ids)``; the last batch may be smaller.

        Order and augmentation depend on seed and epoch alone: not on torch's global generator, and
        the augmentation of a sample not on the batch size or the shard. Augmentation moves the
        image by up to an eighth of its side (4 of 32 pixels) and mirrors it where ``mirror`` holds.

        Args:
            batch_size: images in a batch, of this shard.
            shuffle: draw a new order for each epoch, else go by sample id.
            seed: of the run, not negative.
            epoch: not negative.
            augment: crop and mirror at random.
            crops: whether augmentation crops; if not, it mirrors alone.
            shard: (rank, world size); all shards are equally long, the first samples of the order
                come twice where the division leaves a rest (their sample ids tell).

        Raises:
            ValueError: batch size, seed, epoch or shard out of range.
        """
        rank, world = shard
        if batch_size < 1 or min(seed, epoch) < 0 or not 0 <= rank < world:
            raise ValueError(
                "batches need batch_size >= 1, seed and epoch >= 0 and 0 <= rank < world size, got "
                f"batch_size={batch_size}, seed={seed}, epoch={epoch}, shard={shard}"
            )
        order, shifts, flips = self._draw(seed, epoch, shuffle)
        length = -(-len(self) // world)
        mine = order[torch.arange(rank, length * world, world) % len(self)]
        shifts = shifts if crops else torch.zeros_like(shifts)
        return self._iterate(mine.split(batch_size), (shifts, flips) if augment else None)

    def mirrored(self, seed: int, epoch: int) -> Bool[Tensor, " n"]:
        """Return which images a shuffled and augmented epoch mirrors, by sample id."""
        return self._draw(seed, epoch, shuffle=True)[2]

    def _draw(self, seed: int, epoch: int, shuffle: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return an epoch's order, and by sample id how it shifts images and which it mirrors."""
        state = np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)
        count, generator = len(self), torch.Generator().manual_seed(int(state[0]))
        order = torch.randperm(count, generator=generator) if shuffle else torch.arange(count)
        reach = torch.tensor([round(side / 8) for side in self.image_shape[1:]])
        draws = torch.rand(count, 3, generator=generator)  # rows, columns, mirror; by sample id
        shifts = (draws[:, :2] * (2 * reach + 1)).long() - reach
        return order, shifts, (draws[:, 2] < 0.5) & self.mirror

    def _iterate(
        self, batches: Sequence[Tensor], augmentation: tuple[Tensor, Tensor] | None
    ) -> Iterator[Batch]:
        for ids in batches:
            pixels = self.pixels[ids]
            if augmentation is not None:
                pixels = crop_and_flip(pixels, *(drawn[ids] for drawn in augmentation))
            yield self.normalise(pixels), torch.from_numpy(self.labels[ids.numpy()]), ids
