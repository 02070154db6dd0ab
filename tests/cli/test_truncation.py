"""`truncation` prints shares and sentences, fills a folder, and refuses bad input."""

import numpy as np
import pandas as pd
import pytest

import kdanalysis as kd

RNG = np.random.default_rng(0)
TEACHER = (3 * RNG.normal(size=(40, 30))).astype(np.float32)
STUDENT = (TEACHER + RNG.normal(size=(40, 30))).astype(np.float32)


@pytest.fixture
def file(tmp_path):
    np.savez(tmp_path / "both.npz", logits_s=STUDENT, logits_t=TEACHER, positions=np.arange(40))
    return tmp_path / "both.npz"


def test_shares_and_sentences_are_printed(run_command, file):
    result = run_command("truncation", file, "--ks", "1,4-5")
    assert result.exit_code == 0, result.stderr
    assert "40 samples, 30 classes" in result.stdout
    found = kd.truncation(STUDENT, TEACHER, (1, 4, 5))
    table = found.tables["truncation"].set_index(["measure", "convention", "k"])
    rows = [line.split() for line in result.stdout.splitlines()]
    (row,) = [row for row in rows if row[:3] == ["1", "l1", "bucket"]]
    assert row[3:] == [f"{100 * table.share['l1', 'bucket', k]:.1f}%" for k in (1, 4, 5)]
    assert found.readings["truncation"].sentence in result.stdout


def test_the_folder_has_tables_and_figures(run_command, file, tmp_path):
    options = ("--ks", "1,4", "--temperatures", "1,2", "--figures", "svg")
    result = run_command("truncation", file, *options, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    study = kd.truncation(STUDENT, TEACHER, (1, 4), (1, 2), position=np.arange(40))
    names = sorted(study.tables)
    for folder, ending in (("figures", "svg"), ("tables", "csv")):
        found = (tmp_path / "out" / folder).glob(f"*.{ending}")
        assert sorted(path.stem for path in found) == names
    for name, table in study.tables.items():
        stored = pd.read_parquet(tmp_path / "out" / "tables" / f"{name}.parquet")
        pd.testing.assert_frame_equal(stored, table, rtol=1e-12)
    assert "Who pays for truncation" in (tmp_path / "out" / "report.html").read_text()


def test_the_student_may_stand_in_a_file_of_its_own(run_command, file, tmp_path):
    np.save(tmp_path / "teacher.npy", TEACHER)
    np.save(tmp_path / "student.npy", STUDENT)
    apart = ("--student", tmp_path / "student.npy", "--ks", "4")
    one = run_command("truncation", tmp_path / "teacher.npy", *apart)
    other = run_command("truncation", file, "--ks", "4")
    assert one.exit_code == 0, one.stderr
    shares = [[line for line in x.stdout.splitlines() if " l1 " in line] for x in (one, other)]
    assert shares[0] == shares[1]
    assert len(shares[0]) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--ks", "1,x"), "--ks '1,x' cannot be read"),
        (
            ("--ks", "30"),
            "k must be a whole number from 1 to 29 where there are 30 classes, got 30",
        ),
        (("--temperatures", "0"), "temperature must be a finite number above 0, got 0"),
        (("--student", "nowhere.npy"), "nowhere.npy does not exist"),
    ],
)
def test_a_bad_option_is_one_sentence(run_command, file, tmp_path, options, words):
    result = run_command("truncation", file, *options, "--out", tmp_path / "out")
    assert result.exit_code == 2
    (sentence,) = result.stderr.splitlines()
    assert words in sentence
    assert not (tmp_path / "out").exists()


def test_a_file_without_a_student_is_refused(run_command, tmp_path):
    np.save(tmp_path / "bare.npy", TEACHER)
    result = run_command("truncation", tmp_path / "bare.npy")
    assert result.exit_code == 2
    assert "holds teacher logits alone" in result.stderr
