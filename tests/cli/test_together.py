"""Under torchrun the ranks share the rows: tables as of one process, one voice, one end."""

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands_in_ranks import unite_into

from kdanalysis import sweep
from kdanalysis.core import cores
from kdanalysis.core.ranks import Ranks
from kdanalysis.store.info import RunInfo
from kdanalysis.store.writer import PartWriter

PROGRAM = Path(__file__).parents[1] / "commands_in_ranks.py"
ROOT = Path(__file__).parents[2]
ROWS, CLASSES = 101, 6


def torchrun(ranks: int, *program: object, timeout: float = 500) -> subprocess.CompletedProcess:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [*launch, "--nproc-per-node", str(ranks), *map(str, program)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )


def arrays(rows: int = ROWS) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    teacher, student = 3 * rng.standard_normal((2, rows, CLASSES)).astype(np.float32)
    teacher[rows // 3, 2] = np.nan
    student[-1, 0] = np.inf
    target = rng.integers(0, CLASSES, rows)
    return {"teacher_logits": teacher, "student_logits": student, "target": target}


def soft() -> dict[str, np.ndarray]:
    """Labels in the first third, which is the first rank's, and distributions in the others."""
    found = arrays()
    hot = np.eye(CLASSES)[found["target"]]
    mixed = 0.75 * hot + 0.25 * np.roll(hot, 1, 1)
    return found | {"target": np.where(np.arange(ROWS)[:, None] < ROWS // 3, hot, mixed)}


@pytest.fixture(scope="module")
def inputs(once) -> Path:
    return once("inputs-of-ranks", write_inputs)[0]


def write_inputs(folder: Path) -> None:
    np.savez(folder / "both.npz", **arrays())
    np.savez(folder / "two.npz", **{name: values[:2] for name, values in arrays().items()})
    bad_label, last_third = arrays(), arrays()
    bad_label["target"][-1] = CLASSES
    np.savez(folder / "label.npz", **bad_label)
    odds = np.exp(last_third["teacher_logits"][60:])
    last_third["teacher_logits"][60:] = odds / odds.sum(1, keepdims=True)
    np.savez(folder / "probabilities.npz", **last_third)
    for rank in range(3):
        np.savez(folder / f"differs-{rank}.npz", **arrays(100 + rank // 2))
    for rank in (0, 2):
        np.savez(folder / f"lacks-{rank}.npz", **arrays())
    np.savez(folder / "soft.npz", **soft())
    write_run(folder / "run")
    write_run(folder / "other", steps=3)
    (folder / "taken").mkdir()
    (folder / "taken" / "file").touch()


def write_run(root: Path, steps: int = 5) -> None:
    """Two shards of 60 samples a step, half of them copies."""
    for rank in range(2):
        with PartWriter(root, rank, RunInfo(CLASSES), "float32", rows_per_part=50) as writer:
            for step in range(steps):
                columns = {name: values[:60] for name, values in arrays().items()}
                ids = np.arange(60) + 30 * rank
                scalars = {"step": np.full(60, step), "epoch": np.zeros(60, np.int32)}
                writer.write(columns | scalars | {"sample_id": ids})


FINE = {
    "diagnose": ("diagnose", "both.npz"),
    "sweep": ("sweep", "both.npz", "--ks", "1,2,5", "--temperatures", "1,4"),
    "diagnose of two rows": ("diagnose", "two.npz"),
    "sweep of two rows": ("sweep", "two.npz", "--ks", "3"),
    "diagnose of a run": ("diagnose", "run"),
    "sweep of a run": ("sweep", "run", "--ks", "1,3"),
    "compare": ("compare", "both.npz", "--losses", "kd,gdkd:k=2,nkd", "--match-norm"),
    "compare of two rows": ("compare", "two.npz", "--losses", "kd,gdkd:k=2"),
    "diagnose of soft targets": ("diagnose", "soft.npz"),
    "compare of soft targets": ("compare", "soft.npz", "--losses", "ce,kd,dkd"),
    "truncation of soft targets": (
        *("truncation", "soft.npz", "--ks", "2", "--losses", "ce,kd,dkd"),
    ),
    "compare of a run": ("compare", "run", "--losses", "kd,gdkd:k=2"),
    "compare of runs": ("compare", "run", "other"),
}
REFUSED = {
    "a label that one rank meets": (("diagnose", "label.npz"), "has target 6 in row 100"),
    "probabilities that one rank meets": (("diagnose", "probabilities.npz"), "are probabilities"),
    "a file that one rank lacks": (("sweep", "lacks-{rank}.npz"), "lacks-1.npz does not exist"),
    "files that differ": (
        ("diagnose", "differs-{rank}.npz"),
        "do not see the same data: rank 0 has 100 rows and ",
    ),
    "a bad k": (("sweep", "both.npz", "--ks", "9"), "k must be a whole number from 1 to 5"),
    "a bad option": (("sweep", "both.npz", "--kss", "9"), "the nearest one is --ks"),
    "no such device": (("diagnose", "both.npz", "--device", "cuda:9"), "--device cuda:9: "),
}


def arguments(inputs: Path, command: tuple[str, ...]) -> list[str]:
    files = {path.name for path in inputs.iterdir()} | {"lacks-{rank}.npz", "differs-{rank}.npz"}
    return [str(inputs / word) if word in files else word for word in command]


@pytest.fixture(scope="module")
def together(once, inputs) -> dict:
    """Everything run in three ranks: the exit codes by name, and what was printed."""
    return once("commands-together", partial(run_together, inputs))[1]


def run_together(inputs: Path, folder: Path) -> dict:
    sweep_into = [*arguments(inputs, FINE["sweep"]), "--out"]
    commands = {name: arguments(inputs, command) for name, command in FINE.items()}
    for name, (command, _) in REFUSED.items():
        commands[name] = [*arguments(inputs, command), "--out", str(folder / "refused")]
    commands["a folder in use"] = [*sweep_into, str(inputs / "taken")]
    commands["an error of ours"] = ["raise", *sweep_into, str(folder / "broken")]
    commands["a full disk"] = ["full", *sweep_into, str(folder / "full"), "--ks", "4"]
    (folder / "commands.json").write_text(json.dumps(list(commands.values())))
    done = torchrun(3, PROGRAM, folder / "commands.json")
    assert done.returncode == 0, done.stderr
    codes = [json.loads((folder / f"codes-{rank}.json").read_text()) for rank in range(3)]
    of_all = dict(zip(commands, zip(*codes, strict=True), strict=True))
    return {"codes": of_all, "folder": folder, "stdout": done.stdout, "stderr": done.stderr}


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    return {path.stem: pd.read_pickle(path) for path in folder.iterdir()}


def assert_same_tables(found: dict[str, pd.DataFrame], expected: dict[str, pd.DataFrame]) -> None:
    """Hold counts to be equal, and what is made of sums to be equal to 1e-12.

    A standard error is the root of a small difference of sums: equal to 1e-7.
    """
    assert found.keys() == expected.keys() != set()
    for name, right in expected.items():
        errors = [column for column in right if str(column).endswith("_se")]
        for columns, rtol in ((errors, 1e-7), (right.columns.drop(errors), 1e-12)):
            same = {"rtol": rtol, "atol": 1e-14}  # a cosine near 0 is a difference
            pd.testing.assert_frame_equal(found[name][columns], right[columns], **same)
        counts = right.select_dtypes("integer").columns
        assert found[name][counts].equals(right[counts])


@pytest.mark.parametrize("name", FINE)
def test_tables_of_three_ranks_are_those_of_one_process(
    together, inputs, run_command, tmp_path, monkeypatch, name
):
    assert together["codes"][name] == (0, 0, 0)
    monkeypatch.setattr(Ranks, "unite", unite_into(tmp_path / "alone"))
    monkeypatch.setattr(cores, "_forks", lambda: 0)  # the tables are counted in their order
    result = run_command(*arguments(inputs, FINE[name]))
    assert result.exit_code == 0, result.stderr
    assert together["stdout"].count(result.stdout) == 1  # what one rank prints, others do not
    expected = tables(tmp_path / "alone")
    assert_same_tables(tables(together["folder"] / f"tables-{list(FINE).index(name)}"), expected)
    other = {noun: table.head(len(table) - 1) for noun, table in expected.items()}
    with pytest.raises(AssertionError):  # the control
        assert_same_tables(other, expected)


def test_ranks_warn_of_nothing(together):
    assert "Warning" not in together["stderr"]


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_in_one_rank_ends_all_with_one_sentence(together, name):
    assert together["codes"][name] == (2, 2, 2)
    lines = [line for line in together["stderr"].splitlines() if REFUSED[name][1] in line]
    assert len(lines) == 1
    assert lines[0].startswith("kdanalysis: error: ")


def test_what_only_the_writing_rank_sees_ends_all(together):
    assert together["codes"]["a folder in use"] == (2, 2, 2)
    assert together["stderr"].count("taken exists already") == 1
    assert together["codes"]["a full disk"] == (2, 2, 2)
    assert together["stderr"].count("No space left on device") == 1


def test_an_error_of_ours_in_one_rank_ends_all(together):
    assert together["codes"]["an error of ours"] == (1, 1, 1)
    assert together["stderr"].count("unexpected RuntimeError: boom") == 1


def test_nothing_is_left_of_what_was_refused(together):
    left = [path.name for path in together["folder"].iterdir() if path.is_dir()]
    assert [name for name in left if not name.startswith("tables-")] == []


def test_the_death_of_a_rank_ends_the_others_and_leaves_nothing(inputs, tmp_path):
    command = ["kill", *arguments(inputs, FINE["diagnose"]), "--out", str(tmp_path / "out")]
    (tmp_path / "commands.json").write_text(json.dumps([command]))
    before = time.monotonic()
    done = torchrun(2, PROGRAM, tmp_path / "commands.json")
    assert done.returncode != 0
    assert "Signal 9 (SIGKILL)" in done.stderr
    assert time.monotonic() - before < 60
    assert not list(tmp_path.glob("*out*"))
    assert not list(tmp_path.glob(".*"))


def test_the_command_itself_runs_in_two_ranks(inputs, tmp_path):
    command = [*arguments(inputs, FINE["sweep"]), "--out", tmp_path / "out"]
    done = torchrun(2, "-m", "kdanalysis", *command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"{ROWS} samples, {CLASSES} classes") == 1
    assert done.stdout.count(f"wrote {tmp_path / 'out'}: report.html, tables") == 1
    assert "kdanalysis" not in done.stderr
    assert "101" in (tmp_path / "out" / "report.html").read_text()
    both = arrays()
    finite = np.isfinite(both["teacher_logits"] + both["student_logits"]).all(-1)
    sides = [both[side][finite] for side in ("student_logits", "teacher_logits")]
    expected = sweep(*sides, temperatures=(1, 4), ks=(1, 2, 5)).assign(non_finite=2)
    written = pd.read_parquet(tmp_path / "out" / "tables" / "sweep.parquet")
    assert_same_tables({"sweep": written}, {"sweep": expected})


def test_the_command_itself_is_refused_once(inputs, tmp_path):
    command, sentence = REFUSED["a label that one rank meets"]
    command = [*arguments(inputs, command), "--out", tmp_path / "out"]
    done = torchrun(2, "-m", "kdanalysis", *command)
    assert done.returncode != 0
    assert done.stderr.count(sentence) == 1
    assert done.stderr.count("exitcode  : 2") == 2  # torchrun's own report
    assert list(tmp_path.iterdir()) == []
