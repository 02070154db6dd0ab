"""The study of truncation: six tables with sentences and pictures, from arrays, files and runs."""

import numpy as np
import pytest

import kdanalysis as kd

RNG = np.random.default_rng(0)
TEACHER = (3 * RNG.normal(size=(40, 30))).astype(np.float32)
STUDENT = (TEACHER + RNG.normal(size=(40, 30))).astype(np.float32)
NOUNS = ["truncation"] + [
    f"truncation_{name}" for name in ("direction", "tail", "payers", "bias", "temperature")
]


def test_the_tables_come_in_the_order_in_which_people_look():
    study = kd.truncation(STUDENT, TEACHER, ks=(1, 4), temperatures=(1, 2))
    assert list(study.tables) == NOUNS
    assert list(study.readings) == NOUNS
    assert [section.name for section in study.sections] == NOUNS
    assert all(section.figures for section in study.sections)
    assert study.facts["K"] == "1, 4"
    assert study.facts["temperatures"] == "1, 2"


@pytest.mark.parametrize("temperatures", [(1,), (1, 2)])
def test_over_one_temperature_there_is_no_line_to_draw(temperatures):
    study = kd.truncation(STUDENT, TEACHER, ks=(1, 3), temperatures=temperatures)
    drawn = {one.name for section in study.sections for one in section.figures}
    assert ("truncation_temperature" in drawn) is (len(temperatures) > 1)
    assert study.readings["truncation_temperature"].sentence


def test_batches_change_nothing(monkeypatch):
    whole = kd.truncation(STUDENT, TEACHER, ks=(1, 4)).tables
    monkeypatch.setattr("kdanalysis.pages.truncation.BATCH", 7 * 30)
    for noun, table in kd.truncation(STUDENT, TEACHER, ks=(1, 4)).tables.items():
        for column in table.select_dtypes("number"):
            np.testing.assert_allclose(table[column], whole[noun][column], rtol=1e-9, atol=1e-7)


def test_labels_and_positions_tell_who_pays():
    target, position = np.where(RNG.random(40) < 0.5, TEACHER.argmax(1), -100), np.arange(40)
    table = kd.truncation(STUDENT, TEACHER, (4,), target=target, position=position).tables
    counts = table["truncation_payers"].groupby(["kind", "convention"]).n.sum()
    assert counts["teacher is", "bucket"] == (target >= 0).sum()
    assert counts["position", "bucket"] == counts["entropy", "bucket"] == 40


def test_classes_of_tokens_go_by_their_names():
    words = np.array(["keyword", "", "identifier", "keyword"] * 10)
    table = kd.truncation(STUDENT, TEACHER, (4,), token_class=words).tables["truncation_payers"]
    rows = table[(table.kind == "token class") & (table.convention == "none")].set_index("group")
    assert rows.n.to_dict() == {"identifier": 10, "keyword": 20}
    chosen = words == "keyword"
    alone = kd.truncation(STUDENT[chosen], TEACHER[chosen], (4,)).tables["truncation"]
    alone = alone.set_index(["measure", "convention"]).share["l1", "none"]
    assert rows.share["keyword"] == pytest.approx(alone, rel=1e-9)


def test_a_class_of_tokens_beyond_the_last_is_refused():
    with pytest.raises(ValueError, match="token_class 32 is too large: classes are numbers from 0"):
        kd.truncation(STUDENT, TEACHER, (4,), token_class=np.arange(40) % 33)


def test_a_run_is_looked_at(make_run):
    study = kd.truncation_study(make_run("kd"), ks=(1, 3))
    assert (study.tables["truncation"].n == 60).all()


@pytest.mark.parametrize(
    ("student", "words"),
    [
        (np.full_like(STUDENT, np.nan), "every row of arrays holds NaN or inf"),
        (STUDENT[:, :5], "has shape"),
        (
            np.exp(STUDENT) / np.exp(STUDENT).sum(1, keepdims=True),
            "student_logits are probabilities",
        ),
    ],
)
def test_what_cannot_be_looked_at_is_refused(student, words):
    with pytest.raises(ValueError, match=words):
        kd.truncation(student, TEACHER, ks=(1, 4))


def test_a_teacher_alone_is_refused():
    with pytest.raises(ValueError, match="what truncation loses is a gradient in the student's"):
        kd.truncation_study({"teacher_logits": TEACHER})
