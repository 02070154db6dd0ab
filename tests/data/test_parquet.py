"""Parquet image tables: every naming in use is read, and what is wrong is named."""

import json
import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kdanalysis.data.parquet import load_parquet

ROOT = Path(__file__).parents[2]
REAL = Path(os.environ.get("KDANALYSIS_DATA", ROOT.parent / "shared" / "data"))
REAL_SET = REAL / "tiny-imagenet-100-32px"


def png(level: int) -> bytes:
    stream = BytesIO()
    Image.new("L", (10, 8), level).save(stream, "PNG")
    return stream.getvalue()


def write(
    path: Path,
    levels,
    labels,
    image: str = "image",
    label: str = "label",
    names: list[str] | None = None,
    row_group_size: int = 3,
) -> None:
    cells = [{"bytes": png(level), "path": f"{level}.png"} for level in levels]
    table = pa.table({image: cells, label: pa.array(labels, pa.int64())})
    if names:
        feature = {label: {"names": names, "_type": "ClassLabel"}}
        meta = {"huggingface": json.dumps({"info": {"features": feature}})}
        table = table.replace_schema_metadata(meta)
    pq.write_table(table, path, row_group_size=row_group_size)


def levels(images) -> list[int]:
    return images.pixels[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("valid", ["valid", "validation", "val", "test"])
def test_shards_are_read_in_order_with_their_class_names(tmp_path, valid):
    write(tmp_path / "train-00000-of-00002.parquet", range(7), [0, 1] * 3 + [0], names=["x", "y"])
    write(tmp_path / "train-00001-of-00002.parquet", range(7, 10), [1, 0, 1], names=["x", "y"])
    write(tmp_path / f"{valid}-00000-of-00001.parquet", [90, 91], [1, 0], names=["x", "y"])
    splits = load_parquet(tmp_path)
    assert splits.classes == ["x", "y"]
    assert levels(splits.train) == list(range(10))
    assert splits.train.labels.tolist() == [0, 1] * 5
    assert (levels(splits.valid), splits.valid.labels.tolist()) == ([90, 91], [1, 0])
    assert splits.train.image_shape == (3, 8, 10)
    assert splits.train.mirror


@pytest.mark.parametrize(("image", "label"), [("img", "labels"), ("image", "fine_label")])
def test_one_file_is_split_and_unnamed_classes_are_numbered(tmp_path, image, label):
    write(tmp_path / "set.parquet", range(20), [i % 3 for i in range(20)], image, label)
    splits = load_parquet(tmp_path / "set.parquet", image_size=16)
    assert (splits.name, splits.classes) == ("set", ["0", "1", "2"])
    assert (len(splits.train), len(splits.valid)) == (16, 4)
    assert sorted(levels(splits.train) + levels(splits.valid)) == list(range(20))
    for part in (splits.train, splits.valid):
        assert part.labels.tolist() == [level % 3 for level in levels(part)]
    assert splits.train.image_shape == (3, 16, 16)


def test_training_files_alone_are_split(tmp_path):
    write(tmp_path / "train.parquet", range(20), [0, 1] * 10)
    assert len(load_parquet(tmp_path).valid) == 4


def test_a_limit_keeps_images_with_their_labels(tmp_path):
    for shard in range(2):
        here = range(10 * shard, 10 * shard + 10)
        write(tmp_path / f"train-{shard}.parquet", here, [i % 2 for i in here])
    write(tmp_path / "valid-0.parquet", range(100, 120), [0, 1] * 10)
    splits = load_parquet(tmp_path, limit=8)
    assert np.bincount(splits.train.labels).tolist() == [4, 4]
    assert [level % 2 for level in levels(splits.train)] == splits.train.labels.tolist()
    assert len(splits.valid) == 2


@pytest.mark.parametrize(
    ("levels", "labels", "names", "message"),
    [
        ([1, 2], [0, 5], ["x", "y"], "has the label 5 on image 1, but the labels of 2 classes"),
        ([1, 2, 3], [0, -1, 1], None, "has the label -1 on image 1"),
        ([1, 2], [0, 2**40], None, "has the label 1099511627776, and there are 2 images"),
        ([1, 2], [0, None], None, r"train-0\.parquet needs a whole number in every row"),
        ([1, 2], [0, 0], None, "has 1 class, but a classifier needs at least two"),
        ([], [], None, r"train-0\.parquet holds no images"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, levels, labels, names, message):
    write(tmp_path / "train-0.parquet", levels, labels, names=names)
    write(tmp_path / "valid-0.parquet", [1, 2], [0, 0], names=names)
    with pytest.raises(ValueError, match=message):
        load_parquet(tmp_path)


def test_text_labels_are_refused(tmp_path):
    cells = [{"bytes": png(1), "path": None}]
    pq.write_table(pa.table({"image": cells, "label": ["cat"]}), tmp_path / "train-0.parquet")
    with pytest.raises(ValueError, match="whole number in every row of its column 'label'"):
        load_parquet(tmp_path)


def test_missing_columns_are_named(tmp_path):
    pq.write_table(pa.table({"picture": [b"x"], "label": [0]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="columns picture, label, but none is named image or img"):
        load_parquet(tmp_path / "a.parquet")


def test_images_of_another_type_are_refused(tmp_path):
    table = pa.table({"image": ["a.png", "b.png"], "label": [0, 1]})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"type string in its column 'image'.* field 'bytes'"):
        load_parquet(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ({"bytes": None, "path": "b.png"}, r"row 1 of .*a\.parquet holds no image bytes"),
        (None, r"row 1 of .*a\.parquet holds no image bytes"),
        ({"bytes": b"junk", "path": "b.png"}, r"row 1 of .*a\.parquet cannot be read as an image"),
    ],
)
def test_a_row_without_an_image_is_named(tmp_path, cell, message):
    cells = [{"bytes": png(1), "path": "a.png"}, cell]
    pq.write_table(pa.table({"image": cells, "label": [0, 1]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=message):
        load_parquet(tmp_path / "a.parquet")


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "train-0.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"train-0\.parquet cannot be read as Parquet"):
        load_parquet(tmp_path)


def test_images_that_a_damaged_page_hides_are_missed(tmp_path):
    path = tmp_path / "train-0.parquet"
    write(path, [1, 1], [0, 1], row_group_size=2)  # one page: its dictionary ends with the image
    data = path.read_bytes()
    path.write_bytes(data.replace(b"IEND\xaeB`\x82\x15\x00", b"IEND\xaeB`\x82\x15\x01"))
    with pytest.raises(ValueError, match=r"0\.parquet is damaged: it has 0 images and"):
        load_parquet(path)


def test_files_of_other_names_are_refused(tmp_path):
    write(tmp_path / "part-0.parquet", [1, 2], [0, 1])
    with pytest.raises(ValueError, match=r"has Parquet files, but none named train-\*\.parquet"):
        load_parquet(tmp_path)


@pytest.mark.skipif(not REAL_SET.is_dir(), reason=f"no {REAL_SET.name} in $KDANALYSIS_DATA")
def test_a_real_set_is_read():
    splits = load_parquet(REAL_SET, limit=400)
    assert splits.classes[:2] == ["n01443537 goldfish", "n01629819 European fire salamander"]
    assert np.bincount(splits.train.labels).tolist() == [4] * 100
    assert (len(splits.valid), splits.train.image_shape) == (100, (3, 32, 32))
    assert splits.mean[0] > splits.mean[2]  # photographs are warmer than grey
