"""--keys says what our columns are called in a file, at every command that reads one."""

import numpy as np
import pytest

RNG = np.random.default_rng(0)
TEACHER, STUDENT = RNG.normal(size=(2, 30, 4)).astype(np.float32)


@pytest.fixture
def file(tmp_path):
    np.savez(tmp_path / "x.npz", out=TEACHER, mine=STUDENT, gold=RNG.integers(0, 4, 30))
    return tmp_path / "x.npz"


def test_unusual_names_are_read_where_they_are_given(run_command, file):
    result = run_command("diagnose", file)
    assert result.exit_code == 2
    assert "it has gold, mine, out, need one of teacher_logits" in result.stderr
    assert "or say with --keys which it is: teacher_logits=NAME" in result.stderr
    result = run_command("diagnose", file, "--keys", "teacher_logits=out", "--keys", "target=gold")
    assert result.exit_code == 0, result.stderr
    assert "30 samples, 4 classes" in result.stdout
    assert "accuracy" in result.stdout


@pytest.mark.parametrize("command", [("sweep",), ("compare", "--losses", "kd,dkd")])
def test_both_sides_are_named(run_command, file, command):
    keys = "teacher_logits=out, student_logits=mine,target=gold"
    result = run_command(command[0], file, *command[1:], "--keys", keys)
    assert result.exit_code == 0, result.stderr
    assert "30 samples, 4 classes" in result.stdout


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("teacher_logits", "--keys 'teacher_logits' cannot be read: need COLUMN=NAME"),
        ("=out", "--keys '' cannot be read"),
        ("teacher=out", "--keys names ['teacher'], which is no column: need one of teacher_logits"),
        ("teacher_logits=x", "has no x: it has gold, mine, out"),
    ],
)
def test_what_cannot_be_read_is_said(run_command, file, keys, message):
    result = run_command("diagnose", file, "--keys", keys)
    assert result.exit_code == 2
    assert message in result.stderr


def test_sentences_speak_of_options_as_they_are_typed(run_command, tmp_path):
    padded = np.pad(STUDENT, ((0, 0), (0, 2)))
    np.savez(tmp_path / "padded.npz", teacher_logits=TEACHER, student_logits=padded)
    result = run_command("sweep", tmp_path / "padded.npz")
    assert result.exit_code == 2
    assert "; --vocabulary 4 cuts off padding" in result.stderr


def test_a_table_is_of_the_columns_that_are_named_less_the_padding(run_command, tmp_path, file):
    named = ("--keys", "teacher_logits=out,student_logits=mine,target=gold")
    expected = run_command("table", file, "agreement", *named)
    assert expected.exit_code == 0, expected.stderr
    padded = [np.pad(x, ((0, 0), (0, 2)), constant_values=-np.inf) for x in (TEACHER, STUDENT)]
    np.savez(tmp_path / "padded.npz", out=padded[0], mine=padded[1], gold=np.load(file)["gold"])
    cut = run_command("table", tmp_path / "padded.npz", "agreement", *named, "--vocabulary", "4")
    assert cut.stdout.splitlines()[1:] == expected.stdout.splitlines()[1:]
