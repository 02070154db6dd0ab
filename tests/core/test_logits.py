"""One check for every door: probabilities are refused however rounded, logits never are."""

import warnings

import pytest
import torch

from kdanalysis.core.logits import check_logits, check_tensor

torch.manual_seed(0)
LOGITS = 3 * torch.randn(40, 10)
SOFTMAX = LOGITS.softmax(-1)
UNFILLED = torch.where(torch.arange(40)[:, None] % 4 == 1, 0.0, SOFTMAX)


@pytest.mark.parametrize(
    ("values", "total"),
    [
        (SOFTMAX, "1"),
        (SOFTMAX[:1], "1"),
        (SOFTMAX.bfloat16(), "1"),
        (SOFTMAX.half(), "1"),
        ((100 * SOFTMAX).round() / 100, "1"),
        ((255 * SOFTMAX).round() / 255, "1"),
        ((255 * SOFTMAX).round(), "255"),
        (100 * SOFTMAX, "100"),
        (UNFILLED, "1"),
        (SOFTMAX.where(torch.arange(40)[:, None] > 0, torch.nan), "1"),
        ((3 * torch.randn(30, 1000)).softmax(-1), "1"),
    ],
    ids=range(11),
)
def test_probabilities_are_refused(values, total):
    with pytest.raises(ValueError, match=rf"^z are probabilities.* up to about {total} .*; give z"):
        check_logits("z", values, "give z")


@pytest.mark.parametrize(
    "values",
    [
        LOGITS,
        SOFTMAX.log(),
        LOGITS.relu(),
        LOGITS + 40,
        torch.zeros(40, 10),
        torch.full((3, 10), torch.nan),
        SOFTMAX[:3] * torch.tensor([[1.0], [2.0], [0.5]]),
        torch.tensor([[0.4, 0.5]]),
        LOGITS[:15].sigmoid(),
        LOGITS.sigmoid() / 2,
        torch.tensor([[0.0, 1.0], [0.6, 0.8]]) * 3,
    ],
    ids=range(11),
)
def test_logits_pass(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_logits("z", values, "give z")


def test_sigmoids_are_warned_of():
    with pytest.warns(RuntimeWarning, match="z lie between 0 and 1 in all of 40 rows"):
        check_logits("z", LOGITS.sigmoid(), "give z")


def test_a_tensor_of_other_dimensions_and_what_is_none_are_named():
    check_tensor("teacher", torch.ones(3, 2), 2)
    with pytest.raises(ValueError, match="teacher must be a torch tensor of 2 dimensions, got a "):
        check_tensor("teacher", torch.ones(3), 2)
    with pytest.raises(ValueError, match="target must be a torch tensor, got None"):
        check_tensor("target", None)
