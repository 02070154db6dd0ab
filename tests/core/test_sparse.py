"""A SparseTeacher keeps what it is given, moves between temperatures, and refuses what lies."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, logsumexp, softmax

from kdanalysis import SparseTeacher

LOGITS = 3 * np.random.default_rng(0).standard_normal((6, 40))


def known(k: int = 8, temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Ids and log-probabilities of the k largest, in plain numpy."""
    ids = np.argsort(-LOGITS, -1)[:, :k].astype(np.int32)
    return ids, np.take_along_axis(log_softmax(LOGITS / temperature, -1), ids, -1)


def tail_mass(k: int, temperature: float) -> np.ndarray:
    """Mass outside the k largest, in plain numpy."""
    return np.sort(softmax(LOGITS / temperature, -1), -1)[:, :-k].sum(-1)


@pytest.mark.parametrize("as_torch", [False, True])
def test_from_logits_keeps_the_largest(as_torch):
    given = torch.from_numpy(LOGITS) if as_torch else LOGITS
    sparse = SparseTeacher.from_logits(given, 8, (2, 1))
    ids, logprobs = known(8, 2.0)
    np.testing.assert_array_equal(sparse.ids, ids)
    np.testing.assert_allclose(sparse.logprobs, logprobs, atol=1e-13)
    np.testing.assert_allclose(sparse.log_other.exp(), tail_mass(8, 2.0), atol=1e-13)
    np.testing.assert_allclose(sparse.logsumexp[1.0], logsumexp(LOGITS, -1), atol=1e-13)
    assert (len(sparse), sparse.vocabulary, sparse.temperature, sparse.kind) == (
        *(6, 40, 2.0),
        "logprobs",
    )


def test_half_precision_logits_are_softened_in_float64():
    half = torch.from_numpy(LOGITS).half()
    exact = log_softmax(half.double().numpy(), -1)
    sparse = SparseTeacher.from_logits(half, 8)
    np.testing.assert_allclose(sparse.logprobs, -np.sort(-exact, -1)[:, :8], atol=1e-13)


def test_all_tokens_may_be_kept():
    sparse = SparseTeacher.from_logits(LOGITS, 40)
    assert (sparse.tail() == -torch.inf).all()
    np.testing.assert_allclose(sparse.inside().exp().sum(-1), 1)


def test_the_tail_is_what_one_lacks():
    ids, logprobs = known()
    np.testing.assert_allclose(
        SparseTeacher(ids, logprobs).tail(), np.log(tail_mass(8, 1.0)), atol=1e-12
    )
    stored = np.log(tail_mass(8, 1.0)) - 1e-3
    np.testing.assert_array_equal(SparseTeacher(ids, logprobs, stored).tail(), stored)


@given(st.sampled_from([0.5, 1.0, 3.0]), st.sampled_from([0.5, 1.0, 4.0]))
def test_the_logsumexp_leads_to_another_temperature(stored, asked):
    sparse = SparseTeacher.from_logits(LOGITS, 8, (stored, asked)).at(asked)
    np.testing.assert_allclose(sparse.inside(), known(8, asked)[1], atol=1e-12)
    np.testing.assert_allclose(sparse.tail().exp(), tail_mass(8, asked), atol=1e-12)


def test_logits_with_their_logsumexp_are_log_probabilities():
    ids = known()[0]
    logits = np.take_along_axis(LOGITS, ids, -1)
    sums = {t: logsumexp(LOGITS / t, -1) for t in (1.0, 2.0)}
    sparse = SparseTeacher(ids, logits, vocabulary=40, logsumexp=sums, kind="logits")
    for temperature in sums:
        found = sparse.at(temperature)
        np.testing.assert_allclose(found.inside(), known(8, temperature)[1], atol=1e-12)
        np.testing.assert_allclose(found.tail().exp(), tail_mass(8, temperature), atol=1e-12)


@given(st.integers(2, 39), st.sampled_from([0.5, 1.0, 2.0]), st.sampled_from([0.3, 0.9, 1.7, 5.0]))
def test_without_it_the_tail_lies_within_its_bounds(k, stored, asked):
    ids, logprobs = known(k, stored)
    sparse = SparseTeacher(ids, logprobs, np.log(tail_mass(k, stored)), stored, 40)
    ranked = SparseTeacher.from_logits(LOGITS, k, (stored,))
    truth = tail_mass(k, asked)
    for one in (sparse, ranked):
        low, high = (bound.exp().numpy() for bound in one.tail_bounds(asked))
        assert (low <= truth + 1e-12).all()
        assert (truth <= high + 1e-12).all()
        assert (low < high).all() or stored == asked or k == 39


def test_the_bounds_are_those_of_the_formula():
    for ratio in (2.0, 0.5):
        low, high = SparseTeacher.from_logits(LOGITS, 8).tail_bounds(ratio)
        p, rest = np.exp(known()[1]), tail_mass(8, 1.0)
        packed = rest * p[:, -1] ** (1 / ratio - 1)
        spread = 32 ** (1 - 1 / ratio) * rest ** (1 / ratio)
        inside = (p ** (1 / ratio)).sum(-1)
        ends = sorted((packed, spread), key=lambda x: x[0])
        for found, expected in zip((low, high), ends, strict=True):
            np.testing.assert_allclose(found.exp(), expected / (expected + inside), atol=1e-12)


def test_the_bounds_hold_where_a_sampled_token_stands_among_the_largest():
    """The control: with its own probability for p_K the lower bound would be wrong."""
    ids, logprobs = known()
    rare = np.argsort(LOGITS, -1)[:, :1].astype(np.int32)
    ids = np.concatenate((rare, ids), -1)
    logprobs = np.take_along_axis(log_softmax(LOGITS, -1), ids, -1)
    p = softmax(LOGITS / 3, -1)
    truth = 1 - np.take_along_axis(p, ids, -1).sum(-1)
    sparse = SparseTeacher(ids, logprobs, vocabulary=40)
    assert (sparse.tail_bounds(3)[0].exp().numpy() <= truth).all()
    sparse = sparse.replaced(_ranked=True)
    assert (sparse.tail_bounds(3)[0].exp().numpy() > truth).any()


def test_another_temperature_without_its_logsumexp_says_what_the_tail_can_be():
    found = SparseTeacher(*known(), vocabulary=40).at(4)
    assert (found.kind, found.temperature) == ("logits", 4.0)
    inside = found.inside().log_softmax(-1)
    np.testing.assert_allclose(inside, log_softmax(known(8, 4.0)[1], -1), atol=1e-12)
    low, high = (float(bound.exp().mean()) for bound in found.bounds)
    between = rf"between {100 * low:.1f} % and {100 * high:.1f} % in the mean over rows"
    with pytest.raises(ValueError, match=rf"{between}.*needs the logsumexp of all logits at T = 4"):
        found.tail()


def test_a_cache_at_one_temperature_may_know_next_to_nothing_of_another():
    """97 % of the mass in 128 tokens at T = 1, a few per cent at T = 4."""
    logits = -3.4 * np.log1p(np.arange(150_000.0))[None]
    sparse = SparseTeacher.from_logits(logits, 128, (1, 4))
    assert 1 - sparse.tail().exp() > 0.97
    assert 1 - sparse.at(4).tail().exp() < 0.5
    assert (sparse.tail_bounds(4)[1] - sparse.tail_bounds(4)[0]).exp() > 1


def test_the_k_largest_are_those_of_fewer_logits():
    whole, small = (SparseTeacher.from_logits(LOGITS, k, (1, 2)) for k in (16, 5))
    order = np.random.default_rng(1).permutation(16)
    mixed = SparseTeacher(
        whole.ids[:, order], whole.logprobs[:, order], whole.log_other, 1, 40, whole.logsumexp
    )
    for temperature in (1, 2):
        found, expected = mixed.top(5).at(temperature), small.at(temperature)
        assert found.ids.equal(expected.ids)
        torch.testing.assert_close(found.logprobs, expected.logprobs)
        torch.testing.assert_close(found.tail(), expected.tail())


def test_some_rows_are_those_rows():
    sparse = SparseTeacher.from_logits(LOGITS, 8, (1, 2))
    part, alone = sparse[2:4], SparseTeacher.from_logits(LOGITS[2:4], 8, (1, 2))
    for one, other in ((part, alone), (part.at(2), alone.at(2)), (sparse.at(3)[2:4], alone.at(3))):
        torch.testing.assert_close(one.inside(), other.inside())
        assert len(one) == 2
    torch.testing.assert_close(sparse.at(3)[2:4].bounds, alone.at(3).bounds)


@pytest.mark.parametrize("filler", [-1e3, -1e4, -np.inf])
def test_fillers_count_as_absent(filler):
    ids, logprobs = known()
    logprobs[1, 5:] = logprobs[4, 7] = filler
    sparse = SparseTeacher(ids, logprobs)
    assert sparse.found["sentinel"] == 4
    assert sparse.present.sum(-1).tolist() == [8, 5, 8, 8, 7, 8]
    np.testing.assert_allclose(sparse.tail()[1].exp(), tail_mass(5, 1.0)[1], atol=1e-12)


def test_rows_whose_rounding_leaves_no_tail_are_counted():
    ids, logprobs = known()
    logprobs[3] += 0.004 - logsumexp(logprobs[3])  # sums to 1.004
    sparse = SparseTeacher(ids, logprobs)
    assert sparse.found["no tail"] == 1
    assert sparse.tail()[3] == -torch.inf


@pytest.mark.parametrize("kind", ["logits", "logprobs"])
@pytest.mark.parametrize("wrong", [1.0, 2.0])
def test_a_logsumexp_below_that_of_the_known_tokens_is_refused(kind, wrong):
    ids, logprobs = known()
    sums = {t: logsumexp(LOGITS / t, -1) for t in (1.0, 2.0)}
    values = np.take_along_axis(LOGITS, ids, -1) if kind == "logits" else logprobs
    half = values.astype(np.float16)
    assert len(SparseTeacher(ids, half, logsumexp=sums, kind=kind)) == 6
    if kind == "logprobs" and wrong == 1:
        return  # what the raw logits were is taken from it
    sums[wrong] = sums[wrong] - 3 * (np.arange(6) == 4)
    with pytest.raises(ValueError, match=f"row 4 has a logsumexp at T = {wrong:g} of .* alone"):
        SparseTeacher(ids, values, logsumexp=sums, kind=kind)


def test_known_tokens_that_cannot_be_the_most_probable_are_warned_of():
    ids, logprobs = known()
    with pytest.warns(RuntimeWarning, match=r"in 6 of 6 rows no known token has 1 / 40, which"):
        SparseTeacher(ids, logprobs - 9, vocabulary=40)
    few = logprobs.copy()
    few[:3] -= 9
    assert len(SparseTeacher(ids, few, vocabulary=40)) == 6
    even = np.full((6, 8), -np.log(40))
    assert len(SparseTeacher(ids, even, vocabulary=40)) == 6


@pytest.mark.parametrize("dtype", ["<u2", ">u4", "<i8"])
def test_ids_of_any_width_and_byte_order_are_read(dtype):
    ids, logprobs = known()
    sparse = SparseTeacher(ids.astype(dtype), logprobs.astype(">f4"))
    assert (sparse.ids.dtype, sparse.logprobs.dtype) == (torch.int32, torch.float32)
    np.testing.assert_array_equal(sparse.ids, ids)


def changed(place: tuple, value: float, of: int) -> tuple[np.ndarray, np.ndarray]:
    arrays = known()
    arrays[of][place] = value
    return arrays


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        (changed((3, 1), known()[0][3, 0], 0), {}, "row 3 holds the id .* twice: its mass would"),
        (changed((3, 1), 40, 0), {"vocabulary": 40}, "row 3 holds the id 40: need 0 to 39 within"),
        (changed((2, 0), -7, 0), {}, "row 2 holds the id -7: need 0 to .* or -1 where a token is"),
        (changed((4,), -1, 0), {}, "row 4 holds no token: nothing is known of the teacher there"),
        (changed((4,), -1e4, 1), {}, "row 4 holds no token"),
        (changed((5, 2), np.nan, 1), {}, "row 5 holds the log-probability nan of the token"),
        (changed((5, 2), np.inf, 1), {}, "row 5 holds the log-probability inf of the token"),
        (changed((1, 0), 0.2, 1), {}, r"probabilities of row 1 add up to .*: need 1 at most; are"),
        (known(), {"log_other": np.full(6, -9.0)}, "row 0 add up to .* with log_other: need 1$"),
        (known(), {"log_other": np.full(6, 0.5)}, "row 0 has log_other = 0.5: need the log of a m"),
        (known(), {"log_other": np.zeros(5)}, r"log_other is one number a row, \(6,\), got \(5,\)"),
        (known(), {"logsumexp": {2: np.zeros(5)}}, "logsumexp at T = 2 is one number a row"),
        (
            known(),
            {"logsumexp": {2: np.full(6, np.nan)}},
            "row 0 has the logsumexp at T = 2 of nan",
        ),
        (known(), {"logsumexp": {-2: np.zeros(6)}}, "temperature must be a number above 0, got -2"),
        (known(), {"logsumexp": np.zeros(6)}, "logsumexp is a dict from temperature to"),
        (known(), {"temperature": 0}, "temperature must be a number above 0, got 0"),
        (known(), {"vocabulary": 0}, "vocabulary must be a whole number from 1, got 0"),
        (known(), {"kind": "probs"}, "kind of a SparseTeacher is one of .* got 'probs'"),
        (known(), {"kind": "sampled"}, "of the kind 'sampled' needs counts"),
        (known(), {"counts": known()[0]}, "of the kind 'logprobs' has no draws to count"),
        (
            known(),
            {"kind": "sampled", "counts": np.zeros((6, 8), int)},
            "row 0 counts a token that was not drawn: need 1 at least",
        ),
        (
            known(),
            {"kind": "sampled", "counts": np.ones((6, 7), int)},
            r"need counts \(6, 8\) as the ids, got \(6, 7\)",
        ),
        ((known()[0][:4], known()[1]), {}, r"one shape \(n, K\), got \(4, 8\) and \(6, 8\)"),
        ((known()[1], known()[1]), {}, "ids must hold whole numbers, got torch.float64"),
        (known()[::-1], {}, "ids must hold whole numbers, got torch.float64"),
        ((known()[0], known()[0]), {}, "logprobs must hold floating numbers, got torch.int32"),
        ((known()[0].tolist(), known()[1]), {}, "ids must be a torch tensor or numpy array, got l"),
        ((known()[0].astype("U4"), known()[1]), {}, "ids must hold numbers, got dtype <U4"),
    ],
)
def test_what_no_teacher_can_say_is_refused(arrays, options, message):
    with pytest.raises(ValueError, match=message):
        SparseTeacher(*arrays, **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SparseTeacher.from_logits(LOGITS, 41), "k is 40 at most, the number of classes"),
        (lambda: SparseTeacher.from_logits(LOGITS, 0), "k must be a whole number from 1, got 0"),
        (
            lambda: SparseTeacher.from_logits(LOGITS[0], 4),
            r"need teacher logits \(n, c\), got \(40",
        ),
        (lambda: SparseTeacher.from_logits(LOGITS / 0.0, 4), "logits of row 0 are not all finite"),
        (lambda: SparseTeacher.from_logits(LOGITS, 4, ()), "needs at least one temperature"),
        (lambda: SparseTeacher(*known()).tail_bounds(2), "needs its vocabulary: it bounds how far"),
    ],
)
def test_impossible_requests_are_refused(call, message):
    with np.errstate(divide="ignore"), pytest.raises(ValueError, match=message):
        call()


def test_draws_stay_at_their_temperature():
    sparse = SparseTeacher(*known(), kind="sampled", counts=np.ones((6, 8), int))
    assert sparse.at(1) is sparse
    with pytest.raises(ValueError, match="drawn at T = 1: draws say nothing of T = 2"):
        sparse.at(2)
    with pytest.raises(ValueError, match="holds draws: they have no k largest"):
        sparse.top(2)


def test_probabilities_are_told_from_log_probabilities_and_from_logits():
    ids, logprobs = known()
    with pytest.raises(ValueError, match="these look like probabilities: give their logarithms"):
        SparseTeacher(ids, np.exp(logprobs))
    with pytest.raises(ValueError, match=r"are they logits .of the kind 'logits'.\?$"):
        SparseTeacher(ids, logprobs - np.logaddexp.reduce(logprobs, -1, keepdims=True) + 0.02)
    with pytest.warns(RuntimeWarning, match="all 6 rows of these logits lie between 0 and 1"):
        SparseTeacher(ids, np.exp(logprobs), kind="logits")
    SparseTeacher(ids, logprobs, kind="logits")
    SparseTeacher(ids, np.zeros_like(logprobs), kind="logits")
    SparseTeacher(ids, np.exp(logprobs) + np.arange(6)[:, None], kind="logits")


@pytest.mark.parametrize("base", [2, 10])
def test_logarithms_to_another_base_are_told_where_they_do_not_add_up(base):
    sparse = SparseTeacher.from_logits(LOGITS, 8)
    kept, other = sparse.logprobs / np.log(base), sparse.log_other / np.log(base)
    with pytest.raises(ValueError, match=rf"need 1; .*to base {base} they do: .* by ln {base}$"):
        SparseTeacher(sparse.ids, kept, other)
    with pytest.raises(ValueError, match=r"need 1$"):
        SparseTeacher(sparse.ids, kept - 9, other)


def test_logits_of_half_precision_may_lie_beside_a_whole_logsumexp():
    logits = torch.from_numpy(LOGITS).round() + 200.6  # bfloat16 has whole numbers there
    order = logits.argsort(-1, descending=True)
    kept = logits.gather(-1, order).bfloat16().double()
    given = {"vocabulary": 40, "logsumexp": {1.0: logits.logsumexp(-1)}, "kind": "logits"}
    assert len(SparseTeacher(order, kept, **given)) == len(LOGITS)
    with pytest.raises(ValueError, match=r"row 0 has a logsumexp at T = 1"):
        SparseTeacher(order, kept + 4, **given)
