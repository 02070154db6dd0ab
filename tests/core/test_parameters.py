"""Gram matrices of parameter gradients: those that one backward pass a term leaves in ``grad``."""

from itertools import combinations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import kdanalysis as kd
from kdanalysis.core.gram import term_gradients
from kdanalysis.core.parameters import half_covariances, layer_grams
from kdanalysis.networks.names import find_layers
from kdanalysis.networks.zoo import build_model
from tests.core.reference import backward_gradients, covariance, flat

LOSS = kd.Sum(kd.CrossEntropy(), kd.GDKD(k=3, temperature=2.0))
LAYERS = ("conv1", "layer1", "layer3.*", "fc")


class Problem:
    """A student in training mode with a forward pass, and everything around it, in float64."""

    def __init__(self, size: int = 6, training: bool = True) -> None:
        torch.manual_seed(0)
        self.model = build_model("resnet14", 7).double().train(training)
        self.x = torch.randn(size, 3, 8, 8, dtype=torch.float64)
        self.teacher = 3 * torch.randn(size, 7, dtype=torch.float64)
        self.target = torch.randint(7, (size,))
        self.layers = {
            name: tuple(layer.learning().values())
            for name, layer in find_layers(self.model, LAYERS).items()
        }
        self.logits = self.model(self.x)

    def values(self) -> dict[str, torch.Tensor]:
        return LOSS(self.model(self.x), self.teacher, self.target)

    def gradients(self) -> torch.Tensor:
        return term_gradients(LOSS, self.logits.detach(), self.teacher, self.target)

    def grams(self, **rest) -> dict[str, torch.Tensor]:
        return layer_grams(self.logits, self.gradients(), self.layers, **rest)


def test_grams_are_those_of_one_backward_pass_a_term():
    problem = Problem()
    grams = problem.grams()
    assert list(grams) == ["conv1", "layer1", "layer3.0", "layer3.1", "fc"]
    for name, parameters in problem.layers.items():
        means = torch.stack(
            [flat(lambda t=t: problem.values()[t].mean(), parameters) for t in LOSS.terms]
        )
        torch.testing.assert_close(grams[name], means @ means.T)


def test_the_gram_of_several_layers_is_the_sum_of_theirs():
    problem = Problem()
    union = {"all": [p for layer in problem.layers.values() for p in layer]}
    whole = layer_grams(problem.logits, problem.gradients(), union)["all"]
    torch.testing.assert_close(whole, sum(problem.grams().values()))


def test_all_terms_together_are_the_gradient_that_training_gets():
    problem = Problem()
    total = {name: gram.sum().sqrt() for name, gram in problem.grams().items()}
    sum(problem.values().values()).mean().backward()
    for name, parameters in problem.layers.items():
        norm = torch.cat([p.grad.flatten() for p in parameters]).norm()
        torch.testing.assert_close(total[name], norm)


def test_half_covariances_average_over_all_halves_to_the_sample_covariance():
    problem = Problem(size=4, training=False)
    layers = {name: problem.layers[name] for name in ("layer3.1", "fc")}
    found = {name: [] for name in layers}
    for first in combinations(range(4), 2):
        order = torch.tensor([*first, *(i for i in range(4) if i not in first)])
        halves = half_covariances(problem.logits, problem.gradients(), layers, order)
        for name, matrix in halves.items():
            found[name].append(matrix)
    for name, parameters in layers.items():
        _, samples = backward_gradients(problem.values, parameters)
        torch.testing.assert_close(torch.stack(found[name]).mean(0), covariance(samples))


@pytest.mark.parametrize("size", [4, 5])
def test_every_sample_but_an_odd_one_is_in_one_of_the_halves(size):
    problem = Problem(size=size, training=False)
    layers = {"fc": problem.layers["fc"]}
    order = torch.tensor([2, 0, 3, 1, 4][:size])
    found = half_covariances(problem.logits, problem.gradients(), layers, order)["fc"]
    _, samples = backward_gradients(problem.values, layers["fc"])
    difference = (samples[:, 2] + samples[:, 0] - samples[:, 3] - samples[:, 1]) / 4
    torch.testing.assert_close(found, 4 * difference @ difference.T)


def test_of_an_odd_batch_one_sample_is_left_out_of_the_halves():
    problem = Problem(size=3, training=False)
    layers = {"fc": problem.layers["fc"]}
    found = [
        half_covariances(problem.logits, problem.gradients(), layers, torch.tensor(order))["fc"]
        for order in ([0, 1, 2], [0, 2, 1], [1, 2, 0])
    ]
    _, samples = backward_gradients(problem.values, layers["fc"])
    torch.testing.assert_close(torch.stack(found).mean(0), covariance(samples))


def test_a_single_sample_has_no_covariance():
    problem = Problem(size=1, training=False)
    found = half_covariances(problem.logits, problem.gradients(), problem.layers, torch.tensor([0]))
    assert list(found) == list(problem.layers)
    assert all(matrix.shape == (4, 4) and matrix.isnan().all() for matrix in found.values())


def test_the_graph_gradients_random_numbers_and_buffers_stay_as_they_are():
    problem = Problem()
    before = {name: value.clone() for name, value in problem.model.state_dict().items()}
    random, fired = torch.get_rng_state(), []
    for parameter in problem.model.parameters():
        parameter.register_post_accumulate_grad_hook(fired.append)

    problem.grams()
    half_covariances(problem.logits, problem.gradients(), problem.layers, torch.randperm(6))

    assert all(parameter.grad is None for parameter in problem.model.parameters())
    assert fired == []
    assert all(torch.equal(before[n], v) for n, v in problem.model.state_dict().items())
    torch.set_rng_state(random)
    sum(LOSS(problem.logits, problem.teacher, problem.target).values()).mean().backward()
    assert len(fired) == len(list(problem.model.parameters()))  # the control: the graph is whole


def test_no_second_forward_pass_is_run():
    problem, passes = Problem(), []
    for module in problem.model.modules():
        module.register_forward_hook(lambda *_: passes.append(1))
    problem.grams()
    assert passes == []
    problem.model(problem.x)
    assert passes  # the control


def test_a_scale_saves_small_gradients_in_half_precision():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(8, 5))
    x, d = torch.randn(4, 8), 1e-8 * torch.randn(2, 4, 5)
    logits = (x @ weight).half()
    flushed = layer_grams(logits, d, {"w": [weight]})["w"]
    kept = layer_grams(logits, d, {"w": [weight]}, scale=2.0**16)["w"]
    exact = torch.stack([(x.T @ one / 4).flatten().double() for one in d])
    longest = exact.square().sum(-1).max().item()
    torch.testing.assert_close(kept, exact @ exact.T, rtol=0, atol=2e-3 * longest)
    assert (flushed == 0).all()


def test_gradients_are_summed_in_float64():
    weight = nn.Parameter(torch.ones(1, 3))
    logits = weight.expand(1, 3) * 1.0
    gradients = torch.tensor([[[1.0, 0.0, 0.0]], [[1e-8, 1.0, 0.0]]])
    gram = layer_grams(logits, gradients, {"w": [weight]})["w"]
    assert gram.dtype == torch.float64
    assert gram[1, 1].item() == 1.0 + float(torch.tensor(1e-8)) ** 2


def test_a_layer_off_the_path_has_gradients_of_zero():
    problem = Problem()
    unused = nn.Linear(3, 3).double()
    layers = problem.layers | {"unused": tuple(unused.parameters())}
    grams = layer_grams(problem.logits, problem.gradients(), layers)
    assert torch.equal(grams["unused"], torch.zeros(4, 4, dtype=torch.float64))
    assert (grams["fc"].diagonal() > 0).all()


def test_layers_of_another_model_are_refused():
    problem, other = Problem(), nn.Linear(3, 3).double()
    layers = {"a": [other.weight], "b": [other.bias]}
    with pytest.raises(RuntimeError, match="do not depend on the layers a, b: they belong to"):
        layer_grams(problem.logits, problem.gradients(), layers)


def test_logits_without_a_graph_are_refused():
    problem = Problem()
    with pytest.raises(RuntimeError, match="carry no graph, so the layers have no gradient"):
        layer_grams(problem.logits.detach(), problem.gradients(), problem.layers)


def test_checkpointed_blocks_give_the_same_grams():
    problem = Problem(training=False)
    model = problem.model
    features = model.stem(problem.x)
    for block in model.blocks:
        features = checkpoint(block, features, use_reentrant=False)
    logits = model.classify(features)
    grams = layer_grams(logits, problem.gradients(), problem.layers)
    for name, gram in problem.grams().items():
        torch.testing.assert_close(grams[name], gram)
