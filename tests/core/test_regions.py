"""Region logits against torch's own pooling and layers, and their gradients against autograd."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import gradcheck

from kdanalysis import feature_gradients, region_logits
from kdanalysis.core.regions import averaging, check_scales

SCALES = (1, 2, 4)
SIZES = [(8, 8), (4, 4), (7, 7), (6, 9), (5, 4)]


def problem(
    height: int, width: int, n: int = 3, d: int = 6, c: int = 5
) -> tuple[torch.Tensor, ...]:
    """Float64 map (n, d, h, w), weight (c, d), bias (c,)."""
    generator = torch.Generator().manual_seed(height * 100 + width)
    shapes = (n, d, height, width), (c, d), (c,)
    return tuple(torch.randn(s, dtype=torch.float64, generator=generator) for s in shapes)


def published(features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Scales 1 and 2 pooled from the 4x4 cells, then the head, by torch's own layers."""
    finest = F.adaptive_avg_pool2d(features, 4)
    pooled = [F.adaptive_avg_pool2d(finest, m).flatten(2) for m in SCALES]
    return F.linear(torch.cat(pooled, -1).mT, weight, bias).mT


@pytest.mark.parametrize("size", SIZES)
def test_the_logit_map_is_pooled_to_the_cells_of_every_scale(size):
    features, weight, bias = problem(*size)
    logit_map = F.conv2d(features, weight[..., None, None], bias)
    cells = [F.adaptive_avg_pool2d(logit_map, m).flatten(2) for m in SCALES]
    torch.testing.assert_close(region_logits(features, weight, bias), torch.cat(cells, -1))


@pytest.mark.parametrize("size", SIZES)
def test_official_pooling_is_the_published_one_and_differs_where_4_does_not_divide(size):
    features, weight, bias = problem(*size)
    ours, theirs = (
        region_logits(features, weight, bias, official_pooling=o) for o in (False, True)
    )
    torch.testing.assert_close(theirs, published(features, weight, bias))
    divides = size[0] % 4 == size[1] % 4 == 0
    assert torch.allclose(ours, theirs) is divides
    torch.testing.assert_close(ours[..., 5:], theirs[..., 5:])  # the 4x4 cells are the same


def test_the_published_global_region_counts_the_rows_of_a_7x7_map_unequally():
    """The 4x4 cells have 2 or 3 rows and share the second, fourth and sixth."""
    whole = averaging((1, 1, 7, 7), SCALES, official_pooling=True)[0].unflatten(0, (7, 7))
    cells = torch.tensor([1 / 2, 1 / 2 + 1 / 3, 1 / 3, 2 / 3, 1 / 3, 1 / 3 + 1 / 2, 1 / 2])
    torch.testing.assert_close(whole.sum(1), cells.double() / 4)
    plain = averaging((1, 1, 7, 7), SCALES)[0]
    torch.testing.assert_close(plain, torch.full_like(plain, 1 / 49))


@pytest.mark.parametrize("scale", [2, 4])
def test_the_mean_of_the_cells_is_the_global_logit_where_the_scale_divides_the_map(scale):
    features, weight, bias = problem(8, 12)
    regions = region_logits(features, weight, bias, (1, scale))
    torch.testing.assert_close(regions[..., 1:].mean(-1), regions[..., 0])
    pooled = F.linear(features.mean((2, 3)), weight, bias)
    torch.testing.assert_close(regions[..., 0], pooled)
    odd = region_logits(problem(7, 7)[0], weight, bias, (1, scale))  # the control: cells overlap
    assert not torch.allclose(odd[..., 1:].mean(-1), odd[..., 0])


def eye(layer: nn.Linear | nn.Conv2d) -> nn.Module:
    layer.weight.data, layer.bias.data = torch.eye(6).reshape(layer.weight.shape), torch.zeros(6)
    return layer


@pytest.mark.parametrize(
    "head",
    [
        lambda linear, conv: (linear.weight, linear.bias),
        lambda linear, conv: (conv.weight, conv.bias),
        lambda linear, conv: (linear,),
        lambda linear, conv: (conv,),
        lambda linear, conv: (nn.Sequential(nn.Flatten(), nn.Dropout(0.5), linear),),
        lambda linear, conv: (nn.Sequential(eye(nn.Linear(6, 6)), linear).double(),),
        lambda linear, conv: (nn.Sequential(eye(nn.Conv2d(6, 6, 1)), conv).double(),),
    ],
    ids=["weight", "1x1 weight", "layer", "1x1 layer", "dropout", "two layers", "two 1x1 layers"],
)
def test_every_kind_of_head_gives_the_same_regions(head):
    features, weight, bias = problem(4, 6)
    linear, conv = nn.Linear(6, 5), nn.Conv2d(6, 5, 1)
    linear.weight.data, linear.bias.data = weight, bias
    conv.weight.data, conv.bias.data = weight[..., None, None], bias
    expected = region_logits(features, weight, bias)
    torch.testing.assert_close(region_logits(features, *head(linear, conv)), expected)


def test_a_nonlinear_head_is_applied_at_every_position_and_then_averaged():
    features, *_ = problem(4, 4)
    head = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5)).double()
    regions = region_logits(features, head)
    for sample in range(3):
        at = [[head(features[sample, :, y, x]) for x in range(4)] for y in range(4)]
        corner = (at[0][2] + at[0][3] + at[1][2] + at[1][3]) / 4  # second of the 2x2 cells
        torch.testing.assert_close(regions[sample, :, 2], corner)
        torch.testing.assert_close(regions[sample, :, 5 + 4 * 3 + 1], at[3][1])


def test_a_grouped_convolution_is_applied_as_it_is():
    features, *_ = problem(4, 4)
    head = nn.Conv2d(6, 4, 1, groups=2).double()
    expected = F.adaptive_avg_pool2d(head(features), 2).flatten(2)
    torch.testing.assert_close(region_logits(features, head, scales=(1, 2))[..., 1:], expected)


def test_no_bias_is_none_at_all():
    features, weight, bias = problem(4, 4)
    bare = region_logits(features, weight)
    torch.testing.assert_close(bare + bias[:, None], region_logits(features, weight, bias))


def test_tokens_are_a_map_row_by_row():
    features, weight, bias = problem(4, 4)
    tokens, expected = features.flatten(2).mT, region_logits(features, weight, bias)
    torch.testing.assert_close(region_logits(tokens, weight, bias), expected)
    wide, weight, bias = problem(6, 9)
    regions = region_logits(wide.flatten(2).mT, weight, bias, grid=(6, 9))
    torch.testing.assert_close(regions, region_logits(wide, weight, bias))


def test_a_class_token_gives_the_global_region_or_is_dropped():
    features, weight, bias = problem(4, 4)
    front = torch.randn(3, 1, 6, dtype=torch.float64)
    tokens = torch.cat((front, features.flatten(2).mT), 1)
    expected = region_logits(features, weight, bias)
    dropped = region_logits(tokens, weight, bias, class_token="drop")
    torch.testing.assert_close(dropped, expected)
    kept = region_logits(tokens, weight, bias)
    torch.testing.assert_close(kept[..., 1:], expected[..., 1:])
    torch.testing.assert_close(kept[..., 0], F.linear(front[:, 0], weight, bias))
    registers = torch.cat((front, torch.randn(3, 4, 6).double(), tokens[:, 1:]), 1)
    torch.testing.assert_close(region_logits(registers, weight, bias, grid=(4, 4)), kept)


OPTIONS = [{}, {"official_pooling": True}, {"scales": (1, 3)}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", ["map", "tokens", "class token", "dropped"])
def test_gradients_through_the_head_are_those_of_autograd(kind, options):
    features, weight, bias = problem(7, 7)
    options = dict(options)
    if kind != "map":
        features = features.flatten(2).mT.contiguous()
    if "class" in kind or "drop" in kind:
        features = torch.cat((features[:, 5:6] + 1, features), 1)
        options["class_token"] = "drop" if kind == "dropped" else "global"
    features.requires_grad_()
    regions = region_logits(features, weight, bias, **options)
    upstream = torch.randn(regions.shape, dtype=torch.float64)
    (expected,) = torch.autograd.grad(regions, features, upstream)
    pulled = feature_gradients(upstream, weight[..., None, None], features.shape, **options)
    torch.testing.assert_close(pulled, expected)
    assert expected.abs().sum() > 0


def test_region_logits_agree_with_finite_differences():
    features, weight, bias = (x.requires_grad_() for x in problem(5, 4, n=2, d=2, c=3))
    assert gradcheck(region_logits, (features, weight, bias))


def test_half_precision_is_pooled_in_float32():
    features, weight, bias = (x.float() for x in problem(7, 7))
    features = features.bfloat16()
    expected = region_logits(features.double(), weight.double(), bias.double())
    with torch.autocast("cpu", torch.bfloat16):
        regions = region_logits(features, weight, bias)
    assert regions.dtype == torch.float32
    torch.testing.assert_close(regions.double(), expected, rtol=1e-5, atol=1e-5)


MAP = torch.zeros(2, 8, 4, 4)
WEIGHT = torch.zeros(5, 8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: region_logits(MAP[..., :2], WEIGHT),
            "scale 4 asks for 4x4 cells, but the map has",
        ),
        (
            lambda: region_logits(MAP[..., :2], WEIGHT, scales=(1,), official_pooling=True),
            "scale 4",
        ),
        (
            lambda: region_logits(MAP, WEIGHT[:, :7]),
            "head takes 7 features, the map has 8 channels",
        ),
        (
            lambda: feature_gradients(torch.zeros(2, 5, 21), WEIGHT[:, :7], MAP.shape),
            "head takes 7",
        ),
        (
            lambda: region_logits(MAP, nn.Sequential(nn.Linear(7, 5), nn.ReLU())),
            "cannot be applied",
        ),
        (
            lambda: region_logits(MAP, torch.zeros(5, 8, 3, 3)),
            r"is \(c, d\) or \(c, d, 1, 1\), got",
        ),
        (lambda: region_logits(MAP, nn.Conv2d(8, 5, 3)), "cannot be applied to the 8 channels"),
        (lambda: region_logits(MAP, WEIGHT, scales=(2, 4)), "must rise from 1"),
        (lambda: region_logits(MAP, WEIGHT, scales=(1, 4, 2)), "must rise from 1"),
        (lambda: check_scales((1, 2.5)), r"scales\[1\] must be a whole number, got 2.5"),
        (lambda: check_scales(4), "scales must be a list or tuple, each entry a whole .* got 4"),
        (lambda: check_scales(()), "must rise from 1"),
        (
            lambda: region_logits(MAP, WEIGHT, scales=(1, 3), official_pooling=True),
            "official pooling",
        ),
        (lambda: region_logits(MAP[:, :, 0], WEIGHT[:, :4], grid=(2, 8)), "needs 16 tokens, got 8"),
        (lambda: region_logits(torch.zeros(2, 15, 8), WEIGHT), "15 tokens are no square grid"),
        (lambda: region_logits(torch.zeros(2, 8), WEIGHT), r"a map .* or tokens .* got \(2, 8\)"),
        (lambda: region_logits(MAP, WEIGHT, class_token="mean"), "class_token is 'global' or"),
        (
            lambda: feature_gradients(MAP[:, :, 0], nn.ReLU(), (2, 8, 4, 4)),
            "head ReLU is not linear",
        ),
    ],
)
def test_what_cannot_be_pooled_is_answered_in_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
