"""A student that is its teacher has no gradient of KD: one sentence says so, and no page fails."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import kdanalysis as kd
from kdanalysis.cli.main import app

N, C = 60, 12
SAYS = "the student gives its teacher's probabilities in every row, where KD has no gradient"


@pytest.fixture(scope="module")
def sides():
    """Logits by column, of a student that is its teacher and of another one."""
    teacher = np.random.default_rng(0).normal(0, 2, (N, C)).astype("float32")
    other = teacher + np.random.default_rng(1).normal(0, 1, (N, C)).astype("float32")
    rest = {"teacher_logits": teacher, "target": teacher.argmax(1)}
    return {"same": rest | {"student_logits": teacher}, "other": rest | {"student_logits": other}}


@pytest.fixture(scope="module")
def files(sides, tmp_path_factory):
    folder = tmp_path_factory.mktemp("logits")
    for name, columns in sides.items():
        np.savez(folder / f"{name}.npz", **columns)
    return [str(folder / f"{name}.npz") for name in sides]


def command(*given: str) -> str:
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("study", [kd.sweep_study, kd.truncation_study])
def test_a_study_says_why_its_numbers_are_nan(study, sides):
    found = study(sides["same"], ks=(1, 3))
    assert SAYS in found.facts["no gradient"]
    assert found.facts["no gradient"].replace("'", "&#39;") in found.html()
    assert "no gradient" not in study(sides["other"], ks=(1, 3)).facts


def test_a_file_of_nan_alone_is_not_said_to_be_its_teacher(sides):
    lost = {name: np.full_like(column, np.nan) for name, column in sides["same"].items()
            if name != "target"}  # fmt: skip
    assert "no gradient" not in kd.sweep_study(lost, ks=(1, 3)).facts


def test_the_commands_print_it(files):
    swept = command("sweep", files[0], "--ks", "1,3")
    truncated = command("truncation", files[0], "--ks", "1,3")
    assert SAYS in swept
    assert SAYS in truncated
    assert "nan%" not in truncated
    assert "Not to be read" not in truncated
    assert f"No gradient of same: {SAYS}" in command("compare", *files)
    assert SAYS not in command("sweep", files[1], "--ks", "1,3")


def test_it_is_compared_with_another_student(sides):
    study = kd.compare(sides)
    assert study.facts["no gradient"].startswith(f"of same: {SAYS}")
    alone = kd.compare({"one": sides["other"], "two": sides["other"]})
    assert [*study.explorer.grams] == ["other"]
    first, told, direction, _ = study.lead.verdict
    assert told.startswith(f"same: {SAYS}")
    assert direction in alone.lead.verdict
    assert "no gradient" not in alone.facts
    assert "same leads other" in first
    both = kd.compare({"one": sides["same"], "two": sides["same"]})
    assert both.explorer is None
    assert f"one, two: {SAYS}" in both.html().replace("&#39;", "'")


def test_what_it_has_not_is_said_of_it_alone(sides):
    nouns, unread = ("direction", "share", "conflict"), "Not to be read from these data: "
    alone, both = kd.compare({"one": sides["other"], "two": sides["other"]}), kd.compare(sides)
    for noun in nouns:
        other = alone.readings[noun]
        gone, there = both.readings[noun].sentence.split("\n", 1)
        assert gone.startswith(f"same: {unread}the table has no value of ")
        assert there == other.sentence.split("two: ")[0].rstrip("\n").replace("one: ", "other: ")
        assert both.readings[noun].number == other.number.split("\n")[0].replace("one: ", "other: ")
    neither = kd.compare({"one": sides["same"], "two": sides["same"]})
    assert all(neither.readings[noun].sentence.startswith(unread) for noun in nouns)


def test_losses_on_it_are_refused(sides):
    with pytest.raises(ValueError, match=r"no sample of same has a gradient of 'kd' and of anoth"):
        kd.compare({"other": sides["other"], "same": sides["same"]}, "kd,dkd")


def test_a_sparse_teacher_is_its_student_up_to_rounding(sides):
    teacher = torch.from_numpy(sides["same"]["teacher_logits"])
    sparse = kd.SparseTeacher.from_logits(teacher, 4)
    study = kd.truncation(teacher, sparse, ks=(1, 4))
    assert SAYS in study.facts["no gradient"]
    assert study.tables["truncation"].share.isna().all()
    other = kd.truncation(teacher + 1e-6 * torch.randn(N, C), sparse, ks=(1, 4))
    assert "no gradient" not in other.facts
