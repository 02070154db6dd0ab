"""Checkpoints of others: recognised by their weights, and given the pixels they were trained on."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kdanalysis.data import Images, load_data
from kdanalysis.data.splits import DataSplits
from kdanalysis.networks.zoo import build_model
from kdanalysis.training.checkpoint import load_network, save_checkpoint

REAL = Path(os.environ.get("KDANALYSIS_DATA", Path(__file__).parents[3] / "shared" / "data"))
PUBLISHED = REAL / "cifar10-jpeg"
MEAN, STD = (torch.tensor(x).view(3, 1, 1) for x in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))


@pytest.fixture(scope="module")
def data():
    return load_data("digits", image_size=8, limit=40)


def written(network: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return build_model(network, 10).state_dict()


def renamed(weights: dict, *pairs: tuple[str, str]) -> dict:
    for old, new in pairs:
        weights = {name.replace(old, new): one for name, one in weights.items()}
    return weights


FORMS = {
    "state_dict": lambda w: {"state_dict": w, "best_prec1": 91.7, "epoch": 3},
    "model": lambda w: {"model": w, "opt": 1},
    "weights without facts": lambda w: {"weights": w, "facts": {}},
    "bare": lambda w: w,
    "of DataParallel": lambda w: {f"module.{name}": one for name, one in w.items()},
    "linear and shortcut": lambda w: renamed(w, ("fc.", "linear."), (".downsample.", ".shortcut.")),
    "before counters": lambda w: {k: v for k, v in w.items() if "num_batches" not in k},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_network(data, tmp_path, form):
    weights = written("resnet8")
    torch.save(FORMS[form](weights), tmp_path / "theirs.th")
    found = load_network(tmp_path / "theirs.th", data).state_dict()
    assert all(torch.equal(found[k], one) for k, one in weights.items())


@pytest.mark.parametrize("name", ["resnet20a", "resnet20", "resnet8x4", "vgg8"])
def test_a_network_is_known_by_its_weights(data, tmp_path, name):
    torch.save(written(name), tmp_path / "theirs.pt")
    found = load_network(tmp_path / "theirs.pt", data)
    assert sum(p.numel() for p in found.parameters()) == sum(
        p.numel() for p in build_model(name, 10).parameters()
    )
    assert not found.state_dict().keys() ^ written(name).keys()


def test_padded_shortcuts_drop_every_second_pixel_and_add_zero_channels():
    block = build_model("resnet20a", 10).layer2[0]
    x = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros(2, 32, 4, 4)
    expected[:, 8:24] = x[:, :, ::2, ::2]
    assert torch.equal(block.downsample(x), expected)


@pytest.mark.parametrize("form", ["bare", "facts"])
def test_pixels_are_those_of_the_training(data, tmp_path, form):
    weights, path = written("resnet20a"), tmp_path / "theirs.pt"
    if form == "bare":  # padded shortcuts: ImageNet's statistics
        torch.save(weights, path)
    else:
        facts = {
            "model": "resnet20a",
            "mean": MEAN.flatten().tolist(),
            "std": STD.flatten().tolist(),
        }
        torch.save({"weights": weights, "facts": facts}, path)
    own = build_model("resnet20a", 10).eval()
    own.load_state_dict(weights)
    ((x, _, _),) = data.valid.batches(10)
    with torch.no_grad():
        expected = own((data.valid.pixels.float() / 255 - MEAN) / STD)
        torch.testing.assert_close(
            load_network(path, data).eval()(x), expected, rtol=1e-4, atol=1e-4
        )
        assert (own(x) - expected).abs().max() > 0.01  # the control: the data's are others


def test_what_fits_nothing_is_said_in_one_sentence(data, tmp_path):
    path = tmp_path / "theirs.pt"
    for content, message in (
        ({"a": 1}, "holds no weights: need a state dict, or one under weights, state_dict"),
        ({"state_dict": {}}, "holds no weights"),
        (torch.nn.Linear(2, 2).state_dict(), r"its 2 tensors, such as 'weight' of shape \(2, 2\)"),
        (written("vgg8") | {"classifier.weight": torch.zeros(7, 512)}, "fit none of the networks"),
        ({"weights": {"fc.weight": torch.zeros(10, 64)}, "facts": {"model": "resnet8"}}, "lacks"),
        (build_model("resnet8", 7).state_dict(), "tells 7 classes apart, the data has 10"),
    ):
        torch.save(content, path)
        with pytest.raises(ValueError, match=message):
            load_network(path, data)


def test_a_checkpoint_of_ours_keeps_its_pixels_on_other_data(data, tmp_path):
    other = load_data("digits", image_size=8, limit=40, seed=1)
    model = build_model("resnet8", 10).eval()
    known = {"mean": data.mean.tolist(), "std": data.std.tolist()}
    facts = {"model": "resnet8", "classes": list(data.classes), **known}
    save_checkpoint(tmp_path / "ours.pt", model, facts)
    same = load_network(tmp_path / "ours.pt", data)
    assert not hasattr(same, "renormalise")
    ((x, _, _),) = data.valid.batches(10)
    moved = Images(data.valid.pixels, data.valid.labels, other.mean, other.std, False)
    ((y, _, _),) = moved.batches(10)
    with torch.no_grad():
        seen = load_network(tmp_path / "ours.pt", other).eval()(y)
        torch.testing.assert_close(seen, model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published teachers are not here")
def test_a_published_teacher_gives_its_published_logits():
    import pyarrow.parquet as pq

    from kdanalysis.data.encoded import Encoded

    rows = pq.read_table(PUBLISHED / "test-00000-of-00001.parquet").slice(0, 40).to_pylist()
    pixels = Encoded([row["image"]["bytes"] for row in rows], ["row"] * 40, None)[torch.arange(40)]
    labels = np.array([row["label"] for row in rows])
    mean, std = torch.tensor([0.4926, 0.4828, 0.4471]), torch.tensor([0.2457, 0.2435, 0.2611])
    images = Images(pixels, labels, mean, std, mirror=True)
    data = DataSplits("cifar10", list("0123456789"), images, images, mean, std)
    ((x, _, _),) = images.batches(40)
    network = load_network(PUBLISHED / "teachers" / "resnet20-12fca82f.th", data).eval()
    with np.load(PUBLISHED / "teachers" / "resnet20_test.npz", allow_pickle=False) as file:
        theirs = torch.from_numpy(file["teacher_logits"][:40].astype(np.float32))
    with torch.no_grad():
        assert F.l1_loss(network(x), theirs) < 0.01
