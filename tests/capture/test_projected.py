"""Hidden states and a head in place of logits: the same rows, a residual in those."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from projected_in_ranks import ROWS as ROWS_OF_ALL
from projected_in_ranks import STEPS, WAYS, plain, train
from torch.nn.functional import linear

import kdanalysis as kd
from kdanalysis.capture.projected import SHARDED
from kdanalysis.store.run import StoredRun

LOSS = kd.JSD(0.3, temperature=2.0)
CLASSES, ROWS = 40, 12
ROOT = Path(__file__).parents[2]


def parts():
    torch.manual_seed(0)
    body = torch.nn.Linear(6, 8), torch.nn.Linear(6, 10)
    head = torch.nn.Linear(8, CLASSES), torch.nn.Linear(10, CLASSES)
    with torch.no_grad():
        for one in head:
            one.weight *= 8
    target = torch.randint(0, CLASSES, (ROWS,))
    return body, head, torch.randn(ROWS, 6), target


def record(path, projected, factor=1.0, scale=1.0, cap=None, **options):
    """Two steps of a loss that the user makes of hidden states; ``factor`` mistakes its weight."""
    body, head, x, target = parts()
    step = torch.optim.SGD([*body[0].parameters(), *head[0].parameters()], 0.1)
    options = {"schedule": kd.every(1), "store": kd.Store(dtype="float32")} | options
    with kd.Recorder(path, LOSS, **options) as recorder:
        for _ in range(2):
            hidden = [layer(x) for layer in body]
            made = [
                scale * linear(h, one.weight, one.bias) for h, one in zip(hidden, head, strict=True)
            ]
            logits = made if cap is None else [cap * torch.tanh(one / cap) for one in made]
            sides = [
                kd.Projected(h, one.weight, one.bias, scale=scale, cap=cap)
                for h, one in zip(hidden, head, strict=True)
            ]
            student, teacher = sides if projected else logits
            recorder.observe(target, student=student, teacher=teacher)
            (factor * sum(LOSS(*logits, target).values()).mean()).backward()
            step.step()
            step.zero_grad()
    return next(StoredRun(path).batches())


@pytest.mark.parametrize("options", [{}, {"max_rows": 5}, {"scale": 0.5, "cap": 3.0}], ids=str)
def test_rows_are_those_of_logits_that_are_made_and_the_residual_is_rounding(tmp_path, options):
    found, exact = (record(tmp_path / str(p), p, **options) for p in (True, False))
    for name in ("step", "sample_id", "target", "student_logits", "teacher_logits"):
        torch.testing.assert_close(
            *(torch.tensor(x[name]) for x in (found, exact)), rtol=1e-6, atol=1e-6
        )
    assert len(found["step"]) == 2 * options.get("max_rows", ROWS)
    assert found["residual"].max() < 1e-5


def test_the_residual_sees_a_weight_that_was_not_declared(tmp_path):
    found = record(tmp_path / "run", True, factor=2.0)
    torch.testing.assert_close(torch.tensor(found["residual"]), torch.full((2 * ROWS,), 0.5))


def test_loss_makes_all_logits_and_trains_as_with_them(tmp_path):
    gradients = []
    for projected in (True, False):
        body, head, x, target = parts()
        hidden = [layer(x) for layer in body]
        if projected:
            sides = [
                kd.Projected(h, one.weight, one.bias) for h, one in zip(hidden, head, strict=True)
            ]
        else:
            sides = [one(h) for h, one in zip(hidden, head, strict=True)]
        path = tmp_path / str(projected)
        with kd.Recorder(path, LOSS, schedule=kd.every(1)) as recorder:
            recorder.loss(target, student=sides[0], teacher=sides[1]).backward()
        gradients.append(body[0].weight.grad)
        assert next(StoredRun(path).batches())["residual"].max() < 1e-5
    torch.testing.assert_close(*gradients)


def test_only_rows_of_the_batch_are_made(tmp_path):
    body, head, x, target = parts()
    rows = torch.tensor([1, 4, 7])
    hidden = [layer(x) for layer in body]
    sides = [
        kd.Projected(h, one.weight, one.bias, rows) for h, one in zip(hidden, head, strict=True)
    ]
    with kd.Recorder(tmp_path / "run", LOSS, schedule=kd.every(1)) as recorder:
        recorder.observe(target[rows], student=sides[0], teacher=sides[1])
        logits = [one(h)[rows] for h, one in zip(hidden, head, strict=True)]
        sum(LOSS(*logits, target[rows]).values()).mean().backward()
    found = next(StoredRun(tmp_path / "run").batches())
    torch.testing.assert_close(torch.tensor(found["target"]), target[rows])
    assert found["residual"].max() < 1e-5


def test_what_cannot_be_made_of_hidden_states_is_refused(tmp_path):
    hidden, weight = torch.zeros(3, 4, requires_grad=True), torch.zeros(5, 4)
    with pytest.raises(ValueError, match=r"need hidden states \(m, d\) .* got \(2, 3, 4\)"):
        kd.Projected(torch.zeros(2, 3, 4), weight)
    side, target = kd.Projected(hidden, weight), torch.zeros(3, dtype=torch.long)
    recorder = kd.Recorder(tmp_path / "run", LOSS)
    with pytest.raises(ValueError, match="the student gives 3 rows, and the teacher NoneType"):
        recorder.observe(target, student=side)
    recorder.close()
    regions = kd.Recorder(tmp_path / "two", LOSS, keep=kd.Regions((1, 2)))
    with pytest.raises(ValueError, match="no regions and no layers can be made"):
        regions.observe(target, student=side, teacher=side)
    regions.close()
    with kd.Recorder(tmp_path / "three", LOSS, schedule=kd.every(1)) as recorder:
        with pytest.raises(ValueError, match="the teacher's outputs are probabilities"):
            recorder.observe(target, student=side, teacher=torch.randn(3, 5).softmax(-1))
        assert recorder.step == 0


@pytest.fixture(scope="module")
def together(once):
    """What two ranks recorded of sharded models, and the sentences that refused their parts."""
    return once("projected-together", record_together)[0]


def record_together(folder: Path) -> None:
    launch = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*launch, "--nproc-per-node", "2", str(ROOT / "tests/projected_in_ranks.py"), str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run of one process, and its weights."""
    path = tmp_path_factory.mktemp("alone") / "run"
    return path, train(path, plain)


@pytest.mark.parametrize("name", WAYS)
def test_a_gathered_head_records_in_two_ranks_what_one_process_records(together, alone, name):
    path, weights = alone
    for noun in ("magnitude", "value", "direction", "agreement"):
        tables = [kd.open(run).table(noun) for run in (together / name, path)]
        pd.testing.assert_frame_equal(*tables, rtol=1e-4, atol=1e-6)
    found = torch.cat([torch.tensor(b["residual"]) for b in StoredRun(together / name).batches()])
    assert len(found) == STEPS * ROWS_OF_ALL
    assert found.max() < 1e-5
    for rank in range(2):
        left = torch.load(together / f"{name}-{rank}.pt", weights_only=True)
        torch.testing.assert_close(left["weights"], weights)


@pytest.mark.parametrize("name", WAYS)
def test_a_part_of_a_head_is_refused_in_every_rank(together, name):
    for rank in range(2):
        refused = torch.load(together / f"{name}-{rank}.pt", weights_only=True)["refused"]
        assert refused == {"before": STEPS * [SHARDED], "after": STEPS * [SHARDED]}


def test_steps_that_are_left_out_need_no_call(tmp_path):
    found = []
    for alone in (False, True):
        body, head, x, target = parts()
        optimizer = torch.optim.SGD(body[0].parameters(), 0.1)
        with kd.Recorder(tmp_path / str(alone), LOSS, schedule=kd.every(2)) as recorder:
            for step in range(4):
                hidden = [layer(x) for layer in body]
                if not alone or step % 2 == 0:
                    recorder.step = step
                    pairs = zip(hidden, head, strict=True)
                    sides = [kd.Projected(h, one.weight, one.bias) for h, one in pairs]
                    recorder.observe(target, student=sides[0], teacher=sides[1])
                logits = [one(h) for h, one in zip(hidden, head, strict=True)]
                sum(LOSS(*logits, target).values()).mean().backward()
                optimizer.step()
                optimizer.zero_grad()
        found.append(next(StoredRun(tmp_path / str(alone)).batches()))
    for name in ("step", "student_logits", "residual"):
        assert (found[0][name] == found[1][name]).all()
    assert sorted(set(found[1]["step"].tolist())) == [0, 2]


def test_a_flat_weight_of_one_process_is_a_mistake_of_shape():
    with pytest.raises(ValueError, match=r"the head's weight \(c, d\), got \(2, 3\) and \(15,\)"):
        kd.Projected(torch.ones(2, 3), torch.ones(15))
