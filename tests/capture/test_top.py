"""A recorder that keeps K classes: small, with the residual of all logits, and the same tables."""

import warnings
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from kept_runs import LOSS, train

import kdanalysis as kd
from kdanalysis.analyzers.truncation.together import KEPT
from kdanalysis.pages.run import report
from kdanalysis.store.run import StoredRun
from kdanalysis.store.sources import load_logits
from kdanalysis.studies.facts import run_facts, source_facts
from kdanalysis.studies.kept import SHOWN, TABLES
from kdanalysis.studies.positions import are_tokens
from kdanalysis.studies.run import open_run

OPTIONS = {"rtol": 1e-6, "atol": 1e-7}


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


def test_a_loss_below_t_of_one_has_the_tables_of_a_run_of_all_logits(tmp_path):
    loss = kd.Sum(kd.CrossEntropy(), kd.KD(0.5))  # T = 1 is the second that is kept
    runs = train(tmp_path / "dense", (), loss), train(tmp_path / "top", kd.TopK(16), loss)
    for name in TABLES:
        dense, top = (kd.open(run).table(name) for run in runs)
        pd.testing.assert_frame_equal(top, dense, **OPTIONS)
    known = kd.diagnose(runs[1]).tables["known"].set_index("quantity")
    whole = torch.from_numpy(np.concatenate([
        batch["teacher_logits"] for batch in open_run(runs[0]).batches(["teacher_logits"], 1000)
    ]))  # fmt: skip
    top = whole.double().softmax(-1).amax(-1).mean()
    assert float(known.loc["confidence", "value"]) == pytest.approx(float(top), rel=1e-3)


def test_truncation_is_that_of_a_run_of_all_logits(runs):
    dense, top = (kd.truncation_study(run, (1, 2, 8, 16), (1, 2)).tables for run in runs)
    assert list(top) == [name for name in dense if name != "truncation_bias"]
    for name, table in top.items():
        exact = dense[name]
        if name == "truncation_payers":  # an interval of one row is inf times 0
            table, exact = (one[one.n > 1].reset_index(drop=True) for one in (table, exact))
        pd.testing.assert_frame_equal(table, exact, rtol=1e-5, atol=1e-6)


def test_truncation_is_a_table_by_name_at_the_temperatures_of_the_loss(runs):
    for run in runs:
        known = kd.truncation_study(run, temperatures=(1, 2)).tables
        for name in ("truncation", "truncation_tail"):
            pd.testing.assert_frame_equal(kd.open(run).table(name), known[name])
    with pytest.raises(ValueError, match="'truncation_bias' looks at every class and needs a run"):
        kd.open(runs[1]).table("truncation_bias")
    with pytest.raises(ValueError, match="is made by kdanalysis truncation --losses"):
        kd.open(runs[1]).table("truncation_losses")


def test_an_unknown_table_is_answered_with_those_of_the_run(runs):
    lists = []
    for run in runs:
        with pytest.raises(ValueError, match="did you mean 'truncation'") as caught:
            kd.open(run).table("truncatoin")
        assert len(str(caught.value)) <= 400
        lists.append({*str(caught.value).partition("there are: ")[2].split(", ")})
    assert lists[1] < lists[0]
    assert lists[1] == {*TABLES, *(kind.noun for kind in KEPT)}


def test_losses_beside_full_kd_are_those_of_a_run_of_all_logits(runs):
    asked = "verl,gdkd:k=5,topk:divergence=reverse,tail=renormalise,jsd:k=8,ce"
    dense = kd.truncation_study(runs[0], (1, 8), (2,), asked)
    top = kd.truncation_study(runs[1], (1, 8), (2,), f"{asked},tvd")
    name = "truncation_losses"
    pd.testing.assert_frame_equal(top.tables[name], dense.tables[name], rtol=1e-5, atol=1e-6)
    assert "tvd: TVD(" in top.facts["left out"]
    stated = kd.truncation_study(runs[1], (1, 8), (2,), "verl,topk:k=99")
    assert "topk: Truncated(k=99" in stated.facts["left out"]


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Tokens of texts, of which 2 classes are kept or all, trained with what looks at all."""
    folder, loss = tmp_path_factory.mktemp("words"), kd.LogitStandardized(kd.KD(3.0))
    student, teacher = torch.randn(2, 6, 9, 40, generator=torch.Generator().manual_seed(0))
    rows = kd.tokens(student, 3 * teacher, torch.zeros(6, 9, dtype=torch.long))
    for name, keep in (("dense", ()), ("top", kd.TopK(2))):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "tables of this run will lack the loss")
            sides = {"student": rows.student, "teacher": rows.teacher}
            with kd.Recorder(folder / name, loss, keep=keep, schedule=kd.every(1)) as recorder:
                recorder.observe(rows.target, rows.sample_id, **sides)
    return folder


def test_what_is_compared_and_what_is_not_is_said(words):
    facts = run_facts(StoredRun(words / "top"))
    assert facts["losses compared"] == (
        "KD, DKD and GDKD at T = 3 and k = 2; not at T = 4: sums over the other classes were kept "
        "at T = 1, 3; not at k = 5: 2 classes were kept"
    )
    assert "LogitStandardized" in facts["loss in tables"]
    assert "looks into the classes outside the 2 largest" in facts["loss in tables"]
    assert set(kd.open(words / "top").table("share").loss) == {
        *("dkd", "gdkd", "dkd 1/1", "gdkd 1/1/1", "kd parts", "kd parts by target")
    }
    opened = kd.open(words / "top")
    page = report({"one": open_run(words / "top"), "other": open_run(words / "top")}).facts["one"]
    for said in ("losses compared", "loss in tables"):
        assert facts[said] in page
        assert source_facts(opened.source)[said] == facts[said]
    assert "losses compared" not in run_facts(StoredRun(words / "dense"))


def test_the_positions_of_tokens_are_known_by_their_ids(words):
    studies = [kd.truncation_study(words / name, (1, 2)) for name in ("dense", "top")]
    dense, top = (one.tables["truncation_payers"] for one in studies)
    pd.testing.assert_frame_equal(top, dense, rtol=1e-5, atol=1e-6)
    rows = top[(top.kind == "position") & (top.k == 1) & (top.convention == "bucket")]
    assert dict(zip(rows.group, rows.n, strict=True)) == {"1-3": 18, "4-15": 30}
    assert all("text times 2^20" in one.facts["positions"] for one in studies)


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([[3, (1 << 20) + 4], [5 << 20]], True),
        ([[3, 4, 5]], False),  # a single text, or rows by number
        ([[1 << 32, (1 << 32) + 1], [2 << 32]], False),  # what ranks give by themselves
        ([[3, 1_200_000], [(1 << 19) + 5]], False),
    ],
)
def test_only_ids_that_are_those_of_tokens_are_taken_for_them(ids, said):
    assert are_tokens(map(np.array, ids)) is said


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
    with pytest.raises(ValueError, match=says):
        kd.sweep_study(top)
    with pytest.raises(ValueError, match=r"SkewKL.* looks into the classes outside the 16 largest"):
        kd.truncation_study(top, losses="skew")
    with pytest.raises(ValueError, match=r"K = 3 cannot be looked at: .* for K = 1, 2, 4, 8, 16"):
        kd.truncation_study(top, (3,))
    with pytest.raises(ValueError, match=r"T = 4 cannot be looked at: .* for T = 1, 2"):
        kd.truncation_study(top, (8,), (4,))
    with pytest.raises(ValueError, match="keeps 16 classes of every row, not all logits"):
        load_logits(top)
    assert kd.open(dense).table("calibration") is not None


def test_the_page_of_such_a_run_has_its_tables(runs):
    study = report({"top": open_run(runs[1])})
    page = unescape(study.html())
    assert "the teacher's 16 largest classes of every row" in page
    assert "Norm of every term" in page
    dense = kd.truncation_study(runs[0], (1, 8, 16), (1, 2))
    for name in SHOWN:
        assert study.readings[name] == dense.readings[name]
        assert study.readings[name].sentence in page
    assert "kdanalysis truncation RUN" in study.facts["truncation"]
    assert not {*SHOWN} & {*kd.open(runs[0]).tables()}


def test_a_run_goes_on_with_the_same_classes_alone(tmp_path):
    path = train(tmp_path / "run", kd.TopK(8))
    train(path, kd.TopK(8), existing="resume")
    assert StoredRun(path).steps().tolist() == [0, 2, 4, 6]
    with pytest.raises(ValueError, match="its kept is 8 and now it is 16"):
        train(path, kd.TopK(16), existing="resume")


def test_other_classes_than_the_k_largest_cannot_be_kept(tmp_path):
    with pytest.raises(ValueError, match="of the k >= 1 largest classes"):
        kd.Recorder(tmp_path / "run", LOSS, keep=kd.TopK(4, strategy="worst"))
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


def test_a_run_of_nan_alone_is_told_of(tmp_path):
    nothing = torch.full((4, 50), torch.nan)
    with kd.Recorder(tmp_path / "run", keep=kd.TopK(4), schedule=kd.every(1)) as recorder:
        recorder.observe(torch.zeros(4, dtype=torch.long), student=nothing, teacher=0 * nothing)
    with pytest.raises(ValueError, match=r"every row of .*run holds NaN or inf: there is nothing"):
        kd.truncation_study(tmp_path / "run", (1, 2))
