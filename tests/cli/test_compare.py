"""`compare` prints a summary, fills a folder, and refuses what has nothing to be compared."""

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.terms.direction import LossDirection
from kdanalysis.losses import DKD, GDKD, KD, NKD
from kdanalysis.store.info import RunInfo
from kdanalysis.store.writer import PartWriter

RNG = np.random.default_rng(0)
STUDENT, TEACHER = RNG.normal(size=(2, 40, 8)).astype(np.float32) * 2
TARGET = RNG.integers(0, 8, 40)
FIGURES = ("--figures", "svg,png")
THREE = ("--losses", "kd,gdkd:k=3,temperature=2,nkd")


@pytest.fixture
def file(tmp_path):
    np.savez(tmp_path / "both.npz", logits_s=STUDENT, logits_t=TEACHER, labels=TARGET)
    return tmp_path / "both.npz"


@pytest.fixture
def runs(tmp_path):
    """Two runs of 16 samples of 8 classes, steps 0 and 5."""
    for place, name in enumerate(("kd", "dkd")):
        writer = PartWriter(tmp_path / name, 0, RunInfo(8, None, "KD(temperature=2.0)", ("kd",)))
        for step in (0, 5):
            rows = slice(16 * place + step, 16 * place + step + 8)
            writer.write(
                {
                    "step": np.full(8, step),
                    "epoch": np.full(8, step // 5, dtype=np.int32),
                    "sample_id": np.arange(8),
                    "target": TARGET[rows],
                    "teacher_logits": TEACHER[rows],
                    "student_logits": STUDENT[rows],
                }
            )
        writer.close()
    return tmp_path / "kd", tmp_path / "dkd"


def table_of(stdout: str) -> dict[str, list[str]]:
    """Rows of the printed table by their first cell; their second is a number."""
    rows = (line.split() for line in stdout.splitlines())
    return {row[0]: row[1:] for row in rows if len(row) > 5 and row[1][0].isdigit()}


def test_losses_are_held_against_the_first(run_command, file):
    result = run_command("compare", file, *THREE, "--match-norm")
    assert result.exit_code == 0, result.stderr
    assert "both: 40 samples, 8 classes" in result.stdout
    metric = LossDirection({"kd": KD(), "gdkd": GDKD(3, temperature=2), "nkd": NKD()})
    metric.update(*(torch.tensor(x) for x in (STUDENT, TEACHER, TARGET)))
    exact = metric.table().query("teacher == 'all' and loss_a == 'kd'").set_index("loss_b")
    printed = table_of(result.stdout)
    assert list(printed) == ["kd", "gdkd", "nkd"]
    for loss in ("gdkd", "nkd"):
        numbers = [float(cell) for cell in printed[loss][:6]]
        row = exact.loc[loss]
        expected = [row.norm_b, row.multiplier, row.cosine, row.cosine_batch, row.conflict]
        assert numbers == pytest.approx([*expected, 1 / row.multiplier], rel=2e-3, abs=1e-3)
    factor = 1 / exact.loc["gdkd"].multiplier
    assert (
        f"To step as far as kd, at equal mean norms: gdkd \u00d7 {factor:.3g}, nkd" in result.stdout
    )


def test_the_folder_has_tables_in_both_formats_figures_and_the_page(run_command, file, tmp_path):
    result = run_command("compare", file, *THREE, "--out", tmp_path / "out", *FIGURES)
    assert result.exit_code == 0, result.stderr
    names = {path.name for path in (tmp_path / "out" / "tables").iterdir()}
    nouns = ("losses", "direction", "magnitude", "share", "conflict")
    assert names == {f"{noun}.{kind}" for noun in nouns for kind in ("csv", "parquet")}
    whole = pd.read_parquet(tmp_path / "out" / "tables" / "direction.parquet")
    text = pd.read_csv(tmp_path / "out" / "tables" / "direction.csv")
    pd.testing.assert_frame_equal(text, whole, check_dtype=False)
    figures = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    stems = (*nouns[1:], "direction_by_teacher", "cosine_against_step")
    assert figures == {f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")}
    page = (tmp_path / "out" / "report.html").read_text().replace("\u00a0", " ")
    assert "Direction or step" in page
    unequal = "Temperatures are not the same, T = 4 of kd; T = 2 of gdkd; T = 1 of nkd, which turns"
    assert unequal in page
    assert unequal in result.stdout
    assert "gdkd:k=3,weights=1/1/8,temperature=2" in page
    assert run_command("compare", file, *THREE, "--out", tmp_path / "out").exit_code == 2
    again = run_command("compare", file, *THREE, "--out", tmp_path / "out", "--overwrite")
    assert again.exit_code == 0


def test_lists_of_losses_add_up_and_take_the_temperature(run_command, file):
    options = ("--losses", "kd", "--losses", "dkd,gdkd:k=3,temperature=8", "--temperature", "1")
    result = run_command("compare", file, *options)
    assert result.exit_code == 0, result.stderr
    assert list(table_of(result.stdout)) == ["kd", "dkd", "gdkd"]
    assert repr(KD(1.0)) in result.stdout
    assert repr(DKD(temperature=1.0)) in result.stdout
    assert repr(GDKD(3, temperature=8.0)) in result.stdout
    assert "not the same, T = 1 of kd, dkd; T = 8 of gdkd, which" in result.stdout
    same = run_command("compare", file, "--losses", "ce,kd,dkd,tvd", "--temperature", "1")
    assert "not the same" not in same.stdout


def test_labels_are_needed_only_by_losses_that_use_them(run_command, tmp_path):
    np.savez(tmp_path / "bare.npz", logits_s=STUDENT, logits_t=TEACHER)
    result = run_command("compare", tmp_path / "bare.npz", "--losses", "kd,gdkd:k=3")
    assert result.exit_code == 0, result.stderr


def test_rows_without_a_label_are_told_where_losses_need_one(run_command, tmp_path):
    given = np.where(np.arange(len(TARGET)) < 3, -1, TARGET)
    np.savez(tmp_path / "some.npz", logits_s=STUDENT, logits_t=TEACHER, labels=given)
    result = run_command("compare", tmp_path / "some.npz", "--losses", "kd,dkd")
    assert "3 of them without a label, left out where one is needed" in result.stdout


@pytest.mark.usefixtures("undrawn")
def test_runs_are_held_against_each_other(run_command, runs, tmp_path):
    result = run_command("compare", *runs, "--out", tmp_path / "out", *FIGURES)
    assert result.exit_code == 0, result.stderr
    assert "2 students, 8 classes" in result.stdout
    last = slice(5, 13)
    right = (STUDENT[last].argmax(1) == TARGET[last]).mean()
    assert float(table_of(result.stdout)["kd"][1]) == pytest.approx(right, abs=1e-3)
    assert "may be chance" in result.stdout
    table = pd.read_parquet(tmp_path / "out" / "tables" / "conflict.parquet")
    assert table.groupby("run", sort=False).step.unique().map(list).to_dict() == {
        "kd": [0, 5],
        "dkd": [0, 5],
    }
    assert (tmp_path / "out" / "figures" / "agreement.png").is_file()
    assert "Compared: kd, dkd" in (tmp_path / "out" / "report.html").read_text()


def test_each_file_is_looked_at_with_each_loss(run_command, file, runs, tmp_path):
    options = ("--losses", "kd,gdkd:k=2", "--out", tmp_path / "out")
    result = run_command("compare", file, *runs, *options)
    assert result.exit_code == 0, result.stderr
    table = pd.read_csv(tmp_path / "out" / "tables" / "losses.csv")
    assert table.run.unique().tolist() == ["both", "kd", "dkd"]
    assert len(table) == 6


def test_samples_with_nan_are_counted_and_left_out(run_command, tmp_path):
    broken = TEACHER.copy()
    broken[3, 1] = np.nan
    sides = {"teacher_logits": broken, "student_logits": STUDENT, "target": TARGET}
    np.savez(tmp_path / "broken.npz", **sides)
    result = run_command("compare", tmp_path / "broken.npz", *THREE, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert "40 samples, 8 classes, 1 of them with NaN or inf and left out" in result.stdout
    table = pd.read_csv(tmp_path / "out" / "tables" / "direction.csv")
    assert (table.non_finite == 1).all()
    assert table.query("teacher == 'all'").n.tolist() == [39] * 3


def test_students_with_nan_are_named_with_their_count(run_command, file, tmp_path):
    broken = TEACHER.copy()
    broken[3, 1] = np.nan
    np.savez(tmp_path / "broken.npz", logits_s=STUDENT, logits_t=broken, labels=TARGET)
    result = run_command("compare", file, tmp_path / "broken.npz")
    assert "broken: 40 samples, 1 of them with NaN or inf and left out" in result.stdout
    assert "both: 40 samples" not in result.stdout


def refused(run_command, tmp_path, *args) -> str:
    """The one sentence of a refusal, which must leave nothing."""
    result = run_command("compare", *args, "--out", tmp_path / "out")
    assert result.exit_code == 2, result.stdout
    (sentence,) = result.stderr.splitlines()
    assert not (tmp_path / "out").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".out")]
    return sentence


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "alone has nothing to be compared with: give --losses kd,dkd,... to compare losses"),
        (("--match-norm",), "--match-norm matches the norms of losses: name them with --losses"),
        (("--losses", "kd"), "--losses names kd alone: give at least two"),
        (("--losses", "kd,gdk"), "unknown loss 'gdk'; did you mean 'gdkd'?"),
        (("--losses", "kd,gdkd:temprature=1"), "no option 'temprature'; did you mean 'temperatu"),
        (("--losses", "kd,kd:weight=1"), "'kd' and 'kd:weight=1' are both KD"),
        (
            ("--losses", "kd,gdkd:k=8"),
            "error: the loss 'gdkd' on FILE: TopK(k=8) leaves a group empty: need 0 < k < 8",
        ),
        (("--losses", "kd,gdkd3:k=3,verl"), "error: the loss 'verl' on FILE: TopK(k=64) leaves"),
        (("--losses", "kd,dkd", "--temperature", "0"), "temperature must lie between"),
    ],
)
def test_a_bad_request_is_one_sentence(run_command, file, tmp_path, options, words):
    assert words.replace("FILE", str(file)) in refused(run_command, tmp_path, file, *options)


def test_files_that_do_not_go_together_are_refused(run_command, file, runs, run_folder, tmp_path):
    found = refused(run_command, tmp_path, runs[0], run_folder)
    assert "kd has 8 classes and gdkd has 6: only logits over the same classes" in found
    assert "is given twice" in refused(run_command, tmp_path, file, file, *THREE)
    mixed = refused(run_command, tmp_path, file, runs[0])
    assert f"kd holds the steps of a training, {file} one set of logits" in mixed


def test_a_file_without_a_student_or_labels_is_refused(run_command, file, tmp_path):
    np.save(tmp_path / "teacher.npy", TEACHER)
    found = refused(run_command, tmp_path, tmp_path / "teacher.npy", *THREE)
    assert "teacher.npy holds teacher logits alone" in found
    found = refused(run_command, tmp_path, file, tmp_path / "teacher.npy")
    assert "teacher.npy holds teacher logits alone" in found
    np.savez(tmp_path / "bare.npz", logits_s=STUDENT, logits_t=TEACHER)
    found = refused(run_command, tmp_path, tmp_path / "bare.npz", "--losses", "kd,dkd")
    assert f"the loss 'dkd' needs labels, and {tmp_path / 'bare.npz'} holds none" in found
    assert "does not exist" in refused(run_command, tmp_path, tmp_path / "none.npz", *THREE)
