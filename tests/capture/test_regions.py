"""Maps and heads are found in every family of models, by value; hooks never stay."""

import copy
import gc
import pickle
import warnings
import weakref

import architectures as zoo
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from kdanalysis import (
    RegionTap,
    Side,
    region_logits,
)
from kdanalysis.networks.maps import RECENT, Search
from kdanalysis.networks.zoo import build_model

SCALES = (1, 2, 4)


def build(make) -> nn.Module:
    torch.manual_seed(0)
    return make()


def images(n: int = 6, side: int = 16) -> torch.Tensor:
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(1))


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def relu_stem(model):
    return lambda x: F.relu(model.features(x))


LINEAR = {  # how to make it, where the pre-pool map is by hand, and its head
    "torchvision resnet": (zoo.ResNet, lambda m: nn.Sequential(m.conv1, m.layer4), "fc"),
    "torchvision mobilenet": (zoo.MobileNet, lambda m: m.features, "classifier.1"),
    "torchvision densenet": (zoo.DenseNet, relu_stem, "classifier"),
    "torchvision shufflenet": (zoo.ShuffleNet, lambda m: m.conv5, "fc"),
    "timm mobilenetv3": (zoo.PooledConvolution, lambda m: m.blocks, "head"),
    "timm resnet": (zoo.TimmResNet, lambda m: m.layer4, "fc"),
    "timm regnet": (lambda: zoo.TimmNet(zoo.ClassifierHead()), lambda m: m.stages, "head.fc"),
    "ours resnet": (lambda: build_model("resnet8", 5), lambda m: m.forward_features, "fc"),
    "ours vgg": (lambda: build_model("vgg8", 5), lambda m: m.forward_features, "classifier"),
}


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("family", LINEAR)
def test_map_and_linear_head_are_found(family, training):
    make, body, head = LINEAR[family]
    model, x = build(make), images(side=32 if "ours" in family else 16)
    model.train(training)
    twin = copy.deepcopy(model)
    with RegionTap(model) as tap:
        for _ in range(2):  # the pass of the search, and one after it
            logits = model(x)
            taken = tap.take()
            assert taken.logits is logits
            linear = twin.get_submodule(head)
            expected = region_logits(body(twin)(x), linear.weight, linear.bias)
            torch.testing.assert_close(taken.regions(SCALES)[..., 1:], expected[..., 1:])
            assert torch.equal(taken.regions(SCALES)[..., 0], logits)
            assert taken.linear


POOLED = {
    "torchvision convnext": (zoo.ConvNeXt, lambda m: m.features, "classifier"),
    "torchvision mobilenet_v3": (zoo.MobileNetV3, lambda m: m.features, "classifier"),
    "timm convnext": (
        lambda: zoo.TimmNet(zoo.NormMlpClassifierHead()),
        lambda m: m.stages,
        "head",
    ),
}


@pytest.mark.parametrize("family", POOLED)
def test_a_head_of_several_layers_is_applied_at_every_position(family):
    make, body, head = POOLED[family]
    model, x = build(make).eval(), images()
    with RegionTap(model) as tap:
        model(x)
        taken = tap.take()
    features, apply = body(model)(x), model.get_submodule(head)
    at = (
        [[apply(features[:, :, y : y + 1, c : c + 1]) for c in range(4)] for y in range(4)]
        if ("mobilenet" not in family)
        else [[apply(features[:, :, y, c]) for c in range(4)] for y in range(4)]
    )
    cells = taken.regions(SCALES)
    torch.testing.assert_close(cells[..., 5 + 4 * 2 + 3], at[2][3])
    torch.testing.assert_close(cells[..., 1], (at[0][0] + at[0][1] + at[1][0] + at[1][1]) / 4)
    assert not taken.linear


@pytest.mark.parametrize("make", [zoo.SqueezeNet, zoo.FullyConvolutional])
def test_a_pooled_logit_map_is_found(make):
    model, x = build(make).eval(), images()
    with RegionTap(model) as tap:
        logits = model(x)
        regions = tap.take().regions(SCALES)
    body, head = next(iter(model.children())), list(model.children())[1]
    logit_map = head(body(x)) if make is zoo.FullyConvolutional else head[:3](body(x))
    expected = F.adaptive_avg_pool2d(logit_map, 2).flatten(2)
    torch.testing.assert_close(regions[..., 1:5], expected)
    torch.testing.assert_close(regions[..., 1:5].mean(-1), logits)


def test_a_map_with_channels_last_is_read_as_one():
    model, x = build(lambda: zoo.TimmNet(zoo.ClassifierHead(True), channels_last=True)), images()
    with RegionTap(model) as tap:
        model(x)
        regions = tap.take().regions(SCALES)
    features = model.forward_features(x).permute(0, 3, 1, 2)
    linear = model.head.fc
    torch.testing.assert_close(regions, region_logits(features, linear.weight, linear.bias))


@pytest.mark.parametrize(("pool", "front"), [("token", 1), ("avg", 0), ("avg", 1)])
def test_the_tokens_of_a_transformer_are_a_grid(pool, front):
    model, x = build(lambda: zoo.ViT(pool, front)).eval(), images()
    tokens = []
    with RegionTap(model) as tap, torch.no_grad():
        model.norm.register_forward_hook(lambda *seen: tokens.append(seen[2]))
        logits = model(x)
        taken = tap.take()
    grid = tokens[0][:, front:].mT.unflatten(2, (4, 4))
    expected = region_logits(grid, model.head.weight, model.head.bias)
    regions = taken.regions(SCALES)
    torch.testing.assert_close(regions[..., 1:], expected[..., 1:])
    assert torch.equal(regions[..., 0], logits)
    assert taken.layout == ("class token" if pool == "token" else "tokens")
    assert taken.explains().all()


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_several_tokens_in_front_need_the_grid(pool):
    model = build(lambda: zoo.ViT(pool, 3)).eval()
    with RegionTap(model) as tap, RegionTap(Side(model, grid=(2, 8))) as wide:
        model(images())
        with pytest.raises(ValueError, match=r"19 tokens are no square grid.*give grid=\(h, w\)"):
            tap.take().regions(SCALES)
        assert wide.take().regions((1, 2)).shape == (6, 5, 5)


@pytest.mark.parametrize(
    "gives",
    [
        lambda logits: logits,
        lambda logits: (logits, None),
        lambda logits: {"logits": logits},
        lambda logits: logits.clone(),
    ],
    ids=["tensor", "tuple", "dict", "copy"],
)
def test_a_wrapped_model_is_searched_like_a_bare_one(gives):
    model = build(lambda: zoo.Wrapped(zoo.ResNet(), gives)).eval()
    with RegionTap(model) as tap, RegionTap(model.module) as bare:
        model(images())
        regions = tap.take().regions(SCALES)
        assert torch.equal(regions, bare.take().regions(SCALES))
    with RegionTap(Side(model, map="layer4", head="fc")) as tap:
        model(images())
        assert torch.equal(tap.take().regions(SCALES), regions)


@pytest.mark.parametrize(
    ("layer", "head"), [("layer4", "fc"), ("avgpool", "fc"), ("layer4", ""), ("", "fc")]
)
def test_layers_are_taken_by_name(layer, head):
    model = build(zoo.ResNet).eval()
    with RegionTap(model) as tap, RegionTap(Side(model, map=layer, head=head)) as named:
        model(images())
        assert torch.equal(tap.take().regions(SCALES), named.take().regions(SCALES))
        model(images())
        assert torch.equal(tap.take().regions(SCALES), named.take().regions(SCALES))


def test_a_named_head_is_taken_as_a_whole():
    model = build(lambda: zoo.TimmNet(zoo.ClassifierHead())).eval()
    with RegionTap(model) as tap, RegionTap(Side(model, head="head")) as named:
        model(images())
        inner, outer = tap.take(), named.take()
    assert (inner.head, outer.head) == (model.head.fc, model.head)
    torch.testing.assert_close(outer.regions(SCALES), inner.regions(SCALES))


@pytest.mark.parametrize("last", ["map", "other"])
def test_a_head_that_runs_twice_counts_where_it_gave_the_logits(last):
    class Twice(zoo.ResNet):
        def forward(self, x):
            features = self.layer4(self.conv1(x))
            vectors = {"map": features.mean((2, 3)), "other": features.amax((2, 3))}
            first = "other" if last == "map" else "map"
            self.fc(vectors[first])
            return self.fc(vectors[last])

    model = build(Twice)
    with RegionTap(model) as tap:
        if last == "map":
            model(images())
            assert tap.take().head is model.fc
        else:
            with pytest.raises(ValueError, match="no spatial map of the model"):
                model(images())


def test_another_layer_by_name_is_taken_but_warned_about():
    model = build(zoo.ResNet).eval()
    with RegionTap(Side(model, map="conv1", head="fc")) as tap:
        with pytest.warns(
            RuntimeWarning, match="does not give its logits: if the layers are named"
        ):
            model(images())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model(images())  # said once
        taken = tap.take()
    assert not taken.explains().any()
    expected = region_logits(model.conv1(images()), model.fc.weight, model.fc.bias)
    torch.testing.assert_close(taken.regions(SCALES)[..., 1:], expected[..., 1:])


def test_a_hook_that_changes_what_a_found_head_gives_is_warned_about():
    model = build(zoo.ResNet).eval()
    model.fc.register_forward_hook(lambda module, given, output: 3 * output)
    with RegionTap(model), pytest.warns(RuntimeWarning, match="a hook changes what the head gives"):
        model(images())


def test_a_head_with_dropout_that_trains_is_not_warned_about():
    model = build(zoo.ResNet).train()
    model.fc = nn.Sequential(nn.Dropout(0.5), model.fc)
    with RegionTap(model) as tap:
        model(images())  # warnings are errors
        assert not tap.take().explains().all()


class Cosine(nn.Linear):
    """A linear layer by its class, but not by what it computes."""

    def forward(self, x):
        return 10 * F.linear(F.normalize(x, dim=-1), F.normalize(self.weight, dim=-1))


def test_a_subclass_of_a_linear_layer_is_applied_at_every_position():
    model = build(zoo.ResNet).eval()
    model.fc = Cosine(model.fc.in_features, 5, bias=False)
    features = []
    with RegionTap(model) as tap, torch.no_grad():
        model.avgpool.register_forward_hook(lambda *seen: features.append(seen[1][0]))
        model(images())
        taken = tap.take()
    logit_map = model.fc(features[0].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    expected = F.adaptive_avg_pool2d(logit_map, 2).flatten(2)
    torch.testing.assert_close(taken.regions((1, 2))[..., 1:], expected)
    assert not taken.linear


@pytest.mark.parametrize("hidden", [False, True])
def test_a_head_that_gives_the_logits_is_not_seen_when_it_runs_at_positions(hidden):
    model = build(zoo.ResNet).eval()
    if hidden:
        model.fc = nn.Sequential(model.fc, nn.ReLU(), nn.Linear(5, 5))
    with RegionTap(Side(model, layer="fc")) as tap:
        logits = model(images())
        regions = tap.take().regions((1, 2))
        with pytest.raises(RuntimeError, match="no forward pass"):
            tap.take()
    assert torch.equal(regions[..., 0], logits)


def test_dropout_written_as_a_function_needs_names_or_evaluation_mode():
    model = build(lambda: zoo.TimmResNet(0.5)).train()
    with RegionTap(model) as tap:
        with pytest.raises(ValueError, match="no spatial map of the model"):
            model(images())
        assert not tap._search._maps  # nothing is held after a search in vain
        model.eval()(images())
        model.train()(images())
        assert not tap.take().explains().any()  # dropout is in the logits, not in the cells
    with (
        RegionTap(Side(model, map="layer4", head="fc")) as tap,
        pytest.warns(RuntimeWarning, match="dropout"),
    ):
        model(images())


@pytest.mark.parametrize(
    ("make", "names", "message"),
    [
        (zoo.VGG, (), "no spatial map of the teacher was found whose average"),
        (lambda: zoo.Wrapped(zoo.VGG()), (), "no spatial map of the teacher was found"),
        (lambda: zoo.ViT("avg", 1, fc_norm=True), (), "name the layer that gives the map and the"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(768, 5)), (), "no spatial map of the teach"),
        (zoo.ResNet, ("fc", "fc"), r"has none of shape .* it has \(6, 5\) and \(6, 12\)"),
        (zoo.ResNet, ("conv1", ""), "no spatial map of the teacher"),
        (
            zoo.ResNet,
            ("layer5", "fc"),
            "the teacher has no layer 'layer5'; did you mean 'layer4'",
        ),
        (zoo.ResNet, ("layer4", "head"), "the teacher has no layer 'head'"),
    ],
    ids=["vgg", "vgg inside", "fc_norm", "no map", "no map by name", "other", "layer", "head"],
)
def test_what_cannot_be_told_is_said_in_one_sentence_and_leaves_no_hook(make, names, message):
    model = build(make)
    side = Side(model, "", *names)
    with pytest.raises(ValueError, match=message), RegionTap(side, "teacher"):
        model(images())
    assert hooks(model) == 0


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("passes", [0, 1, 2])
def test_no_hook_is_left_after_success_bad_input_or_an_exception(error, passes):
    model = build(zoo.ResNet)

    def run() -> None:
        with RegionTap(model):
            assert hooks(model) > 1  # the control
            for _ in range(passes):
                model(images())
            if error is not None:
                raise error

    if error is None:
        run()
    else:
        with pytest.raises(error):
            run()
    assert hooks(model) == 0
    pickle.loads(pickle.dumps(model))


def test_an_exception_in_forward_leaves_no_hook_and_no_map():
    model = build(zoo.ResNet)
    with pytest.raises(RuntimeError, match="expected input"), RegionTap(model):
        model(torch.zeros(2, 4, 16, 16))
    assert hooks(model) == 0


def test_the_search_ends_with_one_hook_on_the_map():
    model = build(zoo.ResNet)
    with RegionTap(model):
        model(images())
        assert hooks(model) == 2
        assert len(model.layer4._forward_hooks) == 1


def test_searching_and_taking_change_nothing():
    model, bare = build(lambda: zoo.MobileNet(0.5)), build(lambda: zoo.MobileNet(0.5))
    with RegionTap(model) as tap:
        for step in range(2):
            outputs = []
            for one in (model, bare):
                torch.manual_seed(step)
                outputs.append(one(images()))
                outputs[-1].sum().backward()
            tap.take().regions(SCALES)
            assert torch.equal(*outputs)
    pairs = zip(model.parameters(), bare.parameters(), strict=True)
    assert all(torch.equal(a.grad, b.grad) for a, b in pairs)


def test_the_gradient_of_the_regions_reaches_the_model():
    model = build(zoo.DenseNet)
    with RegionTap(model) as tap:
        model(images())
        tap.take().regions(SCALES)[..., 1:].square().sum().backward()
    assert model.features[0].weight.grad.abs().sum() > 0


def test_activation_checkpointing_does_not_replace_the_map():
    model = build(lambda: zoo.Wrapped(zoo.ResNet()))
    with RegionTap(model) as tap:
        for _ in range(2):
            logits = checkpoint(model, images(), use_reentrant=False)
            taken = tap.take()
            (logits.sum() + taken.regions(SCALES).sum()).backward()
            with pytest.raises(RuntimeError, match="no forward pass of the model was seen"):
                tap.take()


def test_a_second_take_without_a_forward_pass_is_an_error():
    model = build(zoo.ResNet)
    with RegionTap(model) as tap:
        model(images())
        tap.take()
        with pytest.raises(RuntimeError, match="no forward pass of the model was seen"):
            tap.take()


def test_half_precision_is_searched_as_well():
    model = build(zoo.ResNet)
    with RegionTap(model) as tap, torch.autocast("cpu", torch.bfloat16):
        model(images())
        taken = tap.take()
    assert taken.values.dtype == torch.bfloat16
    assert taken.head is model.fc
    assert taken.explains().all()


def test_of_two_maps_with_one_average_the_last_counts():
    model = build(lambda: nn.Sequential(zoo.stem(), nn.AvgPool2d(2), zoo.ClassifierHead()))
    with RegionTap(model) as tap:
        model(images())
        assert tap.take().values.shape == (6, zoo.WIDTH, 2, 2)


def test_the_search_holds_no_more_than_the_last_maps():
    layers = [nn.Conv2d(zoo.WIDTH, zoo.WIDTH, 1) for _ in range(20)]
    model = build(lambda: nn.Sequential(zoo.stem(), *layers, zoo.ClassifierHead()))
    search = Search(model)
    model(images())
    assert len(search._maps) == RECENT
    search.remove()
    assert len(search._maps) == hooks(model) == 0


def test_maps_of_earlier_layers_are_let_go_and_the_last_with_the_hooks():
    model, outputs = build(zoo.ResNet), []
    for layer in model.modules():
        layer.register_forward_hook(lambda *seen: outputs.append(weakref.ref(seen[-1])))

    def alive() -> int:
        gc.collect()
        found = [output() for output in outputs]
        return len({id(x) for x in found if x is not None and x.dim() == 4})

    with RegionTap(model) as tap:
        with torch.no_grad():
            model(images())
        assert alive() == 1  # of all maps the last
    assert alive() == 0
    assert tap is not None  # it is still there, and empty


def test_a_batch_normalisation_in_the_head_is_refused_while_it_trains():
    head = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 5))
    with pytest.raises(ValueError, match="batch normalisation in training mode"):
        region_logits(torch.randn(2, 8, 4, 4), head)
    region_logits(torch.randn(2, 8, 4, 4), head.eval())  # the control
