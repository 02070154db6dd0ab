"""Targets and sample ids are found where loaders put them, or the batch is described."""

import pytest
import torch

from kdanalysis.integrations.batch import unpack

X, Y, INDEX = torch.zeros(2, 3), torch.tensor([0, 1]), torch.tensor([7, 8])


@pytest.mark.parametrize(
    ("batch", "has_ids"),
    [
        ((X, Y), False),
        ([X, Y, INDEX], True),
        ({"x": X, "labels": Y}, False),
        ({"image": X, "label": Y, "index": INDEX}, True),
        ({"image": X, "y": Y, "target": Y, "sample_id": INDEX}, True),
    ],
)
def test_targets_and_sample_ids_are_found(batch, has_ids):
    target, sample_id = unpack(batch)
    assert target is Y
    assert sample_id is (INDEX if has_ids else None)


@pytest.mark.parametrize(
    ("batch", "what"),
    [({"image": X, "class": Y}, r"\['class', 'image'\]"), ((X,), "tuple"), (X, "Tensor")],
)
def test_a_batch_of_another_form_is_described(batch, what):
    with pytest.raises(ValueError, match=f"found no targets in a batch of {what}: .* unpack="):
        unpack(batch)
