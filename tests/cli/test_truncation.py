"""`truncation` prints shares and sentences, fills a folder, and refuses bad input."""

import json

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
    assert row[3::2] == [f"{100 * table.share['l1', 'bucket', k]:.1f}" for k in (1, 4, 5)]
    assert row[4::2] == 3 * ["%"]
    assert found.readings["truncation"].sentence in result.stdout


def test_of_many_k_ten_are_printed(run_command, file, tmp_path):
    result = run_command("truncation", file, "--ks", "1-29", "--out", tmp_path / "out")
    title, head = result.stdout.splitlines()[:2]
    assert title.endswith("; an excerpt, --out writes all of it")
    ks = [int(k) for k in head.replace("K = ", "").split()[3:]]
    assert ks == sorted(set(ks))
    assert len(ks) <= 10
    assert (ks[0], ks[-1]) == (1, 29)
    assert pd.read_parquet(tmp_path / "out" / "tables" / "truncation.parquet").k.nunique() == 29
    assert "an excerpt" not in run_command("truncation", file, "--ks", "1-10").stdout


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
        (("--ks", "1,x"), "--ks '1,x' cannot be read: need whole numbers"),
        (("--ks", "all"), "--ks 'all' cannot be read: need whole numbers"),
        (
            ("--ks", "30"),
            "k must be a whole number from 1 to 29 where there are 30 classes, got 30",
        ),
        (("--temperatures", "0"), "temperature must lie between 0.001 and 10000, got 0"),
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


def test_padding_of_minus_infinity_is_named(run_command, tmp_path):
    more = np.full((40, 3), -np.inf, np.float32)
    sides = {"logits_s": STUDENT, "logits_t": TEACHER}
    np.savez(tmp_path / "both.npz", **{n: np.concatenate((x, more), 1) for n, x in sides.items()})
    result = run_command("truncation", tmp_path / "both.npz")
    assert result.exit_code == 2
    assert "nothing to look at; --vocabulary 30 cuts off padding" in result.stderr
    sides["logits_t"] = np.where(np.arange(30) == 4, -np.inf, TEACHER)  # no padding
    np.savez(tmp_path / "nan.npz", **sides)
    assert "cuts off" not in run_command("truncation", tmp_path / "nan.npz").stderr


@pytest.fixture
def sparse(tmp_path):
    """The teacher's 8 most probable tokens, as vLLM and SGLang would answer, and as arrays."""
    known = kd.SparseTeacher.from_logits(TEACHER, 8)
    rows = list(zip(known.ids.tolist(), known.logprobs.tolist(), strict=True))
    served = [
        {str(i): {"logprob": x, "rank": 1} for i, x in zip(*row, strict=True)} for row in rows
    ]
    (tmp_path / "vllm.json").write_text(json.dumps({"prompt_logprobs": [None, *served]}))
    pairs = [[[x, i, None] for i, x in zip(*row, strict=True)] for row in rows]
    answer = {"meta_info": {"input_top_logprobs": [None, *pairs]}}
    (tmp_path / "sglang.json").write_text(json.dumps(answer))
    np.savez(tmp_path / "top.npz", ids=known.ids.numpy(), logprobs=known.logprobs.numpy())
    np.savez(tmp_path / "student.npz", student_logits=STUDENT, target=np.zeros(40, int))
    return tmp_path


@pytest.mark.parametrize("name", ["vllm.json", "sglang.json", "top.npz"])
def test_a_truncated_teacher_is_read_and_says_how_far_it_may_be_off(run_command, sparse, name):
    options = ("--student", sparse / "student.npz", "--ks", "1,4", "--out", sparse / "out")
    result = run_command("truncation", sparse / name, *options)
    assert result.exit_code == 0, result.stderr
    expected = kd.truncation(STUDENT, kd.SparseTeacher.from_logits(TEACHER, 8), (1, 4))
    table = pd.read_parquet(sparse / "out" / "tables" / "truncation.parquet")
    known = expected.tables["truncation"]
    np.testing.assert_allclose(table.share, known.share, rtol=1e-5)
    np.testing.assert_allclose(table.unknown, known.unknown, rtol=1e-5)
    assert "with another shape these may be up to" in result.stdout
    assert result.stdout.splitlines()[1].split()[-4:] == ["K", "=", "4", "unknown"]
    assert "left out  who pays, bias against sampling, temperature, losses" in result.stdout


def test_a_row_of_nan_beside_a_truncated_teacher_is_told(run_command, sparse):
    gone = np.where(np.arange(40)[:, None] == 3, np.nan, STUDENT)
    np.save(sparse / "gone.npy", gone)
    result = run_command("truncation", sparse / "top.npz", "--student", sparse / "gone.npy")
    title = result.stdout.splitlines()[0]
    assert title.startswith(
        "top.npz: 40 rows, log-probabilities of at most 8 tokens a row at T = 1"
    )
    assert "1 of them with NaN or inf and left out" in title


def test_a_padded_student_is_cut_to_the_vocabulary(run_command, sparse):
    padded = np.concatenate((STUDENT, np.full((40, 3), 9, np.float32)), 1)
    np.save(sparse / "padded.npy", padded)
    plain = ("--ks", "4", "--vocabulary", "30")
    shares = []
    for student in ("padded.npy", "student.npz"):
        result = run_command(
            "truncation", sparse / "top.npz", "--student", sparse / student, *plain
        )
        assert result.exit_code == 0, result.stderr
        shares.append([line for line in result.stdout.splitlines() if " l1 " in line])
    assert shares[0] == shares[1]
    assert len(shares[0]) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "holds a few tokens a row of a teacher and no student"),
        (("--student", "student.npz", "--ks", "9"), "has 8 tokens: a K of 9 needs as many"),
        (("--student", "student.npz", "--losses", "kd"), "--losses needs all of the teacher's"),
        (("--student", "student.npz", "--temperatures", "2"), "how much mass the other tokens"),
        (("--student", "nowhere.npz"), "nowhere.npz does not exist"),
    ],
)
def test_what_a_truncated_teacher_cannot_answer_is_one_sentence(
    run_command, sparse, monkeypatch, options, words
):
    monkeypatch.chdir(sparse)
    result = run_command("truncation", "top.npz", *options, "--out", "out")
    assert result.exit_code == 2
    (sentence,) = result.stderr.splitlines()
    assert words in sentence
    assert not (sparse / "out").exists()
