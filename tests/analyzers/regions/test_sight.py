"""Sights hold the teacher's class and confidence of every cell; nobody chooses the images."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from kdanalysis.analyzers.regions.sight import image_entropy, sight_table, spread_places
from tests.analyzers.reference import regions, targets

TEACHER, TARGET = regions(1)[:6], targets(2, 40, 5)[:6]
PLACES = [(m, i, j) for m in (1, 2, 4) for i in range(m) for j in range(m)]


def test_a_row_is_a_cell_with_its_class_and_confidence():
    table = sight_table(TEACHER, TARGET, torch.arange(6) + 50)
    assert len(table) == 6 * 21
    for n in range(6):
        rows = table[table.sample_id == n + 50]
        assert list(rows[["scale", "row", "column"]].itertuples(index=False, name=None)) == PLACES
        p = softmax(TEACHER[n].numpy(), axis=0)
        assert rows["class"].tolist() == p.argmax(0).tolist()
        np.testing.assert_allclose(rows.confidence, p.max(0))
        assert rows.differs.tolist() == (p.argmax(0) != p[:, 0].argmax()).tolist()
        assert (rows.label == TARGET[n].item()).all()


def test_the_entropy_is_that_of_the_finest_cells():
    found = image_entropy(TEACHER)
    for n in range(6):
        counts = np.unique(TEACHER[n].numpy().argmax(0)[5:], return_counts=True)[1]
        assert found[n].item() == pytest.approx(entropy(counts))


def test_images_are_spread_from_the_clearest_to_the_most_ambiguous():
    found = torch.tensor([0.5, 0.1, torch.nan, 0.9, 0.3, 0.7])
    assert spread_places(found, 3) == [1, 0, 3]
    assert spread_places(found, 5) == [1, 4, 0, 5, 3]
    assert spread_places(found, 50) == [1, 4, 0, 5, 3]
    assert spread_places(torch.zeros(4), 2) == [0, 3]
