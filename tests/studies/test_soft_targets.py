"""Tables of runs whose targets are distributions: each loss has the rows that it can use."""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

import kdanalysis as kd
from kdanalysis.analyzers.targets import Targets
from kdanalysis.studies.compute import without_label
from kdanalysis.studies.facts import label_fact, run_facts

N, C, STEPS = 40, 7, 4
LOSS = kd.Sum(kd.CrossEntropy(), kd.KD(), kd.GDKD(k=2))
GENERATOR = torch.Generator().manual_seed(0)
TEACHER, STUDENT = (3 * torch.randn(N, C, generator=GENERATOR) for _ in range(2))
LABEL = torch.randint(C, (N,), generator=GENERATOR)
HOT = F.one_hot(LABEL, C).float()
PART = torch.rand(N, 1, generator=GENERATOR).where(torch.arange(N)[:, None] % 4 > 0, 1.0)
SOFT = PART * HOT + (1 - PART) * HOT.roll(1, 1)  # every fourth row is of one class alone
OVER = (PART < 1).squeeze(1).numpy()
OF_ONE = {"nckd", "calibration", "modality", "profile"}  # tables that need one label throughout
NEEDS_LABEL = ("dkd", "dkd 1/1", "kd parts by target", "ce")


def record(path, target, loss=LOSS, **more) -> str:
    """Record four steps of the same logits with targets of one's own."""
    options = {"schedule": kd.every(1), "store": kd.Store("float32"), **more}
    with kd.Recorder(path, loss, **options) as recorder:
        for step in range(STEPS):
            rows = slice(10 * step, 10 * step + 10)
            given = {"student": STUDENT[rows], "teacher": TEACHER[rows]}
            recorder.observe(target[rows], torch.arange(N)[rows], **given)
    return str(path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    soft, hard = record(folder / "soft", SOFT), record(folder / "hard", LABEL)
    return kd.open(soft), kd.open(hard)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Tables of the rows of one class alone."""
    arrays = {"teacher_logits": TEACHER, "student_logits": STUDENT, "target": LABEL}
    return kd.open({name: values[~OVER] for name, values in arrays.items()})


def without(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Rows of a table in which no loss or term that needs a label stands."""
    needs = [*NEEDS_LABEL, "tckd", "nckd", *(f"{name} (T = 1)" for name in NEEDS_LABEL)]
    rows = table[~table[list(columns)].isin(needs).any(axis=1)]
    return rows.reset_index(drop=True)


@pytest.mark.parametrize("name", ["magnitude", "value", "share", "confidence", "amplification"])
def test_terms_that_need_no_label_are_those_of_a_run_with_labels_to_the_last_bit(runs, name):
    soft, hard = (without(run.table(name), "loss", "term") for run in runs)
    assert {"kd", "trained"} & {*soft.loss} or name in ("confidence", "amplification")
    assert soft.n.min() > 0
    pd.testing.assert_frame_equal(soft, hard, check_exact=True)


@pytest.mark.parametrize(("name", "pair"), [("direction", "loss"), ("conflict", "term")])
def test_pairs_that_need_no_label_are_over_all_rows(runs, name, pair):
    columns = f"{pair}_a", f"{pair}_b"
    soft, hard = (without(run.table(name), *columns) for run in runs)
    every = [rows[rows.teacher == "all"].reset_index(drop=True) for rows in (soft, hard)]
    assert len(every[0]) >= STEPS
    pd.testing.assert_frame_equal(*every, rtol=1e-12)
    judged = soft[(soft.teacher != "all") & soft.step.notna()]
    assert 0 < judged.n.max() < 4  # the teacher is judged where there is one label


@pytest.mark.parametrize("name", ["teacher", "mass", "agreement", "relation", "discrepancy"])
def test_what_looks_at_labels_where_there_are_some_is_there(runs, name):
    soft, hard = (run.table(name) for run in runs)
    more = ["labelled"] if name == "agreement" else []  # that of the labelled rows
    assert [*soft.columns.drop(more)] == [*hard.columns]
    assert len(soft) == len(hard)


@pytest.mark.parametrize("name", sorted(OF_ONE))
def test_what_needs_one_label_has_the_rows_of_one_class_and_says_how_many_not(runs, labelled, name):
    soft = runs[0].table(name)
    pd.testing.assert_frame_equal(soft, labelled.table(name), rtol=1e-6)


def test_the_rows_left_out_are_told_once_with_their_number(runs):
    source = runs[0].source
    runs[0].tables(["magnitude", "nckd"])
    runs[0]._tables.clear()
    runs[0].tables(["magnitude", "nckd"])
    assert (source.unlabelled, source.soft) == (OVER.sum(), OVER.sum())
    assert without_label(source) == (
        f", {OVER.sum()} of them with a target over several classes, left out where one label is "
        "needed"
    )
    assert label_fact(source).startswith(f"yes; {OVER.sum()} of 40 samples with a target over")
    assert run_facts(source.run)["targets"] == (
        f"over several classes in {OVER.sum()} samples, kept as float32"
    )
    assert "targets" not in run_facts(runs[1].source.run)


def by_autograd(loss) -> np.ndarray:
    """Gradients (n, c) of a loss's sum over the samples, in float64."""
    leaf = STUDENT.double().requires_grad_()
    (slope,) = torch.autograd.grad(loss(leaf).sum(), leaf)
    return slope.numpy()


def cross_entropy(student):
    return F.cross_entropy(student, SOFT.double(), reduction="none")


def plain_kd(student):
    p = (TEACHER.double() / 4).softmax(-1)
    return 16 * F.kl_div((student / 4).log_softmax(-1), p, reduction="none").sum(-1)


def of_step(table: pd.DataFrame, **where: object) -> pd.DataFrame:
    for column, value in where.items():
        table = table[table[column] == value]
    return table.sort_values("step").reset_index(drop=True)


def test_cross_entropy_of_the_kept_distributions_is_torchs_by_value_and_gradient(runs):
    value, norm = (of_step(runs[0].table(n), loss="ce") for n in ("value", "magnitude"))
    assert value.n.tolist() == norm.n.tolist() == [10] * STEPS
    expected = cross_entropy(STUDENT.double()).reshape(STEPS, 10)
    np.testing.assert_allclose(value.value, expected.mean(1), rtol=1e-12)
    np.testing.assert_allclose(value["std"], expected.std(1), rtol=1e-9)
    norms = np.linalg.norm(by_autograd(cross_entropy), axis=1).reshape(STEPS, 10)
    np.testing.assert_allclose(norm["mean"], norms.mean(1), rtol=1e-9)


def test_cross_entropy_lies_to_kd_as_brute_force_says(runs):
    kd_slope, ce_slope = by_autograd(plain_kd), by_autograd(cross_entropy)
    norms = [np.linalg.norm(x, axis=1) for x in (kd_slope, ce_slope)]
    cosine = (kd_slope * ce_slope).sum(1) / (norms[0] * norms[1])
    table = runs[0].table("direction")
    (row,) = table[
        table.step.isna()
        & (table.teacher == "all")
        & (table.loss_a == "kd")
        & (table.loss_b == "ce")
    ].to_dict("records")
    whole = (kd_slope * ce_slope).sum() / np.prod([np.linalg.norm(x) for x in (kd_slope, ce_slope)])
    found = [row[n] for n in ("cosine", "conflict", "cosine_batch", "norm_a", "norm_b", "n")]
    expected = [cosine.mean(), (cosine < 0).mean(), whole, norms[0].mean(), norms[1].mean(), N]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    table = runs[0].table("conflict")
    rows = of_step(table, teacher="all", term_a="ce", term_b="kd")
    np.testing.assert_allclose(rows.cosine, cosine.reshape(STEPS, 10).mean(1), rtol=1e-9)


def test_a_pair_of_which_one_needs_a_label_is_over_the_rows_that_both_see(runs, labelled):
    table, few = runs[0].table("direction"), labelled.table("direction")
    columns = ["cosine", "cosine_batch", "norm_a", "norm_b", "multiplier", "rms_a", "ratio_q75"]
    where = {"teacher": "all", "loss_a": "kd", "loss_b": "dkd"}
    (ours,) = of_step(table[table.step.isna()], **where)[[*columns, "n"]].to_numpy()
    (theirs,) = of_step(few, **where)[[*columns, "n"]].to_numpy()
    np.testing.assert_allclose(ours.astype(float), theirs.astype(float), rtol=1e-9)


def test_the_explorer_takes_distributions_for_cross_entropy(runs):
    from kdanalysis.pages.explorer import explorer_of

    soft, hard = (explorer_of({"run": run.source}).grams["run"] for run in runs)
    row = soft[(soft.temperature == 4) & (soft.k == 2)].iloc[0]
    kd_slope, ce_slope = by_autograd(plain_kd), by_autograd(cross_entropy)
    assert row.inner_ce_kd == pytest.approx((kd_slope * ce_slope).sum(1).mean(), rel=1e-9)
    assert row.square_ce == pytest.approx((ce_slope**2).sum(1).mean(), rel=1e-9)
    assert row.square_kd == hard[(hard.temperature == 4) & (hard.k == 2)].iloc[0].square_kd


def test_targets_of_several_classes_at_once_serve_the_loss_that_takes_them(tmp_path):
    loss = kd.Sum(kd.BinaryCrossEntropy(), kd.Sigmoid(2.0))
    several = (HOT + HOT.roll(2, 1)).clamp(max=1)
    table = kd.open(record(tmp_path / "run", several, loss)).table("value")
    expected = F.binary_cross_entropy_with_logits(STUDENT, several, reduction="none").sum(1)
    rows = of_step(table, loss="trained", term="bce")
    np.testing.assert_allclose(rows.value, expected.reshape(STEPS, 10).mean(1), rtol=1e-6)
    assert of_step(table, loss="ce").n.tolist() == [0] * STEPS
    assert of_step(table, loss="kd").n.tolist() == [10] * STEPS


def test_rows_without_any_target_count_for_the_losses_that_need_none(tmp_path):
    nothing = LABEL.where(torch.arange(N) % 3 > 0, -1)
    run = kd.open(record(tmp_path / "run", nothing, kd.KD()))
    table = run.table("magnitude")
    assert set(table[table.loss == "kd"].n) == {10}
    assert table[table.loss == "ce"].n.sum() == (nothing >= 0).sum()
    assert (run.source.unlabelled, run.source.soft) == ((nothing < 0).sum(), 0)


def test_a_row_that_is_no_distribution_is_none_to_cross_entropy():
    soft = torch.tensor([[0.5, 0.5], [torch.nan, 0.5], [0.9, 0.9], [1.5, -0.5], [0.2, 0.8]])
    label = torch.tensor([-1, -1, -1, -1, 1])
    rows, target = Targets(label, soft, soft).seen_by(kd.CrossEntropy())
    assert rows.tolist() == [True, False, False, False, True]
    torch.testing.assert_close(target, torch.tensor([[0.5, 0.5], [0.0, 1.0]]).double())
    rows, _ = Targets(label, soft, soft).seen_by(kd.BinaryCrossEntropy())
    assert rows.tolist() == [True, False, True, False, True]


def test_of_kept_classes_all_rows_count_where_no_label_is_needed(tmp_path):
    keep = {"keep": kd.TopK(3)}
    with pytest.warns(RuntimeWarning, match="targets over the classes are not kept beside"):
        soft = record(tmp_path / "soft", SOFT, **keep)
    runs = kd.open(soft), kd.open(record(tmp_path / "hard", LABEL, **keep))
    for name in ("magnitude", "share", "value"):
        tables = [without(run.table(name), "loss", "term") for run in runs]
        pd.testing.assert_frame_equal(*tables, rtol=1e-9)
    table = runs[0].table("value")
    assert table[table.loss == "ce"].n.sum() == (~OVER).sum()


def test_arrays_and_files_with_distributions_have_the_tables_of_the_run(runs, tmp_path):
    arrays = {"teacher_logits": TEACHER.numpy(), "student_logits": STUDENT.numpy()}
    np.savez(tmp_path / "x.npz", **arrays, labels=SOFT.numpy())
    in_memory = kd.open(arrays | {"target": SOFT})
    for opened in (in_memory, kd.open(tmp_path / "x.npz")):
        table, of_run = (one.table("value") for one in (opened, runs[0]))
        for loss in ("ce", "kd", "dkd"):
            rows = of_run[of_run.loss == loss]
            expected = (rows.value * rows.n).groupby(rows.term).sum() / rows.groupby("term").n.sum()
            found = table[table.loss == loss].set_index("term").value.sort_index()
            pd.testing.assert_series_equal(found, expected, check_names=False, rtol=1e-12)
        assert opened.source.soft == OVER.sum()


def test_losses_are_compared_on_distributions_and_what_none_serves_is_refused():
    over = {"teacher_logits": TEACHER, "student_logits": STUDENT, "target": SOFT}
    over = {name: values[OVER] for name, values in over.items()}
    study = kd.compare(over, losses="ce,kd")
    assert study.tables["direction"].n.tolist() == [OVER.sum()]
    assert "over several classes" in study.facts["student arrays"]
    with pytest.raises(ValueError, match="'dkd' needs a label of every sample, and no target of"):
        kd.compare(over, losses="kd,dkd")
    candidates = kd.diagnose(over).tables["candidates"]
    assert "DKD's default" not in set(candidates.candidate)
    assert candidates.n.tolist() == [OVER.sum()] * len(candidates)
