"""Every door that reads two sides says where they do not belong together, and says it once."""

import re
import sys
import warnings
from unittest.mock import patch

import numpy as np
import pytest
import torch

import kdanalysis as kd
from kdanalysis.cli.main import main
from kdanalysis.pages.known import known_study
from kdanalysis.pages.run import report

RNG = np.random.default_rng(0)
TEACHER = (3 * RNG.normal(size=(601, 30))).astype(np.float32)
STUDENT = (TEACHER + RNG.normal(size=(601, 30))).astype(np.float32)
APART = {"student": STUDENT[:-1], "teacher": TEACHER[1:]}
SPARSE = kd.SparseTeacher.from_logits(TEACHER[1:], 4)
TOLD = r"the rows of student and teacher seem to be one apart: .* of 254 rows "
FILE = {f"{name}_logits": side for name, side in APART.items()}

DOORS = {
    "truncation": lambda student: kd.truncation(student, TEACHER[1:], ks=(4,)),
    "sparse truncation": lambda student: kd.truncation(student, SPARSE, ks=(4,)),
    "sweep_study": lambda student: kd.sweep_study(FILE | {"student_logits": student}, ks=(4,)),
    "sweep": lambda student: kd.sweep(student, TEACHER[1:], ks=(4,)),
    "sweep_samples": lambda student: kd.sweep_samples(student, TEACHER[1:], ks=(4,)),
    "compare of students": lambda student: kd.compare(
        {"a": FILE | {"student_logits": student}, "b": FILE | {"student_logits": STUDENT[1:]}}
    ),
    "compare": lambda student: kd.compare(FILE | {"student_logits": student}, losses="kd,gdkd:k=3"),
    "diagnose": lambda student: kd.diagnose(FILE | {"student_logits": student}),
}
WHOSE = dict.fromkeys(("truncation", "sweep_study", "compare", "diagnose"), "arrays: ")
WHOSE |= {"compare of students": "a: "}


@pytest.mark.parametrize("door", DOORS)
def test_rows_one_apart_are_told_once_at_every_door(door):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        study = DOORS[door](STUDENT[:-1])
    (message,) = [str(one.message) for one in told]
    whose, text = re.fullmatch(f"(.*: )?({TOLD}.*)", message).groups()
    assert whose == WHOSE.get(door)
    assert told[0].filename == __file__
    if hasattr(study, "facts"):  # and on the page
        assert text in " ".join(map(str, study.facts.values()))


@pytest.mark.parametrize("door", DOORS)
def test_rows_that_belong_together_say_nothing_at_any_door(door):
    DOORS[door](STUDENT[1:])


@pytest.mark.parametrize("door", DOORS)
def test_probabilities_and_logarithms_to_base_2_are_refused_at_every_door(door):
    likely = torch.from_numpy(STUDENT[1:]).softmax(-1).numpy()
    with pytest.raises(ValueError, match=r"student.logits are probabilities: \d+ rows are not"):
        DOORS[door](likely)
    with pytest.raises(ValueError, match=r"student.logits are logarithms to base 2: in all of 16"):
        DOORS[door](np.log2(likely))


def test_a_batch_is_not_the_end(monkeypatch):
    monkeypatch.setattr("kdanalysis.pages.truncation.BATCH", 7 * 30)
    with pytest.warns(RuntimeWarning, match=TOLD):
        kd.truncation(APART["student"], APART["teacher"], ks=(4,))
    with pytest.warns(RuntimeWarning, match="of 98 rows"):
        kd.truncation(APART["student"][:100], APART["teacher"][:100], ks=(4,))


def test_labels_one_apart_are_told_and_missing_ones_say_nothing():
    target = TEACHER.argmax(1)
    kd.diagnose({"teacher_logits": TEACHER, "target": target})
    kd.diagnose({"teacher_logits": TEACHER, "target": np.where(target < 15, -100, target)})
    with pytest.warns(RuntimeWarning, match="rows of teacher and target seem to be one apart"):
        kd.diagnose({"teacher_logits": TEACHER[1:], "target": target[:-1]})


def kept_run(path, shift: int):
    """A run of kept classes, whose labels are the teacher's classes some rows before."""
    with kd.Recorder(path, keep=kd.TopK(4), schedule=kd.every(1)) as recorder:
        student, teacher = torch.from_numpy(STUDENT).requires_grad_(), torch.from_numpy(TEACHER)
        recorder.observe(teacher.argmax(1).roll(shift), student=student, teacher=teacher)
    return path


@pytest.mark.parametrize("kept", ["report", "diagnose", "truncation", "compare"])
def test_labels_of_a_run_of_kept_classes_are_looked_at(tmp_path, kept):
    looks = {
        "report": lambda path: report({path.name: kd.open_run(path)}),
        "diagnose": kd.diagnose,
        "truncation": lambda path: kd.truncation_study(path, ks=(4,)),
        "compare": lambda path: kd.compare(path, losses="kd:temperature=1,dkd:temperature=1"),
    }
    looks[kept](kept_run(tmp_path / "right", 0))
    with pytest.warns(RuntimeWarning, match="^apart: the rows of teacher and target .* after") as w:
        found = looks[kept](kept_run(tmp_path / "apart", 1))
    assert len(w) == 1
    told = " ".join(map(str, found.facts.values()))
    assert "the rows of teacher and target seem to be one apart" in told


def test_labels_in_the_file_of_a_sparse_teacher_are_looked_at(tmp_path):
    columns = {"ids": SPARSE.ids.numpy(), "logprobs": SPARSE.logprobs.numpy()}
    target = TEACHER[1:].argmax(1)
    np.savez(tmp_path / "right.npz", **columns, target=target)
    np.savez(tmp_path / "apart.npz", **columns, target=np.roll(target, 1))
    known_study(tmp_path / "right.npz")
    with pytest.warns(RuntimeWarning, match="rows of teacher and target .* of the row after in"):
        study = known_study(tmp_path / "apart.npz")
    assert "rows of teacher and target" in study.facts["likely wrong"]


@pytest.mark.filterwarnings("default")
def test_the_command_says_it_in_one_line(tmp_path, capsys):
    np.savez(tmp_path / "top.npz", ids=SPARSE.ids.numpy(), logprobs=SPARSE.logprobs.numpy())
    np.savez(tmp_path / "student.npz", student_logits=STUDENT[:-1])
    call = ("truncation", tmp_path / "top.npz", "--student", tmp_path / "student.npz", "--ks", "4")
    argv = patch.object(sys, "argv", ["kdanalysis", *map(str, call)])
    with argv, pytest.raises(SystemExit) as end:
        main()
    assert end.value.code in (None, 0)
    told = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(told) == 1
    assert told[0].startswith("kdanalysis: warning: the rows of student and teacher seem to be one")
