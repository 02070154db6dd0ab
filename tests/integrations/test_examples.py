"""The examples of both integrations run, and record what they say they do."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from kdanalysis import open_run

SCRIPTS = Path(__file__).parents[2] / "scripts"


def run(monkeypatch, name: str, *options: str) -> None:
    monkeypatch.setattr(sys, "argv", [name, *options])
    runpy.run_path(str(SCRIPTS / name), run_name="__main__")


# See test_lightning.py; workers and modes are Lightning's advice, the class is deprecated by torch.
@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated")
@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
@pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training")
def test_lightning_example(monkeypatch, tmp_path, capsys):
    run(monkeypatch, "lightning_example.py", "--epochs", "1", "--out", str(tmp_path))
    found = open_run(tmp_path / "run")
    assert found.steps().tolist() == [0, 5, 10, 15, 20]
    (rows,) = found.batches(("residual",), 100_000)
    assert np.nanmax(rows["residual"]) < 1e-4
    assert "kd/norm/high" in (tmp_path / "lightning_logs/version_1/metrics.csv").read_text()
    assert "accuracy" in capsys.readouterr().out


# The examples take an accelerator where there is one; the Trainer pins memory for it regardless.
@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true but no accelerator")
def test_huggingface_example(monkeypatch, tmp_path, capsys):
    (tmp_path / "text").write_text("a line that is long enough to learn\n" * 300)
    options = ("--text", str(tmp_path / "text"), "--steps", "6", "--out", str(tmp_path))
    run(monkeypatch, "huggingface_example.py", *options)
    found = open_run(tmp_path / "run")
    assert found.steps().tolist() == [0, 5]
    (rows,) = found.batches(("residual",), 100_000)
    assert len(rows["residual"]) == 2 * 256
    assert np.nanmax(rows["residual"]) < 1e-4
    assert "kd/norm/high" in capsys.readouterr().out
