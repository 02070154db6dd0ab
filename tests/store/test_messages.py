"""What is wrong with a file is said by its cause, briefly, whatever the file holds."""

import numpy as np
import pytest
import torch

from kdanalysis.store.sources import load_logits

Z = np.zeros((4, 3), np.float32)


def write(path, content):
    np.savez(path, **content) if path.suffix == ".npz" else torch.save(content, path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npz", {"logits": Z, "labels": np.array(["cat"] * 4)}, "holds text, need plain numbers"),
        (
            "x.npz",
            {"logits": Z, "labels": np.array(["cat"] * 4, object)},
            "Python objects, need plain",
        ),
        (
            "x.pt",
            {"logits": [*Z.tolist(), [0]], "y": [0] * 4},
            "holds logits as a ragged list, no tensor: need plain numbers, one a row of logits$",
        ),
        (
            "x.pt",
            {"logits": torch.from_numpy(Z), "labels": ["cat"] * 4},
            "holds labels as a list of 4, no tensor: need plain numbers",
        ),
        (
            "x.pt",
            {"logits": torch.from_numpy(Z), "y": (0, 1, 2)},
            "holds y as a tuple of 3, no tensor: need plain numbers",
        ),
        (
            "x.pt",
            [torch.from_numpy(Z)] * 2,
            "a list of 2 items, need .*: torch.cat joins its items$",
        ),
        ("x.pt", [torch.from_numpy(Z), torch.zeros(1, 3)], ": torch.cat joins its items$"),
        ("x.pt", [*torch.from_numpy(Z)], "a list of 4 items, .*: torch.stack joins its items$"),
        ("x.pt", (torch.from_numpy(Z), torch.zeros(4)), r"a tuple of 2 items, .* labels\}$"),
        ("x.pt", 7.5, r"holds a float, need a tensor, or a dict of tensors, as \{[^}]*\}$"),
        (
            "x.pt",
            {"logits": [torch.from_numpy(Z)], "y": [torch.zeros(4).long()], "accuracy": [0.9]},
            "holds lists of tensors as logits, y, need .*: torch.cat joins logits, y$",
        ),
        (
            "x.pt",
            {"logits": [*torch.from_numpy(Z)], "y": [*torch.zeros(4)], "z": [torch.zeros(4).int()]},
            "of tensors as logits, y, z, need .*: torch.stack joins logits, y; torch.cat joins z$",
        ),
        (
            "x.pt",
            {"logits": [torch.from_numpy(Z)] * 2, "labels": torch.zeros(8).long()},
            "holds lists of tensors as logits, need .*: torch.cat joins logits$",
        ),
        ("x.pt", {"best_acc": torch.tensor(0.9)}, "has no teacher logits: it has best_acc, need"),
        (
            "x.pt",
            {"best_acc": torch.tensor(0.9), "state_dict": {"fc.weight": torch.zeros(3, 2)}},
            r"it has best_acc, state_dict \(a dict, no tensor\)",
        ),
        ("x.npz", {"a\n\x17b": Z, "c": Z}, r"it has a\\n\\x17b, c, need one of"),
        ("x.pt", torch.nn.Linear(2, 2), r"of tensors \(Unsupported global: GLOBAL torch.nn.mod"),
        (
            "x.pt",
            {"logits": torch.from_numpy(Z), "classes": list(np.array(["a", "b", "c"]))},
            r"\[str\(n\) for n in names\] \(Unsupported global: GLOBAL numpy\S+scalar\)$",
        ),
        ("x.npz", {"a": Z, "b": Z}, "or say with keys= which it is: teacher_logits=NAME"),
        ("x.npz", {f"{'layer' * 20}{i}": Z for i in range(300)}, "and 294 more, need one of"),
    ],
)
def test_the_cause_is_named_in_few_words(tmp_path, name, content, message):
    write(tmp_path / name, content)
    with pytest.raises(ValueError, match=message) as caught:
        load_logits(tmp_path / name)
    said = str(caught.value).replace(str(tmp_path), "")
    assert len(said) <= 400
    assert said.isprintable()


@pytest.mark.parametrize("none", [-1, -100, 255])
def test_rows_without_a_label_are_read_with_minus_one(tmp_path, none):
    target = np.array([0, none, 2, none])
    np.savez(tmp_path / "x.npz", logits=Z, y=target.astype(np.uint8) if none == 255 else target)
    (batch,) = load_logits(tmp_path / "x.npz").batches(4)
    assert batch["target"].tolist() == [0, -1, 2, -1]


def test_255_is_a_class_where_there_are_so_many(tmp_path):
    np.savez(tmp_path / "x.npz", logits=np.zeros((1, 300), np.float32), y=[255])
    (batch,) = load_logits(tmp_path / "x.npz").batches(4)
    assert batch["target"].tolist() == [255]


@pytest.mark.parametrize("wrong", [-2, 3, 254, -101])
def test_what_is_neither_a_class_nor_says_that_there_is_none_is_refused(tmp_path, wrong):
    np.savez(tmp_path / "x.npz", logits=Z, y=[0, 1, wrong, 2])
    with pytest.raises(ValueError, match=f"has target {wrong} in row 2, need 0 to 2"):
        list(load_logits(tmp_path / "x.npz").batches(4))


@pytest.mark.parametrize(
    ("given", "said"), [([1, 2, 3], True), ([0, 2, 3], False), ([2, 1, 4], False)]
)
def test_labels_that_count_from_1_are_told_so(tmp_path, given, said):
    np.savez(tmp_path / "x.npz", logits=Z[:3], y=given)
    with pytest.raises(ValueError, match="need 0 to 2, the 3 classes") as caught:
        list(load_logits(tmp_path / "x.npz").batches(4))
    assert ("count from 1: lower them by 1" in str(caught.value)) == said
