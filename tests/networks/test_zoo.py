"""Reference networks: the literature's sizes, parts that compose, and clear refusals."""

import pytest
import torch
import torch.nn.functional as F

from kdanalysis.networks.zoo import MODELS, build_model
from kdanalysis.networks.zoo.resnet import ResNet

# counted on the authors' code with 100 classes: megvii-research/mdistiller at a08d46f1,
# mdistiller/models/cifar/resnet.py and vgg.py (its vgg8 and vgg13 are vgg8_bn and vgg13_bn there)
# padded shortcuts: table 6 of He et al. (0.27, 0.46, 0.66, 0.85, 1.7 million with 10 classes), as
# counted on Idelbayev's published weights for depths 20 to 56, and 65 for each of 90 more classes
PADDED = {
    "resnet20a": 269_722 + 90 * 65,
    "resnet32a": 464_154 + 90 * 65,
    "resnet44a": 658_586 + 90 * 65,
    "resnet56a": 853_018 + 90 * 65,
    "resnet110a": 1_727_962 + 90 * 65,
}
PUBLISHED_PARAMETERS = {
    "resnet8": 83_892,
    "resnet14": 181_108,
    "resnet20": 278_324,
    "resnet32": 472_756,
    "resnet44": 667_188,
    "resnet56": 861_620,
    "resnet110": 1_736_564,
    **PADDED,
    "resnet8x4": 1_233_540,
    "resnet32x4": 7_433_860,
    "vgg8": 3_965_028,
    "vgg13": 9_462_180,
}
SMALL = ("resnet8", "resnet20", "vgg8")


def images(side: int = 32, channels: int = 3) -> torch.Tensor:
    return torch.randn(4, channels, side, side, generator=torch.Generator().manual_seed(0))


def test_the_tables_name_the_same_models():
    assert tuple(PUBLISHED_PARAMETERS) == MODELS


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_as_many_as_in_the_published_code(name):
    model = build_model(name, 100)
    assert sum(p.numel() for p in model.parameters()) == PUBLISHED_PARAMETERS[name]


@pytest.mark.parametrize("name", MODELS)
def test_the_last_map_has_the_published_shape_and_the_head_its_width(name):
    model = build_model(name, 7)
    features = model.forward_features(images())
    assert features.shape[2:] == ((4, 4) if name.startswith("vgg") else (8, 8))
    assert model.head.in_features == features.shape[1]
    assert model.head.out_features == 7


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("side", [8, 11, 20, 64])
def test_any_size_from_8_pixels_is_classified(name, side):
    assert build_model(name, 5)(images(side)).shape == (4, 5)


@pytest.mark.parametrize("name", SMALL)
def test_parts_compose_to_the_whole(name):
    model = build_model(name, 5).eval()
    maps = [model.stem(images())]
    for block_name in model.block_names:
        maps.append(model.get_submodule(block_name)(maps[-1]))

    pooled = F.adaptive_avg_pool2d(maps[-1], 1).flatten(1)  # torch's own pooling, not ours
    logits = F.linear(pooled, model.head.weight, model.head.bias)

    torch.testing.assert_close(model(images()), logits)
    torch.testing.assert_close(model.forward_features(images()), maps[-1])


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("start", [0, 1, 2])
def test_the_tail_alone_continues_from_a_hooked_block(name, start):
    model = build_model(name, 5).eval()
    seen = []
    with model.blocks[start].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])):
        whole = model(images())

    features = seen[0]
    for block in model.blocks[start:]:
        features = block(features)

    assert torch.equal(model.classify(features), whole)


@pytest.mark.parametrize("name", SMALL)
def test_no_part_overwrites_what_a_hook_saw(name):
    model = build_model(name, 5)
    seen, copies = [], []

    def keep(_module, _inputs, output):
        seen.append(output)
        copies.append(output.clone())

    for module in model.modules():
        module.register_forward_hook(keep)
    model(images())
    assert all(torch.equal(a, b) for a, b in zip(seen, copies, strict=True))
    assert len(seen) > 10  # the control: hooks did run


def test_a_residual_block_adds_its_shortcut():
    block = ResNet(8, (4, 4, 8, 8), 3).eval().layer2[0]
    x = images(channels=4)
    hidden = F.relu(block.bn1(F.conv2d(x, block.conv1.weight, stride=2, padding=1)))
    residual = block.bn2(F.conv2d(hidden, block.conv2.weight, padding=1))
    convolution, norm = block.downsample
    shortcut = norm(F.conv2d(x, convolution.weight, stride=2))
    torch.testing.assert_close(block(x), F.relu(residual + shortcut))


def test_state_dicts_use_the_published_names():
    resnet, vgg = build_model("resnet8", 5).state_dict(), build_model("vgg13", 5).state_dict()
    assert {
        "conv1.weight",
        "bn1.running_mean",
        "layer1.0.conv1.weight",
        "layer2.0.downsample.0.weight",
        "layer2.0.downsample.1.bias",
        "layer3.0.bn2.weight",
        "fc.bias",
    } < resnet.keys()
    assert "layer1.0.downsample.0.weight" not in resnet
    assert {"block0.0.bias", "block1.3.weight", "block4.4.bias", "classifier.weight"} < vgg.keys()


def test_weights_follow_the_global_generator_and_the_fan_out():
    torch.manual_seed(1)
    first = build_model("resnet8x4", 5)
    torch.manual_seed(1)
    again = build_model("resnet8x4", 5)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)
    )
    weight = first.layer3[0].conv2.weight  # 256 x 256 x 3 x 3
    assert weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)


def test_other_input_channels_are_possible():
    assert build_model("vgg8", 5, in_channels=1)(images(channels=1)).shape == (4, 5)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"no model 'resnet21': the nearest names are resnet2?0?"):
        build_model("resnet21", 10)


def test_a_name_like_no_other_is_answered_with_all():
    with pytest.raises(ValueError, match=", ".join(MODELS)):
        build_model("transformer", 10)


@pytest.mark.parametrize("counts", [(0, 3), (10, 0)])
def test_empty_ends_are_refused(counts):
    with pytest.raises(ValueError, match="at least one class and one input channel"):
        build_model("resnet8", *counts)


def test_images_too_small_to_halve_are_refused():
    with pytest.raises(ValueError, match=r"the images are 7x7 pixels, .* at least 8 a side"):
        build_model("resnet8", 10)(images(7))


def test_a_depth_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="depth 21 does not fit"):
        ResNet(21, (16, 16, 32, 64), 10)
