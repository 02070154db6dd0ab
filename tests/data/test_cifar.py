"""CIFAR batches of either Python are read, and a pickle that asks for more never runs."""

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from kdanalysis.data.cifar import load_cifar, read_batch

RANDOM = np.random.default_rng(0)
DATA = RANDOM.integers(0, 256, (6, 3072)).astype(np.uint8)


def python2_pickle(data: np.ndarray, key: bytes, labels: list[int]) -> bytes:
    """Opcode for opcode what Python 2 and an old numpy wrote: byte strings, integer flags."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    def integer(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    content = data.tobytes()
    dtype = b"cnumpy\ndtype\n(" + text(b"u1") + b"K\x00K\x01tR"
    dtype += b"(K\x03" + text(b"|") + b"NNN" + integer(-1) * 2 + b"K\x00tb"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + text(b"b") + b"tR"
    )
    array += b"(K\x01" + integer(data.shape[0]) + integer(data.shape[1]) + b"\x86" + dtype
    array += b"\x89T" + struct.pack("<i", len(content)) + content + b"tb"
    values = b"](" + b"".join(integer(label) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(key) + values + b"u."


def write(path: Path, content, protocol: int = 2) -> None:
    path.write_bytes(pickle.dumps(content, protocol=protocol))


def cifar10(root: Path, protocol: int = 2) -> None:
    for i in range(1, 6):
        labels = [0, 1, 2, 0, 1, 2]
        write(root / f"data_batch_{i}", {"data": DATA + i, "labels": labels}, protocol)
    write(root / "test_batch", {"data": DATA[:4], "labels": [2, 1, 0, 0]}, protocol)
    write(root / "batches.meta", {"label_names": ["cat", "dog", "frog"]}, protocol)


@pytest.mark.parametrize("protocol", [2, 4])
def test_cifar10_is_read_batch_by_batch(tmp_path, protocol):
    cifar10(tmp_path, protocol)
    splits = load_cifar(tmp_path)
    assert splits.classes == ["cat", "dog", "frog"]
    pixels = splits.train.pixels.numpy()
    for i in range(5):
        assert (pixels[6 * i : 6 * i + 6].reshape(6, -1) == (DATA + i + 1)).all()
    assert splits.train.labels.tolist() == [0, 1, 2] * 10
    assert splits.valid.labels.tolist() == [2, 1, 0, 0]
    red = splits.valid[1][0][0].flatten().numpy()  # a row holds 1024 reds, greens, blues
    assert (red == DATA[1, :1024]).all()
    assert splits.train.mirror


def test_cifar100_as_python_2_wrote_it_is_read_with_fine_labels(tmp_path):
    (tmp_path / "train").write_bytes(python2_pickle(DATA, b"fine_labels", [0, 1, 1, 0, 1, 0]))
    (tmp_path / "test").write_bytes(python2_pickle(DATA[:2], b"fine_labels", [1, 0]))
    meta = {b"fine_label_names": ["apple", "bear"], b"coarse_label_names": ["fruit"]}
    write(tmp_path / "meta", meta)
    splits = load_cifar(tmp_path)
    assert splits.classes == ["apple", "bear"]
    assert (splits.train.pixels.numpy().reshape(6, -1) == DATA).all()
    assert splits.train.labels.tolist() == [0, 1, 1, 0, 1, 0]
    assert splits.valid.labels.tolist() == [1, 0]


@pytest.mark.filterwarnings("ignore:dtype.*align")
def test_the_python_2_pickle_of_this_test_is_one_numpy_reads():
    content = python2_pickle(DATA, b"labels", [3]).replace(b"numpy.core", b"numpy._core")
    assert (pickle.loads(content, encoding="latin1")["data"] == DATA).all()


def test_size_and_limit_are_honoured(tmp_path):
    cifar10(tmp_path)
    splits = load_cifar(tmp_path, image_size=16, limit=9)
    assert splits.train.image_shape == (3, 16, 16)
    assert np.bincount(splits.train.labels).tolist() == [3, 3, 3]
    assert len(splits.valid) == 2


class Payload:
    """Pickles into a call of ``function``."""

    def __init__(self, function, *args) -> None:
        self.call = function, args

    def __reduce__(self):
        return self.call


def payloads(marker: Path) -> dict[str, Payload]:
    return {
        "system": Payload(os.system, f"touch {marker}"),
        "eval": Payload(eval, f"open({str(marker)!r}, 'w').close()"),
        "getattr": Payload(getattr, "text", "join"),
        # an array of pointers made from chosen bytes: reading an element would follow them
        "ndarray": Payload(np.ndarray, (1,), "O", b"\x01" * 8),
    }


@pytest.mark.parametrize("kind", ["system", "eval", "getattr", "ndarray"])
def test_a_pickle_that_asks_for_more_is_refused_and_never_runs(tmp_path, kind):
    cifar10(tmp_path)
    marker = tmp_path / "ran"
    payload = payloads(marker)[kind]
    write(tmp_path / "data_batch_2", {"data": DATA, "labels": [0] * 6, "extra": payload})
    with pytest.raises(ValueError, match=r"data_batch_2 cannot be read as a CIFAR batch"):
        load_cifar(tmp_path)
    assert not marker.exists()


def test_the_payload_of_these_tests_would_run(tmp_path):
    marker = tmp_path / "ran"
    pickle.loads(pickle.dumps(payloads(marker)["system"]))
    assert marker.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": DATA[:, :10], "labels": [0] * 6}, "needs 'data' as bytes in rows of 3072"),
        ({"data": DATA.astype(int), "labels": [0] * 6}, "needs 'data' as bytes in rows"),
        ({"data": np.asfortranarray(DATA), "labels": [0] * 6}, "needs 'data' as bytes in rows"),
        ({"data": [1, 2], "labels": [0] * 6}, "needs 'data' as bytes in rows"),
        ({"labels": [0] * 6}, "needs 'data' as bytes in rows"),
        ({"data": DATA, "labels": [0] * 5}, "needs 'labels' as a list of 6 whole numbers"),
        ({"data": DATA, "labels": ["a"] * 6}, "needs 'labels' as a list of 6 whole numbers"),
        ({"data": DATA}, "needs 'labels' as a list of 6 whole numbers"),
        ({"data": DATA, "labels": [9] * 6}, "has the label 9 on image 0"),
        ([DATA], "holds a list, but a CIFAR batch is a dict"),
    ],
)
def test_batches_of_another_form_are_refused(tmp_path, content, message):
    cifar10(tmp_path)
    write(tmp_path / "data_batch_1", content)
    with pytest.raises(ValueError, match=message):
        load_cifar(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damaged_and_missing_batches_are_named(tmp_path, damage):
    cifar10(tmp_path)
    if damage == "cut":
        (tmp_path / "data_batch_3").write_bytes(pickle.dumps({"data": DATA})[:500])
    else:
        (tmp_path / "data_batch_3").unlink()
    with pytest.raises(ValueError, match=r"data_batch_3 cannot be read as a CIFAR batch"):
        load_cifar(tmp_path)


def test_class_names_are_required(tmp_path):
    cifar10(tmp_path)
    write(tmp_path / "batches.meta", {"names": ["cat"]})
    with pytest.raises(ValueError, match=r"batches\.meta has no list of class names 'label_names'"):
        load_cifar(tmp_path)


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds neither the CIFAR-10 nor the CIFAR-100"):
        load_cifar(tmp_path)


def test_nothing_but_arrays_comes_out_of_a_batch(tmp_path):
    write(tmp_path / "batch", {"data": DATA, b"n": 3, "t": "text"}, 4)
    batch = read_batch(tmp_path / "batch")
    assert {key: type(value).__name__ for key, value in batch.items()} == {
        "data": "PickledArray",
        "n": "int",
        "t": "str",
    }
