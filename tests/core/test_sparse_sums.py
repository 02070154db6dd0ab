"""Known tokens that were divided by their sum are told from those of a teacher that is sure."""

import warnings

import pytest
import torch

import kdanalysis as kd

LOGITS = torch.linspace(0, 40, 20 * 50).view(20, 50).sin() * 4 + torch.arange(50) / 40


def largest(k: int, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    found = (LOGITS * scale).log_softmax(-1).topk(k)
    return found.indices, found.values


def test_tokens_that_were_divided_by_their_sum_are_warned_of():
    ids, logprobs = largest(6)
    divided = logprobs.log_softmax(-1)
    divided[:3] = logprobs[:3]
    with pytest.warns(
        RuntimeWarning, match=r"in 17 of 20 rows the known tokens add up to 1.*row 3"
    ):
        kd.SparseTeacher(ids, divided, vocabulary=50)


def sums_to(whole, least: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Two tokens a row, the second of so much, that together have so much."""
    probabilities = torch.tensor([[whole - least, least]], dtype=torch.float64)
    return torch.tensor([[0, 1]]).expand(20, 2), probabilities.log().expand(20, 2)


@pytest.mark.parametrize("vocabulary", [None, 50])
@pytest.mark.parametrize(
    "rows",
    [
        largest(6),
        largest(6, 20.0),  # so sure that next to nothing is left
        largest(1, 100.0),
        sums_to(1 - 0.02, 0.1),  # a fifth of the least one is left
        sums_to(1.0, 1e-6),  # rounding
        largest(50),  # all of them
        tuple(x[:8] for x in (largest(6)[0], largest(6)[1].log_softmax(-1))),  # few
    ],
)
def test_others_are_not(rows, vocabulary):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kd.SparseTeacher(*rows, vocabulary=vocabulary)


def test_a_known_rest_is_taken_at_its_word():
    ids, logprobs = largest(6)
    divided, rest = logprobs.log_softmax(-1), torch.full((20,), -torch.inf)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kd.SparseTeacher(ids, divided, log_other=rest, vocabulary=50)
