"""Recording in two processes: tables as of one, and a training that never notices."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from capture_in_ranks import CASES, SAMPLES, Network, plain, train

from kdanalysis import open_run

PROGRAM = Path(__file__).parents[1] / "capture_in_ranks.py"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def together(once) -> Path:
    """Every case, recorded in two ranks."""
    return once("recorded-together", record_together)[0]


def record_together(folder: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*launch, "2", str(PROGRAM), str(folder)],
        capture_output=True,
        text=True,
        timeout=500,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr


def left(together: Path, name: str, rank: int = 0) -> dict:
    return torch.load(together / f"{name}-{rank}.pt", weights_only=True)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process records of the same global batches, by the name of a case."""
    folder = tmp_path_factory.mktemp("alone")

    def record(name: str):
        if not (folder / name).exists():
            train(folder / name, replace(CASES[name], wrap=plain), cuts=(0, SAMPLES))
        return open_run(folder / name)

    return record


def assert_same_table(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert len(expected)
    pd.testing.assert_frame_equal(found, expected, rtol=2e-4, atol=1e-7)


NOUNS = ("magnitude", "share", "confidence", "conflict", "direction", "relation", "agreement")


@pytest.mark.parametrize("name", ["logits", "sharded", "regions", "sharded-regions"])
@pytest.mark.parametrize("noun", NOUNS)
def test_tables_of_logits_are_those_of_one_process_on_the_same_global_batch(
    together, alone, name, noun
):
    found, expected = open_run(together / name).table(noun), alone(name).table(noun)
    assert_same_table(found, expected)
    assert found.n.sum() > 0


@pytest.mark.parametrize(
    "name",
    ["layers", "unused", "inner", "heads", "uneven", "single", "empty", "regions", "sharded"],
)
def test_norms_and_conflicts_at_layers_are_those_of_one_process(together, alone, name):
    found, expected = open_run(together / name).table("layers"), alone(name).table("layers")
    assert_same_table(found, expected)
    assert (found.n == 1).all()  # one rank keeps them


def test_a_rank_reads_a_table_while_the_others_do_not(together):
    found = pd.read_pickle(together / "magnitude.pickle")
    pd.testing.assert_frame_equal(found, open_run(together / "logits").table("magnitude"))


def test_halves_of_the_ranks_have_other_norms(together):
    """The control: what each rank's own samples say is not what the whole batch says."""
    case = replace(CASES["layers"], wrap=plain, steps=1)
    train(together / "half", case, 0)
    whole, half = (
        open_run(together / n).table("layers").query("step == 0") for n in ("layers", "half")
    )
    assert (whole.norm_a / half.norm_a.to_numpy() - 1).abs().median() > 0.1


@pytest.mark.parametrize("name", ["layers", "uneven", "single", "empty"])
def test_the_covariance_at_a_linear_head_is_that_of_all_samples(together, alone, name):
    found, expected = (
        run.table("snr").query("layer == 'head'")
        for run in (open_run(together / name), alone(name))
    )
    assert_same_table(found, expected)
    assert (found.batch == SAMPLES).all()


def matrices(path: Path, column: str) -> np.ndarray:
    """Of step 0, a matrix a layer, as they are stored."""
    rows = pd.concat(pd.DataFrame(batch) for batch in open_run(path).batches(kind="layers"))
    rows = rows[(rows.step == 0) & (rows.layer != "logits")]
    return rows[column].to_numpy().reshape(-1, 4, 4)


@pytest.mark.parametrize("name", ["layers", "uneven"])
def test_covariances_within_and_between_the_ranks_add_up(together, alone, tmp_path, name):
    """Also where they are estimated from halves: what two processes find on their own samples."""
    case, total, count = CASES[name], 0, SAMPLES
    for rank in range(2):
        train(tmp_path / str(rank), replace(case, wrap=plain, steps=1), rank)
        size = case.cuts[rank + 1] - case.cuts[rank]
        within, dot = (matrices(tmp_path / str(rank), c) for c in ("covariance", "dot"))
        total = total + (size - 1) * within + size * dot
    alone(name)
    expected = (total - count * matrices(alone(name).path, "dot")) / (count - 1)
    found = matrices(together / name, "covariance")
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["logits", "layers", "unused", "inner", "heads", "spoilt"])
def test_weights_of_every_rank_are_those_without_a_recorder_bit_for_bit(together, name):
    for rank in range(2):
        bare, watched = (left(together, n, rank)["weights"] for n in ("bare", name))
        assert all(torch.equal(a, b) for a, b in zip(bare, watched, strict=True))
    fresh = list(Network(0).parameters())
    assert not any(torch.equal(a, b) for a, b in zip(bare, fresh, strict=True))  # the control


@pytest.mark.parametrize(
    ("name", "count"),
    [("logits", 0), ("layers", 3), ("heads", 3), ("sharded", 3), ("sharded-regions", 0)],
)
def test_capture_alone_reduces_nothing_and_layers_once_a_captured_step(together, name, count):
    assert [left(together, name, rank)["reductions"] for rank in range(2)] == [count, count]


def test_a_nan_in_one_rank_makes_the_step_unknown_and_no_rank_waits(together):
    table = open_run(together / "spoilt").table("layers")
    assert (table[table.step == 2].non_finite == 1).all()
    assert (table[table.step != 2].n == 1).all()


@pytest.mark.parametrize("name", ["sharded", "sharded-regions", "regions", "layers"])
def test_what_autograd_sent_is_what_the_closed_forms_say(together, name):
    (rows,) = open_run(together / name).batches(["residual"], 1000)
    assert len(rows["residual"]) == 3 * SAMPLES
    assert rows["residual"].max() < 1e-5


def test_regions_train_a_sharded_student_as_one_under_ddp(together):
    sharded, whole = (left(together, n)["weights"] for n in ("sharded-regions", "regions"))
    for a, b in zip(sharded, whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("sharded-layers", "cannot be taken of a sharded student .* its graph leads to copies"),
        ("static", "cannot be taken of a student under DDP with static_graph=True"),
        ("static-inner", "cannot be taken of a student under DDP with static_graph=True"),
        ("sharded-head", "the student has no such regions: its head is sharded apart"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_the_reason(together, name, sentence):
    for rank in range(2):
        with pytest.raises(ValueError, match=sentence):
            raise ValueError(left(together, name, rank)["error"])
    assert not (together / "sharded-layers").exists()
