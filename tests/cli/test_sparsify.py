"""`sparsify` keeps the largest log-probabilities of a dense file, whole or not at all."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.special import log_softmax, logsumexp

import kdanalysis as kd

N, C = 11, 40
TEACHER = np.random.default_rng(0).normal(0, 3, (N, C)).astype(np.float32)
TARGET = np.arange(N) % C


@pytest.fixture
def dense(tmp_path):
    np.savez(tmp_path / "dense.npz", teacher_logits=TEACHER, target=TARGET)
    return tmp_path / "dense.npz"


@pytest.fixture
def few_rows(monkeypatch):
    monkeypatch.setattr("kdanalysis.studies.sparsify.WIDE", 3 * C)


@pytest.mark.usefixtures("few_rows")
def test_the_file_is_exact_at_every_temperature(run_command, dense, tmp_path):
    out = tmp_path / "top.parquet"
    result = run_command("sparsify", dense, "-k", 5, "--temperatures", "2,1", "--out", out)
    assert result.exit_code == 0, result.stderr
    assert "11 samples, 40 classes: 5 tokens a row" in result.stdout
    columns = {n: np.array(v) for n, v in pq.read_table(out).to_pydict().items()}
    x = TEACHER.astype(float)
    order = np.argsort(-x, axis=1)[:, :5]
    np.testing.assert_array_equal(columns["ids"], order)
    log_p = log_softmax(x / 2, -1)
    np.testing.assert_allclose(columns["logprobs"], np.take_along_axis(log_p, order, 1), rtol=1e-12)
    rest = log_p.copy()
    np.put_along_axis(rest, order, -np.inf, 1)
    np.testing.assert_allclose(columns["log_other"], logsumexp(rest, 1), rtol=1e-12)
    for t in (1, 2):
        np.testing.assert_allclose(columns[f"logsumexp_{t}"], logsumexp(x / t, 1), rtol=1e-12)
    np.testing.assert_array_equal(columns["target"], TARGET)


def test_what_is_written_is_read_back(run_command, dense, tmp_path):
    out = tmp_path / "top.parquet"
    run_command("sparsify", dense, "-k", 5, "--temperatures", "1,4", "--out", out)
    teacher = kd.read_sparse(out)
    assert (teacher.vocabulary, teacher.temperature, len(teacher)) == (C, 1.0, N)
    for t in (1, 4):
        log_p = log_softmax(TEACHER.astype(float) / t, -1)
        known = np.take_along_axis(log_p, teacher.ids.numpy().astype(int), 1)
        np.testing.assert_allclose(teacher.at(t).inside().numpy(), known, rtol=1e-9)
        tail = teacher.at(t).tail().exp().numpy()
        np.testing.assert_allclose(tail, 1 - np.exp(known).sum(1), rtol=1e-9)
    with pytest.raises(ValueError, match="made at T = 1, and temperature=2 is given"):
        kd.read_sparse(out, temperature=2)
    result = run_command("diagnose", out, "--kind", "logits")
    assert result.exit_code == 2
    assert "log-probabilities at T = 1, and kind 'logits' is given: leave it out" in result.stderr


def test_a_file_that_exists_is_not_replaced_unasked(run_command, dense, tmp_path):
    out = tmp_path / "top.parquet"
    out.write_text("precious")
    result = run_command("sparsify", dense, "-k", 5, "--out", out)
    assert (result.exit_code, out.read_text()) == (2, "precious")
    assert "exists already" in result.stderr
    assert run_command("sparsify", dense, "-k", 5, "--out", out, "--overwrite").exit_code == 0
    assert len(kd.read_sparse(out)) == N


@pytest.mark.usefixtures("few_rows")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_bad_row_is_named_and_leaves_nothing(run_command, tmp_path, value):
    teacher = TEACHER.copy()
    teacher[7, 3] = value
    np.save(tmp_path / "bad.npy", teacher)
    out = tmp_path / "out" / "top.parquet"
    result = run_command("sparsify", tmp_path / "bad.npy", "--out", out, "-k", 5)
    assert result.exit_code == 2
    assert "NaN or inf in the logits of row 7" in result.stderr
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-k", 41), "k must lie within 1 and 40, the classes"),
        (("-k", 0), "k must lie within 1 and 40, the classes"),
        (("-k", 5, "--temperatures", "0"), "temperature must lie between 0.001 and 10000"),
        (("-k", 5, "--temperatures", "1,1"), "temperatures must differ"),
    ],
)
def test_what_cannot_be_is_refused(run_command, dense, tmp_path, options, message):
    result = run_command("sparsify", dense, *options, "--out", tmp_path / "top.parquet")
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "top.parquet").exists()


def test_another_suffix_is_refused(run_command, dense, tmp_path):
    result = run_command("sparsify", dense, "--out", tmp_path / "top.npz", "-k", 5)
    assert result.exit_code == 2
    assert "ends in .parquet, got top.npz" in result.stderr


def test_all_classes_leave_no_tail(run_command, dense, tmp_path):
    run_command("sparsify", dense, "-k", C, "--out", tmp_path / "all.parquet")
    assert np.isneginf(kd.read_sparse(tmp_path / "all.parquet").tail().numpy()).all()


def test_diagnose_says_what_the_tokens_say(run_command, dense, tmp_path):
    out = tmp_path / "top.parquet"
    run_command("sparsify", dense, "-k", 5, "--temperatures", "1,2", "--out", out)
    result = run_command("diagnose", out, "--out", tmp_path / "card")
    assert result.exit_code == 0, result.stderr
    assert "top.parquet: 11 rows, tokens a row: 5 at most" in result.stdout
    assert "T = 4, 8: top.parquet has no logsumexp there" in result.stdout
    assert "kdanalysis truncation" in result.stdout
    p = np.exp(log_softmax(TEACHER.astype(float), -1))
    tail = (1 - np.sort(p)[:, -5:].sum(1)).mean()
    assert f"On average {tail:.2g} of the mass is outside" in result.stdout
    files = {path.name for path in (tmp_path / "card").rglob("*.*")}
    assert {"report.html", "known.csv", "known_mass.csv"} <= files


@pytest.mark.parametrize("command", [("sweep",), ("compare", "--losses", "kd,gdkd")])
def test_what_needs_all_classes_says_what_to_call_instead(run_command, dense, tmp_path, command):
    out = tmp_path / "top.parquet"
    run_command("sparsify", dense, "-k", 5, "--out", out)
    result = run_command(command[0], out, *command[1:])
    assert result.exit_code == 2
    assert "a few tokens a row of a truncated teacher" in result.stderr
    assert "kdanalysis truncation --student FILE what they lose" in result.stderr
    assert len(result.stderr.replace(str(tmp_path), "")) <= 400


def test_draws_are_no_card(run_command, tmp_path):
    ids = np.array([[1, 2]])
    np.savez(tmp_path / "a.npz", ids=ids, logprobs=np.log([[0.5, 0.25]]), counts=np.array([[3, 1]]))
    result = run_command("diagnose", tmp_path / "a.npz")
    assert result.exit_code == 2
    assert "holds draws with their counts" in result.stderr
