"""Every door that reads two sides says where they do not belong together, and says it once."""

import re
import warnings

import numpy as np
import pytest
import torch

import kdanalysis as kd

RNG = np.random.default_rng(0)
TEACHER = (3 * RNG.normal(size=(601, 30))).astype(np.float32)
STUDENT = (TEACHER + RNG.normal(size=(601, 30))).astype(np.float32)
APART = {"student": STUDENT[:-1], "teacher": TEACHER[1:]}
SPARSE = kd.SparseTeacher.from_logits(TEACHER[1:], 4)
TOLD = r"the rows of student and teacher seem to be one apart: .* of 512 rows "
FILE = {f"{name}_logits": side for name, side in APART.items()}

DOORS = {
    "truncation": lambda student: kd.truncation(student, TEACHER[1:], ks=(4,)),
    "sparse truncation": lambda student: kd.truncation(student, SPARSE, ks=(4,)),
    "sweep": lambda student: kd.sweep(student, TEACHER[1:], ks=(4,)),
    "sweep_samples": lambda student: kd.sweep_samples(student, TEACHER[1:], ks=(4,)),
    "compare": lambda student: kd.compare(FILE | {"student_logits": student}, losses="kd,gdkd:k=3"),
    "diagnose": lambda student: kd.diagnose(FILE | {"student_logits": student}),
}


@pytest.mark.parametrize("door", DOORS)
def test_rows_one_apart_are_told_once_at_every_door(door):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        DOORS[door](STUDENT[:-1])
    assert [bool(re.match(TOLD, str(one.message))) for one in told] == [True]
    assert told[0].filename == __file__


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
    with pytest.warns(RuntimeWarning, match="of 100 rows"):
        kd.truncation(APART["student"][:100], APART["teacher"][:100], ks=(4,))


def test_labels_one_apart_are_told_and_missing_ones_say_nothing(tmp_path):
    target = TEACHER.argmax(1)
    kd.diagnose({"teacher_logits": TEACHER, "target": target})
    kd.diagnose({"teacher_logits": TEACHER, "target": np.where(target < 15, -100, target)})
    with pytest.warns(RuntimeWarning, match="rows of teacher and target seem to be one apart"):
        kd.diagnose({"teacher_logits": TEACHER[1:], "target": target[:-1]})
