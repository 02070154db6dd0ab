"""`sweep` prints an excerpt, fills a folder, and refuses bad input in one sentence."""

import numpy as np
import pandas as pd
import pytest

from kdanalysis import sweep, sweep_study
from tests.analyzers.readback import legend_texts

RNG = np.random.default_rng(0)
STUDENT, TEACHER = RNG.normal(size=(2, 40, 30)).astype(np.float32) * 2


@pytest.fixture
def file(tmp_path):
    np.savez(tmp_path / "both.npz", logits_s=STUDENT, logits_t=TEACHER)
    return tmp_path / "both.npz"


def test_an_excerpt_is_printed(run_command, file):
    result = run_command("sweep", file, "--temperatures", "4")
    assert result.exit_code == 0, result.stderr
    assert "40 samples, 30 classes; an excerpt" in result.stdout
    rows = [line.split() for line in result.stdout.splitlines()]
    found = {row[1]: row for row in rows if len(row) == 11 and row[0] == "4"}
    assert list(found) == ["1", "2", "5", "10", "20", "29"]
    exact = sweep(STUDENT, TEACHER, (4,), (5,)).iloc[0]
    assert float(found["5"][2]) == pytest.approx(exact.mass_top, abs=1e-3)
    assert float(found["5"][-1]) == pytest.approx(exact.cosine_total_kd, abs=1e-3)


def test_the_folder_has_the_whole_sweep(run_command, file, tmp_path):
    options = ("--temperatures", "1,4", "--ks", "1,5,10-12", "--weights", "1/2/4")
    figures = ("--figures", "png,svg")
    result = run_command("sweep", file, *options, *figures, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    expected = sweep(STUDENT, TEACHER, (1, 4), (1, 5, 10, 11, 12), (1, 2, 4))
    whole = pd.read_parquet(tmp_path / "out" / "tables" / "sweep.parquet")
    pd.testing.assert_frame_equal(whole.drop(columns="non_finite"), expected, rtol=1e-12)
    text = pd.read_csv(tmp_path / "out" / "tables" / "sweep.csv")
    pd.testing.assert_frame_equal(text, whole, check_dtype=False)
    figures = sorted(path.name for path in (tmp_path / "out" / "figures").iterdir())
    pictures = ("spread", "sweep", "sweep_over_temperature")
    assert figures == [f"{name}.{kind}" for name in pictures for kind in ("png", "svg")]
    spread = pd.read_csv(tmp_path / "out" / "tables" / "spread.csv")
    assert set(spread.k) == {1, 5, 10, 11, 12}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Every k, every temperature" in page
    assert "high 1, low_top 2, low_other 4" in page


def test_labels_mark_the_temperature_that_calibrates():
    columns = {"student_logits": STUDENT, "teacher_logits": TEACHER}
    labelled = columns | {"target": TEACHER.argmax(1) * (np.arange(40) % 2)}
    for source, marked in ((columns, False), (labelled, True)):
        found = sweep_study(source, (1.0, 4.0), (1, 5))
        texts = legend_texts(found.figure("sweep", picture=1).axes[0])
        assert any("calibrates" in text for text in texts) is marked
        assert set(found.tables) == {"sweep", "spread"}


def test_a_run_folder_is_read(run_command, run_folder):
    result = run_command("sweep", run_folder, "--ks", "2")
    assert result.exit_code == 0, result.stderr
    assert "16 samples, 6 classes" in result.stdout


def test_samples_with_nan_are_counted_and_left_out(run_command, tmp_path):
    broken = TEACHER.copy()
    broken[3, 1] = np.nan
    np.savez(tmp_path / "broken.npz", teacher_logits=broken, student_logits=STUDENT)
    result = run_command("sweep", tmp_path / "broken.npz", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    table = pd.read_csv(tmp_path / "out" / "tables" / "sweep.csv")
    assert (table.n == 39).all()
    assert (table.non_finite == 1).all()


def test_a_file_without_a_student_is_refused(run_command, tmp_path):
    np.save(tmp_path / "bare.npy", TEACHER)
    result = run_command("sweep", tmp_path / "bare.npy", "--out", tmp_path / "out")
    assert result.exit_code == 2
    (sentence,) = result.stderr.splitlines()
    assert "holds teacher logits alone: a sweep compares a student with its teacher" in sentence
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--ks", "1,x", "--ks '1,x' cannot be read: need all, or whole numbers"),
        ("--ks", "9-3", "cannot be read"),
        ("--ks", "5,30", "k must be a whole number from 1 to 29 where there are 30 classes"),
        ("--ks", "0", "got 0: a group would be empty"),
        ("--weights", "1/1", "--weights '1/1' cannot be read"),
        ("--weights", "1/-1/8", "need three weights of at least 0"),
        ("--temperatures", "0,1", "temperature must lie between 0.001 and 10000, got 0"),
    ],
)
def test_a_bad_option_is_one_sentence(run_command, file, option, value, words):
    result = run_command("sweep", file, option, value)
    assert result.exit_code == 2
    (sentence,) = result.stderr.splitlines()
    assert words in sentence


@pytest.mark.parametrize("side", ["teacher_logits", "student_logits"])
def test_probabilities_are_refused(run_command, tmp_path, side):
    odds = np.exp(TEACHER)
    sides = {"teacher_logits": TEACHER, "student_logits": STUDENT}
    np.savez(tmp_path / "p.npz", **(sides | {side: odds / odds.sum(1, keepdims=True)}))
    result = run_command("sweep", tmp_path / "p.npz", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert f"{side} are probabilities: " in result.stderr
    assert not (tmp_path / "out").exists()


def test_equal_sides_are_swept(run_command, tmp_path):
    np.savez(tmp_path / "same.npz", teacher_logits=TEACHER, student_logits=TEACHER)
    result = run_command("sweep", tmp_path / "same.npz", "--ks", "1,2", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    page = (tmp_path / "out" / "report.html").read_text()
    assert "no sample has a gradient of low_other" in page
