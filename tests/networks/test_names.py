"""Layers are found by name and pattern, under wrappers too, and never overlap."""

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from kdanalysis.networks.names import find_blocks, find_layers, submodule, unwrapped
from kdanalysis.networks.zoo import build_model


@pytest.fixture
def model():
    return build_model("resnet14", 5)


def test_a_module_brings_all_its_parameters_and_a_parameter_only_itself(model):
    found = find_layers(model, ("layer2", "fc.weight"))
    assert list(found) == ["layer2", "fc.weight"]
    assert list(found["layer2"].learning()) == [n for n, _ in model.layer2.named_parameters()]
    assert found["fc.weight"].learning() == {"weight": model.fc.weight}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("layer*", ["layer1", "layer2", "layer3"]),
        ("layer[13]", ["layer1", "layer3"]),
        ("layer?.0", ["layer1.0", "layer2.0", "layer3.0"]),
        ("fc.*", ["fc.weight", "fc.bias"]),
        ("layer1.0.*", [f"layer1.0.{n}" for n in ("conv1", "bn1", "conv2", "bn2")]),
        ("*", ["conv1", "bn1", "layer1", "layer2", "layer3", "fc"]),
    ],
)
def test_stars_stand_for_letters_between_two_dots(model, pattern, names):
    assert list(find_layers(model, [pattern])) == names


def test_a_layer_found_twice_is_one_and_a_single_name_needs_no_tuple(model):
    assert list(find_layers(model, ("layer3", "layer*"))) == ["layer3", "layer1", "layer2"]
    assert list(find_layers(model, "fc")) == ["fc"]


def test_wrappers_may_be_named_or_not(model):
    wrapped = nn.DataParallel(model)
    assert unwrapped(wrapped) is model
    for names in (("layer1", "fc"), ("module.layer1", "module.fc")):
        assert list(find_layers(wrapped, names)) == ["layer1", "fc"]


def test_a_model_with_more_than_a_child_named_module_is_no_wrapper():
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module, self.scale = nn.Linear(2, 2), nn.Parameter(torch.ones(2))

    assert list(find_layers(Own(), ("*",))) == ["scale", "module"]
    assert list(find_layers(nn.ModuleDict({"module": nn.Linear(2, 2), "b": nn.Linear(2, 2)}),
                            ("*",))) == ["module", "b"]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("layer4",), r"no layer 'layer4'; did you mean 'layer[123]'\? it has: conv1, bn1, layer1"),
        (("layer3.0.convl",), r"did you mean 'layer3.0.conv[12]'\?"),
        (("head*",), r"the student has no layer 'head\*'; it has: conv1"),
        (("fc.*.*",), r"has no layer 'fc\.\*\.\*'"),
        ((), "need at least one layer by its name, got none"),
        ((3,), "chosen by its name as text, got 3"),
        (("layer1", "layer1.0"), "'layer1' and 'layer1.0' share the parameter '0.conv1.weight'"),
        (("fc", "fc.bias"), "'fc' and 'fc.bias' share the parameter 'bias' of 'fc'"),
        (("layer1.0.downsample",), "'layer1.0.downsample' has no parameter that learns"),
        (("layer1.*.downsample",), r"no layer that matches 'layer1.\*.downsample' has a parameter"),
    ],
)
def test_what_cannot_be_chosen_is_named(model, names, message):
    with pytest.raises(ValueError, match=message):
        find_layers(model, names)


def test_what_learns_is_asked_anew_every_time(model):
    layer = find_layers(model, "fc")["fc"]
    model.fc.bias.requires_grad_(False)
    assert list(layer.learning()) == ["weight"]
    model.fc.weight = nn.Parameter(torch.zeros(5, 64))
    assert layer.learning()["weight"] is model.fc.weight


def test_layers_blocks_and_submodules_know_the_same_wrappers(model):
    inner = model.layer2
    model.layer2 = checkpoint_wrapper(inner)
    wrapped = torch.compile(nn.DataParallel(model), backend="eager")
    for name in ("layer2.0", "module.layer2.0", "_orig_mod.module.layer2.0"):
        assert submodule(wrapped, name, "student") is inner[0]
        assert find_blocks(wrapped, (name,), "student") == {name: inner[0]}
        layers = find_layers(wrapped, name)
        assert list(layers) == ["layer2.0"]
        assert layers["layer2.0"].module is inner[0]
    assert list(find_layers(wrapped, "module.layer2.*")) == ["layer2.0", "layer2.1"]
    assert unwrapped(wrapped) is model


@pytest.mark.parametrize("find", [submodule, lambda model, name, side: find_layers(model, name)])
def test_every_way_offers_the_nearest_name(model, find):
    message = r"the student has no layer 'layr2'; did you mean 'layer2'\? it has: conv1, bn1"
    with pytest.raises(ValueError, match=message):
        find(model, "layr2", "student")


def test_a_block_by_two_names_is_named_twice(model):
    with pytest.raises(ValueError, match=r"block 'module\.layer1' is named twice"):
        find_blocks(nn.DataParallel(model), ("layer1", "module.layer1"), "teacher")
