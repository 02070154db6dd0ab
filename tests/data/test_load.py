"""One entry for every kind of data, and one sentence for what is none."""

import pickle
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kdanalysis.data import load_data


def png(level: int) -> bytes:
    stream = BytesIO()
    Image.new("RGB", (8, 8), (level, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def class_folders(root: Path) -> Path:
    for label in range(2):
        (root / str(label)).mkdir()
        for i in range(5):
            (root / str(label) / f"{i}.png").write_bytes(png(i))
    return root


def parquet_folder(root: Path) -> Path:
    cells = [{"bytes": png(i), "path": None} for i in range(10)]
    pq.write_table(pa.table({"image": cells, "label": [0, 1] * 5}), root / "train-0.parquet")
    return root


def parquet_file(root: Path) -> Path:
    return parquet_folder(root) / "train-0.parquet"


def cifar_folder(root: Path) -> Path:
    batch = {"data": np.zeros((8, 3072), dtype=np.uint8), "fine_labels": [0, 1] * 4}
    for name in ("train", "test"):
        (root / name).write_bytes(pickle.dumps(batch, protocol=4))
    (root / "meta").write_bytes(pickle.dumps({"fine_label_names": ["0", "1"]}))
    return root


@pytest.mark.parametrize("make", [class_folders, parquet_folder, parquet_file, cifar_folder])
@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_read_by_what_lies_there(tmp_path, make, kind):
    splits = load_data(kind(make(tmp_path)), image_size=8)
    assert len(splits.train) == 8
    assert splits.classes == ["0", "1"]
    assert splits.train.image_shape == (3, 8, 8)


@pytest.mark.parametrize(("name", "classes"), [("glyphs", 62), ("digits", 10)])
def test_built_in_names_are_loaded_with_every_argument(name, classes):
    splits = load_data(name, image_size=12, seed=3, limit=80)
    assert (splits.name, len(splits.classes)) == (name, classes)
    assert (len(splits.train), len(splits.valid)) == (80, 20)
    assert splits.train.image_shape == (3, 12, 12)
    other = load_data(name, image_size=12, seed=4, limit=80)
    assert (splits.train.pixels != other.train.pixels).any()


@pytest.mark.parametrize("spec", ["glyph", "no/such/folder"])
def test_an_unknown_name_is_answered_with_what_is_known(spec):
    message = f"there is no data named '{spec}': known are glyphs and digits, and the path of"
    with pytest.raises(ValueError, match=message):
        load_data(spec)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "set.zip").write_bytes(b"")
    with pytest.raises(ValueError, match=r"there is no data named .*set\.zip"):
        load_data(tmp_path / "set.zip")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 7}, "image size must be at least 8 pixels, got 7"),
        ({"seed": -1}, "seed must not be negative, got -1"),
        ({"limit": 0}, "limit of training images must be at least 1, got 0"),
    ],
)
@pytest.mark.parametrize("name", ["glyphs", "digits"])
def test_arguments_out_of_range_are_refused(name, settings, message):
    with pytest.raises(ValueError, match=message):
        load_data(name, **settings)


def test_imports_stay_light():
    code = """if True:
        import sys
        def loaded():
            return {"sklearn", "matplotlib", "pandas", "torchvision"} & set(sys.modules)
        import kdanalysis.data, kdanalysis.networks.zoo
        print("imported", *loaded())
        kdanalysis.data.load_data("glyphs", limit=2, image_size=8)
        print("loaded", *loaded())"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported, control = done.stdout.splitlines()
    assert imported == "imported"
    assert "matplotlib" in control
