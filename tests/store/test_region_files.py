"""Region logits of one's own: what was saved comes back, what does not fit is said."""

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from kdanalysis import load_regions
from kdanalysis.store.info import RunInfo
from kdanalysis.store.writer import PartWriter


def columns(n: int = 10, c: int = 4, r: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    teacher, student = rng.normal(size=(2, n, c, r)).astype(np.float16)
    ids = {"target": rng.integers(0, c, n).astype(np.int16), "sample_id": np.arange(n) + 5}
    return {"teacher_regions": teacher, "student_regions": student} | ids


@pytest.mark.parametrize("kind", ["npz", "packed.npz", "safetensors", "pt"])
def test_what_was_saved_comes_back_in_batches(tmp_path, kind):
    path, whole = tmp_path / f"regions.{kind}", columns()
    if kind.endswith("npz"):
        (np.savez_compressed if kind.startswith("packed") else np.savez)(path, **whole)
    elif kind == "safetensors":
        save_file(whole, path)
    else:
        torch.save({name: torch.from_numpy(v) for name, v in whole.items()}, path)
    regions = load_regions(path)
    assert (regions.num_rows, regions.num_classes, regions.num_regions) == (10, 4, 5)
    batches = list(regions.batches(4))
    assert [len(batch["target"]) for batch in batches] == [4, 4, 2]
    for name, values in whole.items():
        np.testing.assert_array_equal(np.concatenate([b[name] for b in batches]), values)
    assert batches[0]["target"].dtype == np.int64


def test_a_student_and_ids_are_optional(tmp_path):
    whole = columns()
    np.savez(tmp_path / "r.npz", teacher_regions=whole["teacher_regions"], target=whole["target"])
    regions = load_regions(tmp_path / "r.npz")
    assert regions.columns == ("teacher_regions", "target")
    assert len(list(regions.batches())) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher_regions": None}, "has no teacher_regions: regions are teacher_regions"),
        ({"target": None}, "has no target"),
        (
            {"teacher_regions": np.zeros((10, 4), np.float32)},
            r"shape \(10, 4\), need \(samples, ",
        ),
        ({"student_regions": np.zeros((10, 4, 6), np.float32)}, r"\(10, 4, 6\), need \(10, 4, 5\)"),
        ({"teacher_regions": np.zeros((10, 4, 5), int)}, "are int64, need one of float16"),
        ({"target": np.zeros(10)}, "target of .* is float64, need integers"),
        ({"target": np.zeros(9, int)}, r"target of .* has shape \(9,\), need \(10,\)"),
        ({"target": np.arange(10)}, "has target 4 in row 4, need 0 to 3, the 4 classes"),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(tmp_path, change, message):
    whole = {name: v for name, v in (columns() | change).items() if v is not None}
    np.savez(tmp_path / "r.npz", **whole)
    with pytest.raises(ValueError, match=message):
        list(load_regions(tmp_path / "r.npz").batches(3))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_regions(tmp_path / "none.npz")


def test_the_regions_of_a_run_are_read_like_a_file_of_them(tmp_path):
    whole, scales = columns(), (1, 2)
    stamped = whole | {"step": np.arange(10) // 4, "epoch": np.zeros(10, np.int32)}
    with PartWriter(tmp_path / "run", 0, RunInfo(4, list("abcd"), scales=scales)) as writer:
        writer.write(stamped, kind="regions")
    regions = load_regions(tmp_path / "run")
    assert (regions.num_rows, regions.num_classes, regions.num_regions) == (10, 4, 5)
    assert (regions.columns, regions.classes) == (tuple(whole), list("abcd"))
    (batch,) = regions.batches()
    for name, values in whole.items():
        np.testing.assert_array_equal(batch[name], values)


def test_a_run_without_regions_is_named(tmp_path):
    PartWriter(tmp_path / "run", 0, RunInfo(4)).close()
    with pytest.raises(ValueError, match="holds no readable regions: see `kdanalysis verify"):
        load_regions(tmp_path / "run")
