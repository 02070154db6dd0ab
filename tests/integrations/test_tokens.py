"""Tokens are numbered apart, whatever the numbers of their rows are kept in."""

import pytest
import torch

from kdanalysis.integrations.tokens import IGNORED, select_tokens


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("shift", [False, True])
def test_every_token_has_an_id_of_its_own(dtype, shift):
    logits, labels = torch.randn(3, 4, 5), torch.ones(3, 4, dtype=torch.long)
    labels[0, 2] = IGNORED
    rows = torch.tensor([0, 4096, 2**31 - 1], dtype=dtype)
    tokens = select_tokens(logits, logits, labels, rows, shift)
    expected = [row * 2**20 + place for row in rows.tolist() for place in range(shift, 4)]
    expected.remove(2)
    assert tokens.sample_id.tolist() == expected
