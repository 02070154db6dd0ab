"""A recorder that keeps K classes: small, with the residual of all logits, and the same tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import kdanalysis as kd
from kdanalysis.store.run import StoredRun
from kdanalysis.store.sources import load_logits
from kdanalysis.studies.kept import TABLES

CLASSES = 200
LOSS = kd.Sum(kd.CrossEntropy(), kd.GDKD(5, temperature=2.0))
OPTIONS = {"rtol": 1e-6, "atol": 1e-7}


def train(path, keep=(), loss=LOSS, steps=4, classes=CLASSES, **store):
    torch.manual_seed(0)
    student, teacher = torch.nn.Linear(12, classes), torch.nn.Linear(12, classes)
    with torch.no_grad():
        student.weight *= 4
        teacher.weight *= 12
    sides = {"student": student, "teacher": teacher}
    store = kd.Store(**store)
    with kd.Recorder(path, loss, **sides, keep=keep, schedule=kd.every(2), store=store) as recorder:
        for step in range(steps):
            seed = torch.Generator().manual_seed(step)
            x = torch.randn(24, 12, generator=seed)
            target = torch.randint(0, classes, (24,), generator=seed)
            if not loss.needs_target:
                target[:5] = -100
            with torch.no_grad():
                teacher(x)
            student(x)
            recorder.epoch = step // 2
            recorder.loss(target).backward()
            torch.optim.SGD(student.parameters(), 0.5).step()
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return train(folder / "dense"), train(folder / "top", kd.TopK(16))


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_that_of_a_run_of_all_logits(runs, name):
    dense, top = (kd.open(run).table(name) for run in runs)
    pd.testing.assert_frame_equal(top, dense, **OPTIONS)


def test_without_labels_tables_are_those_of_a_run_of_all_logits(tmp_path):
    loss = kd.Truncated(8, temperature=2.0)
    runs = train(tmp_path / "dense", (), loss), train(tmp_path / "top", kd.TopK(8), loss)
    for name in TABLES:
        dense, top = (kd.open(run).table(name) for run in runs)
        pd.testing.assert_frame_equal(top, dense, **OPTIONS)
    assert "trained" in set(kd.open(runs[1]).table("magnitude").loss)


def test_truncation_is_that_of_a_run_of_all_logits(runs):
    dense, top = (kd.truncation_study(run, (1, 2, 8, 16), (1, 2)).tables for run in runs)
    assert list(top) == [name for name in dense if name != "truncation_bias"]
    for name, table in top.items():
        exact = dense[name]
        if name == "truncation_payers":  # an interval of one row is inf times 0
            table, exact = (one[one.n > 1].reset_index(drop=True) for one in (table, exact))
        pd.testing.assert_frame_equal(table, exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "same"])
def test_logits_are_kept_as_they_are_stored_whole(tmp_path, dtype):
    runs = [train(tmp_path / n, k, dtype=dtype) for n, k in (("dense", ()), ("top", kd.TopK(8)))]
    dense, top = (next(StoredRun(run).batches()) for run in runs)
    whole = np.take_along_axis(dense["teacher_logits"], top["ids"].astype(int), 1)
    np.testing.assert_array_equal(top["teacher_kept"], whole)
    np.testing.assert_array_equal(top["residual"], dense["residual"])
    np.testing.assert_array_equal(top["target"], dense["target"])
    np.testing.assert_array_equal(top["best"], dense["student_logits"].argmax(1))


def test_a_token_of_a_large_vocabulary_takes_under_a_thousand_bytes(tmp_path):
    teacher = 3 * torch.randn(64, 8000, generator=torch.Generator().manual_seed(0))
    student = (teacher + 1).requires_grad_()
    keep, path = kd.TopK(64), tmp_path / "top"
    with kd.Recorder(path, LOSS, keep=keep, schedule=kd.every(1)) as recorder:
        target = torch.zeros(64, dtype=torch.long)
        recorder.loss(target, student=student, teacher=teacher).backward()
    size = sum(file.stat().st_size for file in Path(path).rglob("*.parquet"))
    assert 700 * 64 < size < 1000 * 64 + 8000  # and the footer


def test_what_such_a_run_cannot_answer_is_said(runs, tmp_path):
    dense, top = runs
    says = "keeps the teacher's 16 largest classes of every row .* needs a run of all logits"
    with pytest.raises(ValueError, match=f"{says}"):
        kd.open(top).table("calibration")
    for command in (kd.diagnose, kd.sweep_study, lambda run: kd.compare([run])):
        with pytest.raises(ValueError, match=says):
            command(top)
    with pytest.raises(ValueError, match=says):
        kd.truncation_study(top, losses="kd")
    with pytest.raises(ValueError, match=r"K = 3 cannot be looked at: .* at K = 1, 2, 4, 8, 16"):
        kd.truncation_study(top, (3,))
    with pytest.raises(ValueError, match=r"T = 4 cannot be looked at: .* at T = 1, 2"):
        kd.truncation_study(top, (8,), (4,))
    with pytest.raises(ValueError, match="keeps 16 classes of every row, not all logits"):
        load_logits(top)
    assert kd.open(dense).table("calibration") is not None


@pytest.mark.usefixtures("blank_pictures")
def test_the_page_of_such_a_run_has_its_tables(runs, tmp_path):
    kd.open(runs[1]).report(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "the teacher&#39;s 16 largest classes of every row" in page
    assert "Norm of every term" in page


def test_a_run_goes_on_with_the_same_classes_alone(tmp_path):
    path = train(tmp_path / "run", kd.TopK(8))
    train(path, kd.TopK(8), existing="resume")
    assert StoredRun(path).steps().tolist() == [0, 2, 4, 6]
    with pytest.raises(ValueError, match="its kept is 8 and now it is 16"):
        train(path, kd.TopK(16), existing="resume")


@pytest.mark.parametrize("top", [kd.TopK(4, strategy="worst"), kd.TopK(0)], ids=repr)
def test_other_classes_than_the_k_largest_cannot_be_kept(tmp_path, top):
    with pytest.raises(ValueError, match="of the k >= 1 largest classes"):
        kd.Recorder(tmp_path / "run", LOSS, keep=top)
    assert not (tmp_path / "run").exists()


def test_logits_beyond_the_stored_type_are_refused_as_whole_ones_are(tmp_path):
    far = torch.full((4, 50), 1e5)
    recorder = kd.Recorder(tmp_path / "run", keep=kd.TopK(4), schedule=kd.every(1))
    recorder.observe(torch.zeros(4, dtype=torch.long), student=far, teacher=0 * far)
    with pytest.raises(ValueError, match="student_logits reach 100000, beyond 65504"):
        recorder.close()


def test_a_loss_that_looks_beyond_the_k_is_told_and_too_large_a_k_leaves_nothing(tmp_path):
    with pytest.warns(RuntimeWarning, match="will lack the loss that is trained: JSD.* keep all"):
        train(tmp_path / "jsd", kd.TopK(4), kd.parse_loss("jsd"), steps=1)
    with pytest.raises(ValueError, match=r"TopK\(198\) of 200 classes"):
        train(tmp_path / "large", kd.TopK(198), steps=1)
    assert not (tmp_path / "large").exists()
