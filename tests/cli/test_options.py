"""Every option of every command is taken, or refused in one sentence with exit code 2."""

from collections.abc import Iterator

import numpy as np
import pytest
import typer

from kdanalysis.cli.main import app

COMMANDS = typer.main.get_command(app).commands
FILES = {  # what a command looks at; those of images find none and end there
    **{name: ["both.npz"] for name in ("diagnose", "sweep", "truncation")},
    "compare": ["both.npz", "--losses", "kd,dkd"],
    "sparsify": ["both.npz", "--out", "top.parquet", "-k", "3", "--overwrite"],
    "regions": ["cells.npz", "--scales", "1,2"],
    **{name: ["gdkd"] for name in ("info", "verify")},
    "table": ["gdkd", "magnitude"],
    "report": ["gdkd", "--out", "page.html", "--overwrite"],
    "export": ["gdkd", "--out", "rows.npz", "--overwrite"],
    "ladder": ["student.pt", "teacher.pt", "--data", "none"],
    "quickstart": ["--data", "none"],
    "train": ["--data", "none", "--teacher", "resnet8", "--student", "resnet8", "--out", "runs"],
}
WRONG = ("x", "nan", "", "-1")


def options() -> Iterator[tuple[str, str]]:
    """Command and option, of those that take a value and do not draw a page."""
    for name, command in COMMANDS.items():
        for one in command.params:
            long = max(one.opts, key=len)
            if long.startswith("-") and not one.is_flag and long not in ("--out", "--figures"):
                yield name, long


@pytest.fixture
def files(run_folder, monkeypatch):
    monkeypatch.chdir(run_folder.parent)
    rng = np.random.default_rng(0)
    logits, cells = rng.normal(size=(2, 20, 6)), rng.normal(size=(2, 20, 6, 5))
    target = rng.integers(0, 6, 20)
    np.savez("both.npz", teacher_logits=logits[0], student_logits=logits[1], target=target)
    np.savez("cells.npz", teacher_regions=cells[0], student_regions=cells[1], target=target)


@pytest.mark.parametrize(("command", "option"), [*options()])
def test_an_option_is_taken_or_refused_in_a_sentence(run_command, files, undrawn, command, option):
    any_will_do = option == "--seed"
    for value in WRONG[:2] if any_will_do else WRONG:
        result = run_command(command, *FILES[command], option, value)
        if result.exit_code != 0:
            (sentence,) = result.stderr.splitlines()
            assert result.exit_code == 2, f"{value!r}: {sentence}"
            assert sentence.startswith("kdanalysis: error: ")
            assert "unexpected" not in sentence
