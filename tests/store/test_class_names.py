"""Names of classes that stand in a file, or beside arrays: every door reads them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import kdanalysis as kd

LOGITS = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
NAMES = ["cat", "dog", "ωλ 猫"]


def npz(folder, classes) -> Path:
    path = folder / "named.npz"
    np.savez_compressed(path, teacher_logits=LOGITS, student_logits=-LOGITS, classes=classes)
    return path


def pt(folder, classes) -> Path:
    path = folder / "named.pt"
    torch.save({"teacher_logits": torch.from_numpy(LOGITS), "classes": list(classes)}, path)
    return path


@pytest.mark.parametrize("write", [npz, pt])
def test_a_file_gives_the_names(write, tmp_path):
    path = write(tmp_path, NAMES)
    assert kd.load_logits(path).classes == NAMES
    assert kd.open(path).info.classes == NAMES
    assert kd.diagnose(path).facts["classes"] == "3 (cat, dog, ωλ 猫)"


def test_so_do_arrays_and_what_compares_them(tmp_path):
    given = {"teacher_logits": LOGITS, "student_logits": -LOGITS, "classes": np.array(NAMES)}
    assert kd.diagnose(given).classes == NAMES
    assert kd.compare(given, losses="kd,gdkd:k=2").facts["classes"] == "3 (cat, dog, ωλ 猫)"
    both = kd.compare({"one": given, "other": npz(tmp_path, NAMES)})
    assert both.classes == NAMES


def test_files_of_regions_do_too(tmp_path):
    cells = np.random.default_rng(1).normal(size=(20, 3, 5)).astype(np.float32)
    path = tmp_path / "regions.npz"
    np.savez(path, teacher_regions=cells, target=np.arange(20) % 3, classes=NAMES)
    study = kd.regions(path, scales=(1, 2))
    ticks = study.figure("ambiguity").axes[1].get_yticklabels()
    assert {tick.get_text() for tick in ticks} == {*NAMES}


def test_numbers_of_that_name_are_no_names_as_before(tmp_path):
    assert kd.load_logits(npz(tmp_path, np.arange(3))).classes is None


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (NAMES[:2], "names 2 classes, need a name for each of 3"),
        (np.array(NAMES, object), "holds Python objects, need texts"),
    ],
)
def test_names_that_do_not_serve_are_refused(classes, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        kd.load_logits(npz(tmp_path, classes))


@pytest.mark.parametrize("write", [npz, pt])
def test_bytes_are_read_as_utf8(write, tmp_path):
    names = [b"caf\xc3\xa9", b"\xff", b"c"]
    path = write(tmp_path, np.array(names) if write is npz else names)
    assert kd.load_logits(path).classes == ["café", "\ufffd", "c"]
    arrays = {"teacher_logits": LOGITS, "classes": np.array(names)}
    assert kd.diagnose(arrays).classes == ["café", "\ufffd", "c"]


def test_arrays_whose_names_are_no_texts_are_refused():
    with pytest.raises(ValueError, match=r"classes of arrays are \[1, 2, 3\], need texts"):
        kd.diagnose({"teacher_logits": LOGITS, "classes": [1, 2, 3]})


def test_names_go_with_the_padding_that_is_cut(tmp_path):
    assert kd.load_logits(npz(tmp_path, NAMES), vocabulary=2).classes == NAMES[:2]


def test_damaged_names_are_told(tmp_path):
    path = npz(tmp_path, NAMES)
    data = bytearray(path.read_bytes())
    data[data.index(b"classes.npy") + 40] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"named.npz \(classes\) is damaged"):
        kd.load_logits(path)


@pytest.mark.parametrize("write", [npz, pt])
def test_no_name_brings_what_a_page_cannot_hold(write, tmp_path):
    path = write(tmp_path, ["a\x1b[31m\x00b", "\ud800", "\uffff می\u200cشود"])
    study = kd.diagnose(path)
    assert study.classes == [r"a\x1b[31m\x00b", r"\ud800", "\\uffff می\u200cشود"]
    assert r"a\x1b[31m" in study.html()


def test_a_column_of_a_frame_gives_names():
    given = {"teacher_logits": LOGITS, "classes": pd.Series(NAMES)}
    assert kd.diagnose(given).classes == NAMES
    words = "classes of arrays are a pandas Series of int64 .3,., need texts"
    with pytest.raises(ValueError, match=words):
        kd.diagnose(given | {"classes": pd.Series([1, 2, 3])})
