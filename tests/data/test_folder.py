"""Class folders: found at every layout, split by seed, and refused in one sentence."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kdanalysis.data.folder import load_folder


def save(path: Path, level: int, size: tuple[int, int] = (10, 8)) -> None:
    """An image of one grey level, which tells it from the others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).save(path)


def fill(root: Path, classes: str = "ab", count: int = 10, base: int = 0) -> None:
    for c, name in enumerate(classes):
        for i in range(count):
            save(root / name / f"{i}.png", base + 20 * c + i)


def levels(images) -> list[int]:
    return images.pixels[:, 0, 0, 0].tolist()


def test_a_folder_without_levels_is_split_by_seed(tmp_path):
    fill(tmp_path)
    splits = load_folder(tmp_path)
    assert splits.classes == ["a", "b"]
    assert splits.name == tmp_path.name
    assert (len(splits.train), len(splits.valid)) == (16, 4)
    assert sorted(levels(splits.train) + levels(splits.valid)) == [*range(10), *range(20, 30)]
    assert [level // 20 for level in levels(splits.train)] == splits.train.labels.tolist()
    assert splits.valid.labels.tolist() == [0, 0, 1, 1]
    assert levels(load_folder(tmp_path).valid) == levels(splits.valid)
    assert levels(load_folder(tmp_path, seed=1).valid) != levels(splits.valid)
    assert splits.train.mirror


@pytest.mark.parametrize("name", ["valid", "val", "validation", "test"])
def test_levels_are_kept_apart(tmp_path, name):
    fill(tmp_path / "train", count=3)
    fill(tmp_path / name, "b", count=2, base=100)
    splits = load_folder(tmp_path)
    assert levels(splits.train) == [0, 1, 2, 20, 21, 22]
    assert levels(splits.valid) == [100, 101]
    assert splits.valid.labels.tolist() == [1, 1]


def test_a_train_level_alone_is_split(tmp_path):
    fill(tmp_path / "train")
    assert len(load_folder(tmp_path).valid) == 4


def test_images_lie_deeper_and_other_files_are_passed_over(tmp_path):
    fill(tmp_path)
    save(tmp_path / "a" / "images" / "deep.JPEG", 200)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "a" / ".hidden.png").write_text("no image")
    (tmp_path / ".cache").mkdir()
    splits = load_folder(tmp_path)
    assert len(splits.train) + len(splits.valid) == 21
    assert 200 in levels(splits.train) + levels(splits.valid)


def test_a_limit_keeps_the_classes_even(tmp_path):
    fill(tmp_path)
    splits = load_folder(tmp_path, limit=8)
    assert np.bincount(splits.train.labels).tolist() == [4, 4]
    assert len(splits.valid) == 2


def test_image_size_brings_other_sizes_to_one(tmp_path):
    fill(tmp_path)
    save(tmp_path / "b" / "large.png", 250, (30, 40))
    with pytest.raises(ValueError, match=r"large.png is 30x40 pixels but .*image_size=32"):
        load_folder(tmp_path)
    assert load_folder(tmp_path, image_size=12).train.image_shape == (3, 12, 12)


def test_without_an_image_size_images_keep_theirs(tmp_path):
    fill(tmp_path)
    assert load_folder(tmp_path).train.image_shape == (3, 8, 10)


def test_an_unreadable_image_is_named(tmp_path):
    fill(tmp_path)
    (tmp_path / "b" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(ValueError, match=r"b.broken\.png cannot be read as an image"):
        load_folder(tmp_path)


def test_a_set_left_encoded_gives_equal_batches(tmp_path, monkeypatch):
    fill(tmp_path)
    held = load_folder(tmp_path)
    monkeypatch.setattr("kdanalysis.data.encoded.BYTES_HELD", 0)
    lazy = load_folder(tmp_path)
    assert not isinstance(lazy.train.pixels, torch.Tensor)
    settings = {"shuffle": True, "augment": True, "seed": 4}
    for a, b in zip(
        held.train.batches(5, **settings), lazy.train.batches(5, **settings), strict=True
    ):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert torch.equal(lazy.train[3][0], held.train[3][0])


def test_no_folders_are_refused(tmp_path):
    save(tmp_path / "lonely.png", 3)
    with pytest.raises(ValueError, match="holds no images in class folders"):
        load_folder(tmp_path)


def test_one_class_is_refused(tmp_path):
    fill(tmp_path, "a")
    with pytest.raises(ValueError, match="has the one class 'a', but two are needed"):
        load_folder(tmp_path)


def test_an_empty_class_is_refused(tmp_path):
    fill(tmp_path)
    (tmp_path / "c").mkdir()
    with pytest.raises(ValueError, match=r"the class folder .*c holds no images"):
        load_folder(tmp_path)


def test_a_validation_class_that_training_lacks_is_refused(tmp_path):
    fill(tmp_path / "train")
    fill(tmp_path / "val", "abz")
    with pytest.raises(ValueError, match=r"val has the class 'z', which the training images lack"):
        load_folder(tmp_path)
