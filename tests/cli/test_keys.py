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
    assert "or say by --keys which it is, teacher_logits=NAME" in result.stderr
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
        ("teacher=out", "--keys name ['teacher'], which is no column: need one of teacher_logits"),
        ("teacher_logits=x", "has no x: it has gold, mine, out"),
    ],
)
def test_what_cannot_be_read_is_said(run_command, file, keys, message):
    result = run_command("diagnose", file, "--keys", keys)
    assert result.exit_code == 2
    assert message in result.stderr
