"""Rows of the layers table become matrices: each dot product in its place, no record cut in two."""

import numpy as np
import pytest

from kdanalysis.store.grams import gram_batches, gram_index
from kdanalysis.store.info import RunInfo
from kdanalysis.store.run import StoredRun
from kdanalysis.store.writer import PartWriter

LAYERS, TERMS = ("layer3", "fc"), ("ce", "high", "low")


def value(step, rank, layer, a, b) -> float:
    return step + 0.1 * rank + 0.01 * layer + 0.001 * a + 0.0001 * b


def write(root, steps, rank=0, noise=True, existing="error", skip=()):
    with PartWriter(root, rank, RunInfo(6), existing=existing) as writer:
        for step in steps:
            cells = [
                (layer, a, b)
                for layer in range(2)
                for a in range(3)
                for b in range(3)
                if (a, b) not in skip
            ]
            dots = np.array([value(step, rank, *cell) for cell in cells])
            columns = {
                "step": np.full(len(cells), step),
                "epoch": np.full(len(cells), step // 2),
                "layer": [LAYERS[cell[0]] for cell in cells],
                "term_a": [TERMS[cell[1]] for cell in cells],
                "term_b": [TERMS[cell[2]] for cell in cells],
                "dot": dots,
            }
            if noise:
                columns |= {"covariance": -dots, "count": np.full(len(cells), 64 + rank)}
            writer.write(columns, kind="layers")


@pytest.mark.parametrize("batch_size", [1, 7, 18, 19, 65_536])
def test_every_dot_product_is_in_its_place_whatever_the_batch(tmp_path, batch_size):
    write(tmp_path / "run", range(4))
    write(tmp_path / "run", range(1, 3), rank=1)
    run = StoredRun(tmp_path / "run")
    index = gram_index(run)
    assert (index.layers, index.terms) == (LAYERS, TERMS)
    assert index.steps.tolist() == [0, 1, 2, 3]
    batches = list(gram_batches(run, index, batch_size))
    found = {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}
    records = [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0)]
    assert found["step"].tolist() == [step for step, _ in records for _ in LAYERS]
    assert found["epoch"].tolist() == [step // 2 for step, _ in records for _ in LAYERS]
    assert found["layer"].tolist() == [0, 1] * 6
    assert found["count"].tolist() == [64 + rank for _, rank in records for _ in LAYERS]
    expected = np.array(
        [
            [[value(step, rank, layer, a, b) for b in range(3)] for a in range(3)]
            for step, rank in records
            for layer in range(2)
        ]
    )
    np.testing.assert_array_equal(found["gram"], expected)
    np.testing.assert_array_equal(found["covariance"], -expected)


def test_a_missing_pair_is_nan_and_missing_noise_no_column(tmp_path):
    write(tmp_path / "run", [3], noise=False, skip={(1, 2)})
    run = StoredRun(tmp_path / "run")
    (batch,) = gram_batches(run, gram_index(run))
    assert sorted(batch) == ["epoch", "gram", "layer", "step"]
    assert np.isnan(batch["gram"][:, 1, 2]).all()
    assert np.isnan(batch["gram"]).sum() == 2


def test_a_run_without_layers_has_an_empty_index(tmp_path):
    PartWriter(tmp_path / "run", 0, RunInfo(6)).close()
    run = StoredRun(tmp_path / "run")
    index = gram_index(run)
    assert (index.layers, index.terms, index.steps.tolist()) == ((), (), [])
    assert list(gram_batches(run, index)) == []
