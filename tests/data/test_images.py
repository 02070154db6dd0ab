"""Batches are deterministic, complete, normalised, and augmented as torch's own functions would."""

import functools
import operator

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kdanalysis.data.images import Images
from kdanalysis.data.pixels import crop_and_flip

MEAN, STD = torch.tensor([0.5, 0.25, 0.75]), torch.tensor([0.5, 0.125, 0.25])


def pixels(count: int = 10, height: int = 16, width: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator).to(torch.uint8)


def images(count: int = 10, mirror: bool = True) -> Images:
    return Images(pixels(count), np.arange(count) % 3, MEAN, STD, mirror)


def epoch_of(images: Images, batch_size: int = 4, **settings) -> list[torch.Tensor]:
    """All batches of an epoch in one: images, labels, sample ids."""
    return [torch.cat(part) for part in zip(*images.batches(batch_size, **settings), strict=True)]


def by_id(images: Images, **settings) -> dict[int, torch.Tensor]:
    x, _, ids = epoch_of(images, **settings)
    return dict(zip(ids.tolist(), x, strict=True))


def test_an_item_is_bytes_label_and_id():
    item, label, sample_id = images()[7]
    assert torch.equal(item, pixels()[7])
    assert (label, sample_id) == (1, 7)
    assert images()[-1][1:] == (0, 9)
    with pytest.raises(IndexError):
        images()[10]


def test_batches_normalise_each_channel():
    x, y, ids = epoch_of(images())
    expected = np.empty(x.shape)
    for channel in range(3):
        scaled = pixels().numpy()[:, channel] / 255
        expected[:, channel] = (scaled - MEAN[channel].item()) / STD[channel].item()
    np.testing.assert_allclose(x.numpy(), expected, atol=1e-5)
    assert y.tolist() == [0, 1, 2] * 3 + [0]
    assert ids.tolist() == list(range(10))
    assert (x.dtype, y.dtype, ids.dtype) == (torch.float32, torch.int64, torch.int64)


def test_the_last_batch_holds_the_rest():
    assert [len(ids) for _, _, ids in images().batches(4)] == [4, 4, 2]


def test_an_epoch_shows_each_sample_once_with_its_own_label():
    _, y, ids = epoch_of(images(), shuffle=True, augment=True)
    assert sorted(ids.tolist()) == list(range(10))
    assert (y == ids % 3).all()


def test_order_and_augmentation_depend_on_seed_and_epoch_alone():
    settings = {"shuffle": True, "augment": True}
    first = epoch_of(images(), **settings, seed=1, epoch=2)
    torch.manual_seed(9)
    state = torch.get_rng_state()
    again = epoch_of(images(), **settings, seed=1, epoch=2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    for other in ({"seed": 1, "epoch": 3}, {"seed": 2, "epoch": 2}, {"seed": 2, "epoch": 1}):
        assert not torch.equal(first[2], epoch_of(images(), **settings, **other)[2])


def test_augmentation_of_a_sample_ignores_batch_size_and_shard():
    settings = {"shuffle": True, "augment": True, "seed": 3}
    whole = by_id(images(), **settings)
    part = by_id(images(), batch_size=3, shard=(1, 2), **settings)
    assert all(torch.equal(whole[i], x) for i, x in part.items())


def test_shards_are_equally_long_and_unite_to_the_epoch():
    shards = [
        epoch_of(images(), shuffle=True, seed=5, shard=(rank, 4))[2].tolist() for rank in range(4)
    ]
    assert [len(shard) for shard in shards] == [3] * 4
    everything = functools.reduce(operator.iadd, shards, [])
    assert set(everything) == set(range(10))
    assert len(everything) - len(set(everything)) == 2  # 12 places for 10 samples


def test_crops_and_flips_agree_with_padding_and_slicing():
    x = pixels(6, 8, 12)
    shift = torch.tensor([[0, 0], [-2, 3], [2, -3], [1, 1], [-1, 0], [0, -2]])
    flip = torch.tensor([False, False, False, True, True, False])

    result = crop_and_flip(x, shift, flip)

    padded = F.pad(x.float(), (3, 3, 2, 2), mode="reflect").to(torch.uint8)
    for i, (down, right) in enumerate(shift.tolist()):
        window = padded[i, :, 2 + down : 10 + down, 3 + right : 15 + right]
        assert torch.equal(result[i], window.flip(-1) if flip[i] else window)


def augmentations(images: Images, epochs: int = 60) -> list[tuple[int, int, bool]]:
    """Which shift and flip made each augmented image, found by trying all."""
    x = pixels()
    tries = {}
    for down in range(-3, 4):
        for right in range(-3, 4):
            for flip in (False, True):
                moved = crop_and_flip(
                    x, torch.tensor([[down, right]] * 10), torch.full((10,), flip)
                )
                tries[down, right, flip] = images.normalise(moved)
    found = []
    for epoch in range(epochs):
        batch = epoch_of(images, epoch=epoch, augment=True)[0]
        for i in range(len(batch)):
            found += [key for key, moved in tries.items() if torch.equal(moved[i], batch[i])]
    assert len(found) == 10 * epochs
    return found


def test_shifts_reach_an_eighth_of_the_side_and_flips_are_even():
    found = augmentations(images())
    assert {key[0] for key in found} == {key[1] for key in found} == {-2, -1, 0, 1, 2}
    assert np.mean([flip for _, _, flip in found]) == pytest.approx(0.5, abs=0.08)
    assert np.mean([down == -2 for down, _, _ in found]) == pytest.approx(0.2, abs=0.06)


def test_without_crops_images_are_mirrored_alone_as_the_epoch_says():
    mirrored = images().mirrored(seed=5, epoch=2)
    x, _, ids = epoch_of(images(), shuffle=True, seed=5, epoch=2, augment=True, crops=False)
    plain = images().normalise(pixels()[ids])
    turned = torch.where(mirrored[ids].view(-1, 1, 1, 1), plain.flip(-1), plain)
    assert torch.equal(x, turned)
    assert 0 < mirrored.sum() < len(mirrored)  # the control: both kinds are there


def test_images_that_must_not_be_mirrored_are_not():
    assert not any(flip for _, _, flip in augmentations(images(mirror=False)))


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 0},
        {"batch_size": 4, "seed": -1},
        {"batch_size": 4, "epoch": -1},
        {"batch_size": 4, "shard": (2, 2)},
    ],
)
def test_settings_out_of_range_are_refused_before_the_first_batch(settings):
    with pytest.raises(ValueError, match="batches need batch_size >= 1, seed and epoch >= 0"):
        images().batches(**settings)


def test_labels_must_match_the_images():
    with pytest.raises(ValueError, match="10 images need as many labels, got 9"):
        Images(pixels(), np.zeros(9, dtype=np.int64), MEAN, STD, True)
