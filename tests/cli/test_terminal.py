"""Tables on the terminal: every row, every name as it is written."""

import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from kdanalysis.cli.main import speak_plainly
from kdanalysis.cli.terminal import literal, print_facts, print_frame


def test_a_piped_table_is_whole(capsys):
    name = "[red]" + "long " * 60
    print_frame(pd.DataFrame({"class": [name, "b"], "value": [0.25, 12.5]}), title="Table")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Table"
    assert name.strip() in lines[3]
    assert [line.split()[-1] for line in lines[3:5]] == ["0.25", "12.50"]


def test_control_characters_do_not_reach_the_terminal():
    assert literal("a\x1b[2Jb\n").plain == "a\\x1b[2Jb\\n"


def test_facts_are_pairs(capsys):
    print_facts({"classes": 10, "loss": "GDKD(k=5)"})
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["classes", "10"],
        ["loss", "GDKD(k=5)"],
    ]


def test_columns_line_up_whatever_the_width_of_their_letters(capsys):
    frame = pd.DataFrame({"loss": ["kd", "日本"], "n": [1, 20_000], "last": ["a", "bbb"]})
    print_frame(frame)
    assert capsys.readouterr().out.splitlines() == [
        "loss        n   last",
        "─" * 20,
        "kd          1   a",
        "日本   20,000   bbb",
    ]


def test_a_table_too_wide_for_the_terminal_is_folded(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    print_frame(pd.DataFrame({"loss": ["a very long loss of many words " * 2], "n": [1]}))
    lines = re.sub(r"\x1b\[\d+m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 40
    assert "words" in " ".join(lines)


@pytest.mark.parametrize(
    ("encoding", "minus"), [("ascii", "-1 +- 2 x 3-4"), ("cp1252", "-1 ± 2 \u00d7 3\u20134")]
)
def test_what_an_encoding_lacks_is_written_otherwise(tmp_path, monkeypatch, encoding, minus):
    with (tmp_path / "said").open("w+", encoding=encoding) as stream:
        monkeypatch.setattr("sys.stdout", stream)
        speak_plainly()
        print_frame(pd.DataFrame({"loss": ["日本"], "n": [1]}), title="\u22121 ± 2 \u00d7 3\u20134")
        stream.seek(0)
        title, _, line, row = stream.read().splitlines()
    assert (title, set(line), row.split()) == (minus, {"-"}, ["\\u65e5\\u672c", "1"])


def test_commands_end_well_where_their_output_is_of_one_alphabet(tmp_path):
    sides = {"teacher_logits": 3 * np.eye(3) - 1.5, "student_logits": np.eye(3) - 0.5}
    np.savez(tmp_path / "é.npz", **sides, target=[0, 1, 2])
    call = [sys.executable, "-m", "kdanalysis", "compare", tmp_path / "é.npz", "--losses", "kd,dkd"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(call, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "-----" in done.stdout
