"""Truncated teachers at the command line: one sentence of what cannot be, options as typed."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sparse_files import YAML, distillkit, vllm

import kdanalysis as kd

RNG = np.random.default_rng(0)
TEACHER, STUDENT = RNG.normal(size=(2, 4, 10)).astype(np.float32)
KNOWN = kd.SparseTeacher.from_logits(TEACHER, 3)
GOOD = {"ids": KNOWN.ids.numpy(), "logprobs": KNOWN.logprobs.numpy()}
LONGEST = 400


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("student.npz", student_logits=STUDENT)
    np.savez("teacher.npz", teacher_logits=TEACHER)
    np.savez("both.npz", teacher_logits=TEACHER, student_logits=np.pad(STUDENT, ((0, 0), (0, 3))))
    np.savez("good.npz", **GOOD)
    np.savez("odd.npz", tok=GOOD["ids"], val=GOOD["logprobs"], gold=np.arange(4))
    np.savez("mine.npz", mine=STUDENT, other=TEACHER)
    return tmp_path


@pytest.fixture
def refused(run_command, here):
    """Run a command that ends in one sentence, which names no argument of Python."""

    def refuse(says, *command):
        result = run_command(*command)
        assert result.exit_code == 2, result.stdout
        (sentence,) = result.stderr.splitlines()
        assert re.search(says, sentence), sentence
        assert not re.search(r"vocabulary=|config=|by keys| keys name", sentence)
        assert len(sentence) <= LONGEST

    return refuse


def changed(name, row, place, value):
    values = GOOD[name].copy()
    values[row, place] = value
    return {name: values}


ARRAYS = {
    "row 2 holds the id .* twice": changed("ids", 2, 1, GOOD["ids"][2, 0]),
    "token 10, and the student's logits are of 10 tokens": changed("ids", 1, 0, 10),
    "row 1 holds the id -5": changed("ids", 1, 0, -5),
    "row 0 add up to .* are they logits": {"logprobs": GOOD["logprobs"] + 2},
    "row 3 holds no token": changed("logprobs", 3, slice(None), -1e4),
    "row 0 holds the log-probability nan": changed("logprobs", 0, 0, np.nan),
    "add up to .* with log_other: need 1": {"log_other": np.zeros(4)},
    "holds draws with their counts": {"counts": np.ones((4, 3), int)},
}


@pytest.mark.parametrize("says", ARRAYS)
def test_arrays_that_cannot_be_true_are_refused(refused, says):
    np.savez("bad.npz", **GOOD | ARRAYS[says])
    refused(says, "truncation", "bad.npz", "--student", "student.npz", "--ks", 1)


def test_lists_and_answers_that_cannot_be_true_are_refused(refused, here):
    columns = {"ids": [[1, 2], [3]], "logprobs": [[-1.0, -2.0], [-1.0, -2.0]]}
    pq.write_table(pa.table(columns), "ragged.parquet")
    refused("has 1 ids and 2 logprobs in row 1", "diagnose", "ragged.parquet")
    (here / "cut.json").write_text(json.dumps(vllm(([1], [-1.0])))[:20])
    refused("is no JSON, or was cut off", "diagnose", "cut.json")
    path = distillkit(here, "")
    refused("there is no .*compression_config.yaml: .* there, or by --config", "diagnose", path)
    distillkit(here, YAML.replace("exact_k: 2", "exact_k: 1"))
    refused("24 bytes a token and .* says 22", "diagnose", path)


TRUNCATE = ("truncation", "good.npz", "--ks", "1", "--student")


@pytest.mark.parametrize(
    ("says", "command"),
    [
        ("teacher.npz has no student logits: it has teacher_logits", (*TRUNCATE, "teacher.npz")),
        ("teacher.npz has no student", ("truncation", "teacher.npz", "--student", "teacher.npz")),
        ("good.npz has no student logits: it has ids, logprobs", (*TRUNCATE, "good.npz")),
        ("mine.npz has no student .* say by --keys which", (*TRUNCATE, "mine.npz")),
        (
            "mine.npz has no x: it has mine, other",
            (*TRUNCATE, "mine.npz", "--keys", "student_logits=x"),
        ),
        (
            "student_logits of student.npz have 10 classes: --vocabulary 20 cannot be cut",
            (*TRUNCATE, "student.npz", "--vocabulary", "20"),
        ),
        ("need 0 to 4 within the vocabulary", (*TRUNCATE, "student.npz", "--vocabulary", "5")),
        ("--vocabulary 10 cuts off padding", ("truncation", "both.npz")),
        ("has 3 tokens: a K of 9 needs", (*TRUNCATE[:3], "9", "--student", "student.npz")),
        ("has no x: it has gold, tok", ("diagnose", "odd.npz", "--keys", "ids=tok,logprobs=x")),
        ("--keys name .* need some of ids", ("diagnose", "good.npz", "--keys", "step=x")),
        (
            "--kind says how a truncated teacher is read, and teacher.npz is none",
            ("diagnose", "teacher.npz", "--kind", "logits"),
        ),
        (
            "--config says how a truncated teacher is read, and both.npz is none",
            ("truncation", "both.npz", "--config", "x.yaml"),
        ),
        (
            "holds no packed numbers of DistillKit's, and needs no settings: .* by --config",
            ("diagnose", "good.npz", "--config", "x.yaml"),
        ),
        ("kind of a SparseTeacher is one of", ("diagnose", "good.npz", "--kind", "probs")),
        ("holds draws", ("diagnose", "good.npz", "--kind", "sampled")),
        ("needs the logsumexp of all logits", (*TRUNCATE, "student.npz", "--kind", "logits")),
        ("k must lie within 1 and 10", ("sparsify", "teacher.npz", "-k", "11", "-o", "a.parquet")),
    ],
)
def test_options_that_do_not_fit_are_answered(refused, says, command):
    refused(says, *command)


def test_a_student_of_fewer_classes_than_the_teachers_file_states_is_told_both(run_command, here):
    run_command("sparsify", "teacher.npz", "-k", "3", "--out", "top.parquet")
    np.savez("narrow.npz", student_logits=STUDENT[:, :7])
    result = run_command("truncation", "top.parquet", "--student", "narrow.npz", "--ks", "1")
    assert result.stderr == (
        "kdanalysis: error: the student's logits in narrow.npz have 7 classes, and the teacher's "
        "file states a vocabulary of 10: need the same; where its last ones are padding, "
        "--vocabulary 7 leaves them out\n"
    )


def test_unusual_names_are_given_by_keys(run_command, here):
    keys = ("--keys", "ids=tok,logprobs=val,target=gold", "--keys", "student_logits=mine")
    shown = [
        run_command("truncation", name, "--ks", "1", "--student", *more)
        for name, *more in (("odd.npz", "mine.npz", *keys), ("good.npz", "student.npz"))
    ]
    assert shown[0].exit_code == 0, shown[0].stderr
    rows = [[line for line in one.stdout.splitlines() if " l1 " in line] for one in shown]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 4
    card = run_command("diagnose", "odd.npz", "--keys", keys[1])
    assert "accuracy" in card.stdout, card.stderr


def test_an_answer_of_a_server_has_its_own_names(refused, here):
    (here / "a.json").write_text(json.dumps(vllm(([1], [-1.0]))))
    refused(": --keys cannot name", "diagnose", "a.json", "--keys", "ids=x,logprobs=y")


def test_logits_with_their_logsumexp_are_those_of_log_probabilities(run_command, here):
    sums = np.log(np.exp(TEACHER.astype(float)).sum(-1))
    raw = np.take_along_axis(TEACHER, GOOD["ids"].astype(int), 1)
    np.savez("raw.npz", ids=GOOD["ids"], logprobs=raw, logsumexp_1=sums)
    shown = {}
    for name, *more in (("good.npz",), ("raw.npz", "--kind", "logits")):
        ran = run_command("truncation", name, "--ks", "1", "--student", "student.npz", *more)
        assert ran.exit_code == 0, ran.stderr
        card = run_command("diagnose", name, "--temperatures", "1", *more)
        lines = [line for line in ran.stdout.splitlines() if " l1 " in line]
        shown[name] = lines, [line for line in card.stdout.splitlines() if "tail" in line]
    assert shown["raw.npz"] == shown["good.npz"]
    assert len(shown["good.npz"][0]) == 4


def test_settings_of_distillkit_may_lie_elsewhere(run_command, here):
    settings = "d: 8\nk: 1\nexact_k: 1\nresidual_bins: []\ndelta_encoding: false\n"
    path = distillkit(here, settings, list(np.float32(-1.0).tobytes()), [[5]], 3)
    beside = run_command("diagnose", path)
    (here / "compression_config.yaml").rename("moved.yaml")
    moved = run_command("diagnose", path, "--config", "moved.yaml")
    assert moved.exit_code == 0, moved.stderr
    assert moved.stdout == beside.stdout


def test_a_bound_that_needs_the_number_of_tokens_says_so(run_command, here):
    said = "entropy_high   not known: it needs the number of tokens, --vocabulary N"
    assert said in run_command("diagnose", "good.npz").stdout
    assert said not in run_command("diagnose", "good.npz", "--vocabulary", 10).stdout
