"""Command lines of any values: an answer, or one sentence of ours and nothing left behind."""

import subprocess
import sys

import command_mutants
import pytest

linux = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")


def fuzz(folder, first, count):
    command = [sys.executable, command_mutants.__file__, str(folder), str(first), str(count)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


@linux
def test_six_mutants_of_each_command_end_in_one_sentence_at_most(tmp_path):
    fuzz(tmp_path, 0, 6)


@linux
@pytest.mark.long
def test_three_thousand_mutants_of_each_command_end_in_one_sentence_at_most(tmp_path):
    fuzz(tmp_path, 1000, 3000)


@pytest.mark.parametrize(
    ("fails", "told"),
    [
        ("raise KeyError('x')", "exit 1: "),
        ("raise ValueError('x')", ""),
        ("(Path('half').touch(), 1 / 0)", "exit 1: "),
        ("(Path('half').touch(), open('none'))", "left ['half']"),
    ],
)
def test_control_what_is_no_answer_is_told(fails, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "kdanalysis.store.inventory.verify", lambda _: exec(fails, {"Path": type(tmp_path)})
    )
    assert command_mutants.ended(["verify", "run"])[1].startswith(told or "\0") == bool(told)
