"""Importing kdanalysis costs next to nothing: no heavy package is loaded before it is needed."""

import subprocess
import sys

import pytest

HEAVY = (
    *("torch", "matplotlib", "pandas", "pyarrow", "torchmetrics", "sklearn", "scipy"),
    *("lightning", "transformers"),
)


def loaded(statement: str) -> set[str]:
    """Heavy packages that a fresh interpreter holds after the statement."""
    code = f"{statement}\nimport sys\nprint(*(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_package_loads_nothing_heavy():
    assert loaded("import kdanalysis") == set()


def test_control_loaded_packages_are_seen():
    names = "kdanalysis.draw.figure, kdanalysis.analyzers.base"
    assert {"torch", "matplotlib", "pandas"} <= loaded(f"import {names}")


def test_the_look_loads_no_torch():
    assert "torch" not in loaded("import kdanalysis.draw.look, kdanalysis.draw.panels")


def test_tables_need_neither_matplotlib_nor_torchmetrics():
    nouns = loaded("from kdanalysis.analyzers import load_nouns; load_nouns()")
    assert nouns & {"matplotlib", "torchmetrics", "sklearn"} == set()


NEVER = {"lightning", "transformers", "torchmetrics", "sklearn"}
COMMANDS = {  # what a command must not load, beside what none loads; who needs least comes first
    "--version": set(HEAVY),
    "info run": {"torch", "matplotlib", "scipy"},
    "verify run": {"torch", "matplotlib", "scipy"},
    "table run magnitude": {"matplotlib", "numba", "scipy.stats"},
    "diagnose logits.npz --out card": {"matplotlib.pyplot", "numba", "scipy.stats"},
    "sweep logits.npz --ks 1,2 --out sweep": {"matplotlib.pyplot", "scipy.stats"},
    "compare logits.npz --losses kd,dkd --out losses": {"matplotlib.pyplot", "scipy.stats"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of two steps and a file of logits."""
    import numpy as np
    import torch

    import kdanalysis as kd

    folder = tmp_path_factory.mktemp("commands")
    sides = {name: torch.randn(12, 5) for name in ("student", "teacher")}
    with kd.Recorder(folder / "run", kd.GDKD(k=2), schedule=kd.every(1)) as recorder:
        for _ in range(2):
            recorder.observe(torch.arange(12) % 5, **sides)
    columns = {f"{name}_logits": side.numpy() for name, side in sides.items()}
    np.savez(folder / "logits.npz", **columns, target=np.arange(12) % 5)
    return folder


ONE_AFTER_THE_OTHER = """
import gc, sys
from kdanalysis.cli.main import main
for command, unused in {commands!r}:
    sys.argv = ["kdanalysis", *command.split()]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (command, end.code)
    assert gc.isenabled()
    assert "torch" not in sys.modules or gc.get_freeze_count() > 100_000  # not gone through again
    print("loaded:", command, *(unused & set(sys.modules)))"""


def test_a_command_loads_nothing_that_it_does_not_use(folder, monkeypatch):
    monkeypatch.chdir(folder)
    commands = [(command, unused | NEVER) for command, unused in COMMANDS.items()]
    code = ONE_AFTER_THE_OTHER.format(commands=commands)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith("loaded:")]
    assert said == [f"loaded: {command}" for command in COMMANDS]
