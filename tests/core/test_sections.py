"""Graphs walked section by section give the Gram matrices of walks from end to end."""

import weakref
from functools import partial
from math import prod

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from kdanalysis.core import factors, parameters, sections
from kdanalysis.core.factors import Given, Window
from kdanalysis.core.gram import PIECE, gram, listed_gram
from kdanalysis.core.parameters import layer_grams
from kdanalysis.networks.zoo import build_model

TERMS = 3


def chain(width: int = 40) -> nn.Sequential:
    torch.manual_seed(0)
    inner = (nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width, bias=False), nn.Tanh())
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), *inner, nn.Linear(width, 7)).double()


class Own(nn.Module):
    """A model whose forward pass is a function of two linear layers and the input."""

    def __init__(self, run) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.run = nn.Linear(40, 40).double(), nn.Linear(40, 7).double(), run

    def forward(self, x):
        return self.run(self, x)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


def bent(x: torch.Tensor) -> torch.Tensor:
    """A hook on the tensor that is not linear, so that it must act once on the whole gradient."""
    x.register_hook(lambda gradient: 2 * gradient.clamp(-0.01, 0.01))
    return x


def hooked(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return bent(model.b(bent(bent(model.a(x)).relu())))


def hooked_chain(x: torch.Tensor) -> tuple[nn.Module, torch.Tensor]:
    model, values = chain(), x
    for layer in model:
        values = bent(layer(values))
    return model, values


def convolutional(checkpointed: bool = False) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    model = build_model("resnet8", 7).double().train(not checkpointed)
    features = model.stem(torch.randn(5, 3, 8, 8, dtype=torch.float64))
    for block in model.blocks:
        features = (
            checkpoint(block, features, use_reentrant=False) if checkpointed else block(features)
        )
    return model, model.classify(features)


def weight_with_a_hook(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    model.a.weight.register_hook(lambda gradient: 3 * gradient)
    return model.b(model.a(x))


def on_maps(shape: tuple[int, ...], *layers: nn.Module) -> nn.Sequential:
    """A linear layer that makes maps of its input, and layers on them."""
    wide = nn.Linear(40, prod(shape))
    return nn.Sequential(wide, nn.Unflatten(1, shape), *layers, nn.Flatten(), nn.LazyLinear(7))


def bias_with_a_hook() -> nn.Sequential:
    model = on_maps((100, 2, 2), nn.Conv2d(100, 6, 3, padding=1))
    model[2].bias.register_hook(lambda gradient: 3 * gradient)
    return model


UNEVEN = {"stride": (2, 1), "padding": (2, 1), "dilation": (2, 1)}
FEW_PLACES = {  # a model of convolutions with few rows, and how many parameters of it are factors
    "a convolution": (lambda: on_maps((100, 2, 2), nn.Conv2d(100, 6, 3, padding=1)), 2),
    "uneven": (lambda: on_maps((100, 2, 2), nn.Conv2d(100, 6, (3, 2), **UNEVEN, bias=False)), 1),
    "on a line": (lambda: on_maps((100, 4), nn.Conv1d(100, 6, 3, padding="same")), 2),
    "in space": (lambda: on_maps((50, 2, 2, 2), nn.Conv3d(50, 6, 2, padding=1, stride=2)), 2),
    "in groups": (lambda: on_maps((100, 2, 2), nn.Conv2d(100, 6, 3, padding=1, groups=2)), 0),
    "transposed": (lambda: on_maps((100, 2, 2), nn.ConvTranspose2d(100, 90, 3)), 0),
    "used twice": (lambda: on_maps((90, 2, 2), *[nn.Conv2d(90, 90, 3, padding=1)] * 2), 0),
    "a hook on its bias": (bias_with_a_hook, 1),
    "more rows": (lambda: on_maps((20, 2, 2), nn.Conv2d(20, 6, 3, padding=1)), 2),
    "too many rows": (lambda: on_maps((17, 2, 2), nn.Conv2d(17, 6, 3, padding=1)), 0),
}


def with_few_places(case: str, x: torch.Tensor) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return run(FEW_PLACES[case][0]().double(), x)


CASES = {
    **{case: partial(with_few_places, case) for case in FEW_PLACES},
    "chain": lambda x: run(chain(), x),
    "a tensor seen twice": lambda x: run(Own(lambda m, x: m.b(m.a(x) + m.a(x).tanh())), x),
    "a weight used above and below": lambda x: run(Own(lambda m, x: m.b(m.a(m.a(x)))), x),
    "a weight beside its layer": lambda x: run(Own(lambda m, x: m.b(m.a(x) * m.a.weight.sum())), x),
    "hooks on tensors": lambda x: run(Own(hooked), x),
    "hooks where it is cut": lambda x: hooked_chain(x),
    "a hook on a weight": lambda x: run(Own(weight_with_a_hook), x),
    "an own function": lambda x: run(Own(lambda m, x: m.b(Doubled.apply(m.a(x)))), x),
    "parts of a tensor": lambda x: run(
        Own(lambda m, x: m.b(torch.cat(m.a(x).chunk(2, 1)[::-1], 1))), x
    ),
    "three dimensions": lambda x: run(Own(lambda m, x: m.b(m.a(x[:, None]).squeeze(1))), x),
    "checkpointed as a whole": lambda x: run(
        Own(lambda m, x: checkpoint(lambda y: m.b(m.a(y).relu()), x, use_reentrant=False)), x
    ),
    "a residual network": lambda x: convolutional(),
    "checkpointed blocks": lambda x: convolutional(checkpointed=True),
}


def run(model: nn.Module, x: torch.Tensor) -> tuple[nn.Module, torch.Tensor]:
    return model, model(x)


@pytest.fixture
def everywhere(monkeypatch):
    """Graphs are cut wherever they are narrow, however small they are."""
    monkeypatch.setattr(sections, "LARGE", 1)


def passes(logits, gradients, layers) -> dict[str, torch.Tensor]:
    """By one backward pass a term, from end to end."""
    found = {}
    for name, (parameter,) in layers.items():
        rows = []
        for one in gradients:
            parameter.grad = None
            logits.backward(one / len(one), retain_graph=True)
            rows.append(parameter.grad.flatten())
        found[name] = torch.stack(rows) @ torch.stack(rows).T
    return found


@pytest.mark.parametrize("case", CASES)
def test_grams_by_section_are_those_of_backward_passes(everywhere, case):
    model, logits = CASES[case](torch.randn(5, 40, dtype=torch.float64))
    gradients = torch.randn(TERMS, *logits.shape, dtype=torch.float64)
    layers = {name: [p] for name, p in model.named_parameters()}
    random = torch.get_rng_state()
    grams = layer_grams(logits, gradients, layers)
    assert torch.equal(torch.get_rng_state(), random)
    for name, expected in passes(logits, gradients, layers).items():
        torch.testing.assert_close(grams[name], expected)


def cut(model: nn.Module, rows: int = 5) -> list[tuple[list[int], list[int]]]:
    logits = model(torch.randn(rows, 40, dtype=torch.float64))
    parts = sections.sections(logits, list(model.parameters()))
    return [(sorted(p.whole), sorted(f.index for f in p.factors)) for p in parts]


def test_a_chain_is_cut_between_its_layers(everywhere):
    assert cut(chain(), rows=6) == [([5, 6], []), ([4], []), ([2, 3], []), ([0, 1], [])]


def test_a_weight_whose_input_has_few_rows_is_a_factor(everywhere):
    """At most an eighth of its width, 40; what arrives is then small, and less is cut."""
    assert cut(chain(), rows=5) == [([6], [4, 5]), ([3], [2]), ([1], [0])]


@pytest.mark.parametrize("case", FEW_PLACES)
def test_a_convolution_with_few_rows_is_a_factor(everywhere, case):
    """A row is what the kernel sees at a place: 20 of them are few for at least 160 features."""
    model, logits = with_few_places(case, torch.randn(5, 40, dtype=torch.float64))
    inside = {i for i, (name, _) in enumerate(model.named_parameters()) if name[0] in "23"}
    parts = sections.sections(logits, list(model.parameters()))
    found = [f.index for part in parts for f in part.factors if f.index in inside]
    assert len(found) == FEW_PLACES[case][1]


def test_a_walk_makes_no_gradient_of_a_convolutions_weight(everywhere, monkeypatch):
    model, logits = with_few_places("a convolution", torch.randn(5, 40, dtype=torch.float64))
    asked, real = [], parameters._product

    def product(start, inputs, gradient):
        asked.extend(inputs)
        return real(start, inputs, gradient)

    monkeypatch.setattr(parameters, "_product", product)
    gradients = torch.randn(TERMS, *logits.shape, dtype=torch.float64)
    layer_grams(logits, gradients, {n: [p] for n, p in model.named_parameters()})
    assert not any(one is p for one in asked for p in model[2].parameters())
    assert any(one is model[0].bias for one in asked)  # the control


def test_a_weight_used_above_and_below_keeps_the_graph_whole(everywhere):
    assert len(cut(Own(lambda m, x: m.b(m.a(m.a(x)))))) == 1
    assert len(cut(chain())) > 1  # the control


def test_a_small_graph_is_not_cut():
    assert cut(chain(), rows=5) == [([0, 1, 2, 3, 4, 5, 6], [])]


def test_gradients_of_a_section_are_gone_before_those_of_the_next(everywhere, monkeypatch):
    """At most those of one 40 x 40 layer in all terms, of three such layers."""
    alive, most, real = [], [], parameters._product

    def product(*given):
        found = real(*given)
        alive.extend(weakref.ref(g) for g in found if g.shape == (40, 40))
        most.append(sum(ref() is not None for ref in alive))
        return found

    monkeypatch.setattr(parameters, "_product", product)
    model = chain()
    logits = model(torch.randn(6, 40, dtype=torch.float64))
    gradients = torch.randn(TERMS, 6, 7, dtype=torch.float64)
    layer_grams(logits, gradients, {n: [p] for n, p in model.named_parameters()})
    assert len(alive) == 3 * TERMS
    assert max(most) == TERMS


@pytest.mark.parametrize("turn", [lambda g: g, lambda g: g.T])
def test_gradients_in_pieces_are_multiplied_in_float64(turn):
    gradients = [turn(torch.randn(300, 500)) for _ in range(TERMS)]
    rows = torch.stack([g.double().flatten() for g in gradients])
    torch.testing.assert_close(listed_gram(gradients), rows @ rows.T, rtol=1e-12, atol=1e-9)


def test_products_with_an_input_are_those_of_the_weights_gradients():
    given, gradients = torch.randn(9, 400), [torch.randn(9, 7000) for _ in range(TERMS)]
    rows = torch.stack([(g.double().T @ given.double()).flatten() for g in gradients])
    found = listed_gram(gradients, gram(given))
    torch.testing.assert_close(found, rows @ rows.T, rtol=1e-10, atol=1e-6)


def test_what_a_window_sees_is_multiplied_in_pieces_of_its_channels(monkeypatch):
    sizes, channel = [], 4 * 3 * 3 * 3 * 3
    monkeypatch.setattr(factors, "gram", lambda rows: sizes.append(rows.numel()) or gram(rows))
    values = torch.randn(4, 700, 3, 3)  # 36 rows of 6300 features, above a piece
    seen = nn.functional.unfold(values.double(), 3, padding=1).transpose(1, 2).flatten(0, 1)
    found = Given(values, Window((3, 3), (1, 1), (1, 1), (1, 1))).products()
    torch.testing.assert_close(found, seen @ seen.T, rtol=1e-12, atol=1e-9)
    assert sum(sizes) == seen.numel()
    assert PIECE - channel < max(sizes) <= PIECE
