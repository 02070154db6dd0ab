"""A sparse teacher: its tail has the student's shape, and the true one stays within the bounds."""

import numpy as np
import pandas as pd
import pytest
import torch

import kdanalysis as kd
from kdanalysis.analyzers.truncation.lost import LostGradient, may_be_off
from kdanalysis.analyzers.truncation.sparse import add_sparse
from kdanalysis.core.truncation.algebra import CONVENTIONS
from kdanalysis.pages.truncation import excerpt
from tests.analyzers.truncation.rows import KS, N, V, pair, plain

STUDENT, TEACHER = pair()
HELD = 20


def completed(temperature: float = 1.0) -> torch.Tensor:
    """Logits of the teacher that the tail of the student's shape makes."""
    p, q = ((side / temperature).softmax(-1) for side in (TEACHER, STUDENT))
    for row in range(N):
        rest = TEACHER[row].argsort(descending=True)[HELD:]
        p[row, rest] = p[row, rest].sum() * q[row, rest] / q[row, rest].sum()
    return temperature * p.log()


def shares(study, temperature: float = 1.0):
    table = study.tables["truncation"]
    table = table[table.temperature == temperature]
    return table.set_index(["measure", "convention", "k"])


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_tables_are_those_of_the_completed_teacher(temperature):
    sparse = kd.SparseTeacher.from_logits(TEACHER, HELD, (1, 2))
    study = kd.truncation(STUDENT, sparse, KS, (temperature,))
    assert list(study.tables) == ["truncation", "truncation_direction", "truncation_tail"]
    assert study.facts["known"] == "log-probabilities of at most 20 tokens a row at T = 1"
    share = shares(study, temperature).share
    tails = study.tables["truncation_tail"].set_index(["quantity", "k"])["mean"]
    direction = study.tables["truncation_direction"].set_index(["quantity", "convention", "k"])
    p, q = ((side / temperature).softmax(-1).numpy() for side in (TEACHER, STUDENT))
    order = (-p).argsort(1)
    for k in KS:
        gradients, values = plain(STUDENT, completed(temperature), k, temperature, TEACHER)
        full = gradients.pop("full")
        for name, kept in gradients.items():
            gone = full - kept
            l2 = np.linalg.norm(gone, axis=1).sum() / np.linalg.norm(full, axis=1).sum()
            assert share["l2", name, k] == pytest.approx(l2, rel=1e-9)
            l1 = np.abs(gone).sum() / np.abs(full).sum()
            assert share["l1", name, k] == pytest.approx(l1, rel=1e-9)
            value = (values["full"] - values[name]).sum() / values["full"].sum()
            assert share["value", name, k] == pytest.approx(value, rel=1e-8)
            ratio = np.linalg.norm(kept, axis=1) / np.linalg.norm(full, axis=1)
            found = direction["mean"]["ratio", name, k]
            assert found == pytest.approx(ratio.mean(), rel=1e-9, abs=1e-12)
        for side, values in (("teacher", p), ("student", q)):
            outside = np.take_along_axis(values, order[:, k:], 1).sum(1).mean()
            assert tails[side, k] == pytest.approx(outside, rel=1e-10)


def test_what_all_stored_tokens_lose_by_the_bucket_is_unknown_alone():
    sparse = kd.SparseTeacher.from_logits(TEACHER, HELD)
    found = shares(kd.truncation(STUDENT, sparse, (4, HELD)))
    assert found.share["l2", "bucket", HELD] == pytest.approx(0, abs=1e-7)
    assert found.share["l2", "bucket", 4] > 0.01
    assert found.unknown["l1", "bucket", HELD] > 0


def ragged(more: int) -> kd.SparseTeacher:
    """Eight tokens a row, and one more in some rows, as a server answers of a prompt."""
    known, ids = TEACHER.log_softmax(-1).topk(9)
    ids[more:, 8], known[more:, 8] = -1, 0.0
    return kd.SparseTeacher(ids, known, vocabulary=V)


def test_a_k_that_is_all_of_many_rows_is_no_finding_although_some_rows_have_more():
    study = kd.truncation(STUDENT, ragged(N // 2), (4, 8))
    for noun, start in (("truncation", "loses least at K = 4"), ("truncation_direction", "K = 4")):
        table = study.tables[noun]
        part = table.groupby("k").by_definition.agg(["min", "max"])
        assert part.to_numpy() == pytest.approx(np.array([[0, 0], [1 - N // 2 / N] * 2]))
        assert start in study.readings[noun].sentence
        assert "no more is stored" not in study.readings[noun].sentence


def test_a_k_that_is_all_of_few_rows_is_looked_at():
    study = kd.truncation(STUDENT, ragged(N - 1), (4, 8))
    assert "loses least at K = 8" in study.readings["truncation"].sentence
    assert "K = 8" in study.readings["truncation_direction"].sentence


def test_where_no_k_says_more_the_sentences_say_what_is_by_definition():
    for reading in kd.truncation(STUDENT, ragged(0), (8,)).readings.values():
        said = 'in 100.0 % of the rows no more is stored, and "bucket" is full KD itself.'
        assert (said in reading.sentence) == ("student's shape" in reading.sentence)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_true_gradient_lies_within_the_bounds_of_every_row(temperature):
    sparse = kd.SparseTeacher.from_logits(TEACHER, HELD, (1, 2))
    p = (TEACHER / temperature).softmax(-1).numpy()
    for row in range(N):
        one, student = slice(row, row + 1), STUDENT[row : row + 1]
        analyzer = LostGradient(V, KS, (temperature,))
        add_sparse([analyzer], student, sparse[one])
        off = analyzer.unknown[0]
        true, _ = plain(student, TEACHER[one], 4, temperature)
        guess, _ = plain(student, completed(temperature)[one], 4, temperature)
        gap = true["full"] - guess["full"]
        assert np.linalg.norm(gap) <= off[0] * (1 + 1e-12)
        assert np.abs(gap).sum() <= off[1] * (1 + 1e-12)
        outside = np.sort(p[row])[:-HELD].sum()
        assert off[1] == pytest.approx(2 * temperature * outside)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("tilt", [-1.0, 0.0, 1.5])
def test_the_true_shares_lie_within_their_bounds_whatever_the_tail(tilt, temperature):
    teacher = TEACHER.clone()
    for row in range(N):  # a tail that turns away from the student's, below all stored tokens
        rest = TEACHER[row].argsort(descending=True)[HELD:]
        lower = TEACHER[row, rest] - 2 + tilt * STUDENT[row, rest]
        teacher[row, rest] = lower.clamp(max=float(TEACHER[row, rest].max()))
    sparse = kd.SparseTeacher.from_logits(teacher, HELD, (temperature, 1.0))
    known = shares(kd.truncation(STUDENT, sparse, KS, (temperature,)), temperature)
    true = shares(kd.truncation(STUDENT, teacher, KS, (temperature,)), temperature)
    gap, bounded = (true.share - known.share).abs(), known.unknown.notna()
    assert (gap[bounded] <= known.unknown[bounded] + 1e-12).all()
    assert bounded["l1"].all()


def test_may_be_off_is_nothing_where_nothing_is_unknown_and_l2_has_no_bound_from_1_on():
    share = torch.tensor([[0.5, 3.0]]).expand(1, 3, 1, 2)
    off = torch.tensor([0.2, 0.2, torch.nan])[None, :, None, None]
    l2, l1, value = may_be_off(share, off)[0, :, 0].tolist()
    assert l2 == pytest.approx([0.2 * 1.5 / 0.8, 0.2 * 4 / 0.8])
    assert l1 == pytest.approx([0.2, 0.5])  # 3 / 1.2 is 0.5 less
    assert np.isnan(value).all()
    assert may_be_off(share, torch.zeros(1, 3, 1, 1)).eq(0).all()
    most = may_be_off(share, torch.ones(1, 3, 1, 1))
    assert most[:, 0].isnan().all()
    assert most[:, 1].isfinite().all()


def test_absent_tokens_and_any_order_change_nothing():
    sparse = kd.SparseTeacher.from_logits(TEACHER, HELD)
    order = torch.randperm(HELD, generator=torch.Generator().manual_seed(0))
    ids = torch.cat((torch.full((N, 2), -1), sparse.ids[:, order].long()), 1)
    logs = torch.cat((torch.zeros(N, 2).double(), sparse.logprobs[:, order]), 1)
    other = kd.SparseTeacher(ids, logs, sparse.log_other)
    expected, found = (shares(kd.truncation(STUDENT, x, KS)) for x in (sparse, other))
    np.testing.assert_allclose(found.share, expected.share, rtol=1e-9)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("rank", [0, 7, -1])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_rows_of_the_student_that_are_not_finite_are_counted_and_left_out(value, rank, dtype):
    sparse = kd.SparseTeacher.from_logits(TEACHER, HELD)
    student = STUDENT.to(dtype)
    student[3, TEACHER[3].argsort(descending=True)[rank]] = value  # of a stored token, of another
    there = torch.arange(N) != 3
    found = kd.truncation(student, sparse, KS).tables
    expected = kd.truncation(student[there], sparse[there], KS).tables
    for name, table in expected.items():
        pd.testing.assert_frame_equal(found[name], table.assign(non_finite=1))


def test_logits_beyond_the_vocabulary_are_left_out():
    sparse = kd.SparseTeacher.from_logits(TEACHER, HELD)
    plain = shares(kd.truncation(STUDENT, sparse, KS))
    for more in (torch.full((N, 6), -torch.inf), torch.full((N, 6), -40.0)):
        found = shares(kd.truncation(torch.cat((STUDENT, more), 1), sparse, KS))
        np.testing.assert_array_equal(found, plain)
    with pytest.warns(RuntimeWarning, match="logits 50 to 55 are beyond the teacher's vocabulary"):
        found = shares(kd.truncation(torch.cat((STUDENT, STUDENT[:, :6]), 1), sparse, KS))
    np.testing.assert_array_equal(found, plain)
    unsaid = kd.SparseTeacher(sparse.ids, sparse.logprobs)
    with pytest.raises(ValueError, match=r"look at; \[:, :50\] of each side cuts off padding"):
        kd.truncation(torch.cat((STUDENT, torch.full((N, 6), -torch.inf)), 1), unsaid, KS)


def test_log_probabilities_that_cannot_be_are_warned_of_where_the_student_says_how_many():
    sparse = kd.SparseTeacher.from_logits(TEACHER, HELD)
    with pytest.warns(RuntimeWarning, match="in 60 of 60 rows no known token has 1 / 50, which"):
        kd.truncation(STUDENT, kd.SparseTeacher(sparse.ids, sparse.logprobs - 9), KS)


def test_the_sentence_says_how_far_it_may_be_off():
    sparse = kd.SparseTeacher.from_logits(TEACHER, HELD)
    study = kd.truncation(STUDENT, sparse, (4, HELD))
    off = shares(study).unknown["l1", "bucket", 4]
    sentence = study.readings["truncation"].sentence
    assert "loses least at K = 4 where the tail that is not stored has the student's" in sentence
    high = shares(study).high["l1", "bucket", 4]
    assert f"with another shape these may be up to {100 * (high + off):.1f} % and " in sentence
    part = study.tables["truncation_direction"].unknown.unique().item()
    l2 = shares(study).loc[("l2", "bucket", 4)]
    assert l2.unknown == pytest.approx(part * (1 + l2.share) / (1 - part))
    assert (
        f"another by {100 * part:.1f} % of its" in study.readings["truncation_direction"].sentence
    )
    shown = excerpt(study.tables["truncation"]).set_index(["measure", "convention"]).unknown
    assert shown["l1", "none"] == f"± {100 * off:.1f} %"
    assert shown["value", "none"] == "without bound"
    assert "mass alone" not in kd.truncation(STUDENT, TEACHER, (4,)).readings["truncation"].sentence
    assert set(CONVENTIONS) == set(study.tables["truncation"].convention)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: {"ks": (HELD + 1,)}, "row 0 of the teacher has 20 tokens: a K of 21 needs"),
        (lambda t: {"teacher": t[:5]}, "the student has 60 rows of logits and the teacher 5 of"),
        (lambda t: {"student": STUDENT[:, :9], "ks": (1,)}, "need the same vocabulary, as"),
        (lambda t: {"teacher": t[:0]}, "the student has 60 rows of logits and the teacher 0 of"),
        (lambda t: {"teacher": t[:0], "student": STUDENT[:0]}, "and one at least"),
        (lambda t: {"student": STUDENT * torch.nan}, "the student holds NaN or inf: there is"),
        (lambda t: {"temperatures": (3.0,)}, "does not say how much mass the other tokens have"),
        (lambda t: {"losses": "kd"}, "losses needs all of the teacher's logits"),
        (lambda t: {"target": TEACHER.argmax(1)}, "target needs all of the teacher's logits"),
    ],
)
def test_what_a_sparse_teacher_cannot_say_is_refused(change, words):
    sparse = kd.SparseTeacher.from_logits(TEACHER, HELD)
    given = {"student": STUDENT, "teacher": sparse, "ks": KS} | change(sparse)
    with pytest.raises(ValueError, match=words):
        kd.truncation(**given)


def test_conventions_are_not_compared_where_the_bucket_is_right_by_definition():
    sparse = kd.SparseTeacher.from_logits(TEACHER, HELD)
    study = kd.truncation(STUDENT, sparse, (4, HELD))
    assert "loses least at K = 4 where" in study.readings["truncation"].sentence
    alone = kd.truncation(STUDENT, sparse, (HELD,)).readings["truncation"].sentence
    assert "student's shape, nothing of the gradient in L1 and nothing in L2" in alone
    assert "flatters" not in alone
    (line,) = [
        line for line in study.figure("truncation").axes[1].lines if line.get_label() == "bucket"
    ]
    drawn = np.asarray(line.get_ydata(), float)
    assert np.isfinite(drawn[0])
    assert np.isnan(drawn[1])


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_what_lies_beyond_the_vocabulary_must_be_padding(wrong):
    sparse = kd.SparseTeacher.from_logits(TEACHER, HELD)
    wide = torch.nn.functional.pad(STUDENT, (0, 6), value=1.0)
    wide[0, 0] = torch.nan
    with pytest.warns(RuntimeWarning, match="beyond the teacher's vocabulary and left out"):
        kd.truncation(wide, sparse, KS)
    wide[2, V + 3] = wrong
    with pytest.raises(ValueError, match=rf"row 2 hold {wrong} at token {V + 3}, beyond the teach"):
        kd.truncation(wide, sparse, KS)


def test_rounding_of_stored_log_probabilities_is_no_tail_that_is_not_known():
    sparse = kd.SparseTeacher.from_logits(TEACHER, V - 1)
    ids, logprobs = sparse.ids, sparse.inside().float()
    whole = kd.SparseTeacher(ids, logprobs - logprobs.logsumexp(-1, True), vocabulary=V)
    study = kd.truncation(STUDENT, whole, KS)
    assert study.tables["truncation"].unknown.max() < 1e-6
    assert "not stored" not in study.readings["truncation"].sentence
    assert "own gradient" not in study.readings["truncation_direction"].sentence
    values = study.tables["truncation"].query("measure == 'value' and convention == 'bucket'")
    assert values.share.notna().all()


def test_a_row_without_a_tail_leaves_the_values_of_the_others():
    ids = torch.arange(HELD).expand(N, HELD)
    logprobs = torch.linspace(0, 3, HELD).expand(N, -1).log_softmax(-1) - 1e-3
    log_other = (-(logprobs.exp().sum(-1)) + 1).log()
    logprobs[0], log_other[0] = logprobs[0] + 1e-3, -torch.inf
    sparse = kd.SparseTeacher(ids, logprobs, log_other=log_other, vocabulary=V)
    found = kd.truncation(TEACHER, sparse, (4, HELD)).tables["truncation"]
    assert found[found.measure == "value"].share.notna().all()
