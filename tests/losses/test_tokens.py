"""Losses of language models: what a truncated teacher teaches, dense and sparse, and lacks."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch.nn.functional import pad

from kdanalysis import (
    DKD,
    GDKD,
    GDKD3,
    JSD,
    KD,
    TVD,
    AlphaBeta,
    AutoK,
    CrossEntropy,
    Decoupled,
    Groups,
    LogitStandardized,
    RandomSampling,
    Sampled,
    SkewKL,
    SparseTeacher,
    Sum,
    Support,
    TopK,
    Truncated,
)
from kdanalysis.losses import parse_loss

K, V, T = 6, 50, 2.0


def batch(seed: int = 0, closeness: float = 0.7) -> tuple[torch.Tensor, ...]:
    """Logits (n, V) of a student that resembles its teacher, and targets."""
    generator = torch.Generator().manual_seed(seed)
    teacher = 3 * torch.randn(8, V, dtype=torch.float64, generator=generator)
    noise = torch.randn(8, V, dtype=torch.float64, generator=generator)
    return closeness * teacher + 1.5 * noise, teacher, teacher.argmax(-1)


STUDENT, TEACHER, TARGET = batch()
TOP = torch.zeros(8, V, dtype=torch.bool).scatter(-1, TEACHER.topk(K).indices, True)


def total(loss, teacher=TEACHER, student=STUDENT, target=TARGET) -> torch.Tensor:
    return sum(loss.gradients(student, teacher, target).values())


def parts(k: int = K, temperature: float = T) -> dict[str, torch.Tensor]:
    """The pieces of the split by plain masks: forces, shares and masses, of gradients over T."""
    q, p = ((x / temperature).softmax(-1) for x in (STUDENT, TEACHER))
    mass = {"Q": (q * TOP).sum(-1, keepdim=True), "P": (p * TOP).sum(-1, keepdim=True)}
    qs, ps = q * TOP / mass["Q"], p * TOP / mass["P"]
    qo, po = q * ~TOP / (1 - mass["Q"]), p * ~TOP / (1 - mass["P"])
    force = qs - qo
    found = {"q": q, "ps": ps, "force": force, "low_top": qs - ps, "low_other": qo - po}
    return mass | found | {"high": (mass["Q"] - mass["P"]) * force}


class TestConventions:
    def test_the_bucket_loses_exactly_the_low_part_of_the_others(self):
        x = parts()
        lost = total(KD(T)) - total(Truncated(K, "bucket", temperature=T))
        torch.testing.assert_close(lost, T * (1 - x["P"]) * x["low_other"])

    def test_renormalising_leaves_the_low_part_of_the_top(self):
        torch.testing.assert_close(
            total(Truncated(K, "renormalise", temperature=T)), T * parts()["low_top"]
        )
        for divergence in ("forward", "reverse"):
            ours = Truncated(K, "renormalise", divergence, temperature=T)
            gdkd = GDKD(K, (0, 1, 0), T, divergence=divergence)
            torch.testing.assert_close(total(ours), total(gdkd))

    def test_the_sum_without_the_rest_pushes_the_students_tail_away(self):
        x = parts()
        none, bucket = (total(Truncated(K, t, temperature=T)) for t in ("none", "bucket"))
        torch.testing.assert_close(none - bucket, -T * (1 - x["P"]) * x["Q"] * x["force"])

    def test_the_renormalised_teacher_is_plain_kd_to_another_teacher(self):
        x = parts()
        torch.testing.assert_close(
            total(Truncated(K, "teacher", temperature=T)), T * (x["q"] - x["ps"])
        )

    def test_kd_and_the_conventions_are_weights_of_one_split(self):
        for weights, other in (
            ("mass", KD(T)),
            ((1, "mass", "mass"), KD(T)),
            ((1, "mass", 0), Truncated(K, "bucket", temperature=T)),
            ((0, 1, 0), Truncated(K, "renormalise", temperature=T)),
        ):
            for rule in (TopK(K), Support(TEACHER.topk(K).indices)):
                split = Decoupled(rule, weights, T)
                torch.testing.assert_close(total(split), total(other))
                value = sum(split(STUDENT, TEACHER, TARGET).values())
                torch.testing.assert_close(value, sum(other(STUDENT, TEACHER, TARGET).values()))

    @pytest.mark.parametrize("tail", ["none", "teacher"])
    def test_a_perfect_student_is_pushed_all_the_same(self, tail):
        """The bias grows as the student improves; those of the other two vanish."""
        loss = Truncated(K, tail)
        assert (total(loss, student=TEACHER).norm(dim=-1) > 1e-3).all()
        for fair in ("bucket", "renormalise"):
            assert total(Truncated(K, fair), student=TEACHER).abs().max() < 1e-12

    def test_reverse_kl_without_the_rest_pushes_mass_out_of_the_top(self):
        """A step against its gradient at student = teacher makes the top's mass smaller."""
        moved = TEACHER - 1e-3 * total(Truncated(K, "none", "reverse"), student=TEACHER)
        before, after = ((x.softmax(-1) * TOP).sum(-1) for x in (TEACHER, moved))
        assert (after < before - 1e-8).all()
        forward = TEACHER - 1e-3 * total(Truncated(K, "none"), student=TEACHER)
        assert ((forward.softmax(-1) * TOP).sum(-1) > before + 1e-8).all()

    def test_zero_outside_is_a_teacher_of_that_log_probability(self):
        """NeMo-RL's reverse KL, by a loop over tokens."""
        loss = Truncated(K, "teacher", "reverse", outside=-20.0)
        value = loss(STUDENT, TEACHER, TARGET)["topk"]
        q, p = (softmax(x.numpy(), -1) for x in (STUDENT, TEACHER))
        for i, top in enumerate(TOP.numpy()):
            log_p = np.where(top, np.log(p[i] / p[i][top].sum()), -20.0)
            assert float(value[i]) == pytest.approx((q[i] * (np.log(q[i]) - log_p)).sum())

    def test_a_clamped_token_teaches_nothing(self):
        free, clamped = Truncated(K, "none"), parse_loss(f"verl:k={K}")
        close = TEACHER + 0.3 * STUDENT
        values = free(close, TEACHER, TARGET)["topk"]
        low = values < 0
        assert 0 < low.sum() < len(low)
        assert clamped(close, TEACHER, TARGET)["topk"].equal(values.clamp(min=0))
        slopes = total(clamped, student=close)
        assert (slopes[low] == 0).all()
        assert slopes[~low].equal(total(free, student=close)[~low])

    def test_the_students_largest_tokens_may_be_the_support(self):
        loss = Truncated(K, "renormalise", "reverse", support="student", temperature=T)
        swapped = STUDENT.topk(K).indices
        split = Decoupled(Support(swapped), (0, 1, 0), T, divergence="reverse")
        torch.testing.assert_close(total(loss), total(split))
        assert not torch.allclose(total(loss), total(Truncated(K, "renormalise", "reverse", T)))


class TestOtherDivergences:
    def test_the_ends_of_jsd_are_the_two_directions(self):
        torch.testing.assert_close(total(JSD(0, temperature=T)), total(KD(T)))
        q, p = ((x / T).softmax(-1) for x in (STUDENT, TEACHER))
        value = T**2 * (q * (q / p).log()).sum(-1)
        torch.testing.assert_close(JSD(1, temperature=T)(STUDENT, TEACHER, TARGET)["jsd"], value)

    def test_jsd_steps_down_a_hundredfold_beside_its_ends(self):
        end, near = (total(JSD(beta)).norm(dim=-1) for beta in (0, 0.01))
        assert 90 < float((end / near).median()) < 110
        end, near = (total(JSD(beta)).norm(dim=-1) for beta in (1, 0.99))
        assert 90 < float((end / near).median()) < 110

    def test_scaled_jsd_is_continuous_at_its_ends(self):
        for end, near in ((0, 1e-6), (1, 1 - 1e-6)):
            expected = total(JSD(end))
            error = total(JSD(near, scale=True)) - expected
            assert (error.norm(dim=-1) < 1e-3 * expected.norm(dim=-1)).all()

    def test_the_chain_rule_of_jsd_holds(self):
        """JS_b over all is JS_b of the masses and the parts' own, by a loop over groups."""
        b, log = 0.3, np.log
        values = JSD(b)(STUDENT, TEACHER, TARGET)["jsd"]

        def js(p, q, share):
            m = share * p + (1 - share) * q
            return share * (p * log(p / m)).sum() + (1 - share) * (q * log(q / m)).sum()

        for i, top in enumerate(TOP.numpy()):
            q, p = (softmax(x[i].numpy()) for x in (STUDENT, TEACHER))
            masses = [np.array([x[top].sum(), x[~top].sum()]) for x in (p, q)]
            whole = js(*masses, b)
            for g, group in enumerate((top, ~top)):
                mixed = b * masses[0][g] + (1 - b) * masses[1][g]
                inside = p[group] / masses[0][g], q[group] / masses[1][g]
                whole += mixed * js(*inside, b * masses[0][g] / mixed)
            assert float(values[i]) == pytest.approx(whole)

    def test_skew_without_alpha_is_plain(self):
        torch.testing.assert_close(total(SkewKL(0)), total(KD(1)))
        torch.testing.assert_close(total(SkewKL(0, "reverse")), total(JSD(1)))

    def test_total_variation_is_half_the_difference(self):
        expected = np.abs(softmax(STUDENT.numpy(), -1) - softmax(TEACHER.numpy(), -1)).sum(-1) / 2
        np.testing.assert_allclose(TVD()(STUDENT, TEACHER, TARGET)["tvd"], expected)

    @pytest.mark.parametrize(("ends", "other"), [((1, 1e-6), KD(1)), ((1e-6, 1), JSD(1))])
    def test_alpha_beta_ends_in_the_two_directions(self, ends, other):
        torch.testing.assert_close(total(AlphaBeta(*ends)), total(other), rtol=1e-4, atol=1e-5)

    def test_alpha_beta_of_one_and_one_is_half_the_squared_distance(self):
        expected = ((softmax(STUDENT.numpy(), -1) - softmax(TEACHER.numpy(), -1)) ** 2).sum(-1) / 2
        np.testing.assert_allclose(AlphaBeta(1, 1)(STUDENT, TEACHER, TARGET)["ab"], expected)


def test_a_teacher_at_another_temperature_is_another_teacher():
    """vLLM's prompt_logprobs are at T = 1: against a student at T = 2 the step goes elsewhere."""
    at_one = SparseTeacher.from_logits(TEACHER, K)
    mistaken = SparseTeacher(at_one.ids, at_one.logprobs, at_one.log_other, T, V)
    close = 0.9 * TEACHER + 0.3 * STUDENT
    meant, got = (
        total(Truncated(K, temperature=T), teacher, close)
        for teacher in (SparseTeacher.from_logits(TEACHER, K, (T,)), mistaken)
    )
    assert torch.cosine_similarity(meant, got, -1).median() < 0.5
    assert (got.norm(dim=-1) / meant.norm(dim=-1)).median() > 2


SPARSE = SparseTeacher.from_logits(TEACHER, 9, (1, T, 4))
EXACT = [
    *(
        Truncated(k, tail, divergence, clamp=clamp, temperature=t)
        for tail in ("bucket", "renormalise", "none", "teacher")
        for divergence in ("forward", "reverse")
        for k, t, clamp in ((9, 1.0, None), (4, T, 0.1))
    ),
    JSD(0.3, k=9, temperature=T),
    JSD(1, k=3, tail="renormalise"),
    SkewKL(0.2, "reverse", k=5),
    TVD(k=9, temperature=4.0),
    AlphaBeta(k=4, tail="renormalise"),
    GDKD(9, (1.0, 2.0, 0.0), T),
    GDKD(2, (0.5, "mass", 0), divergence="both"),
    GDKD3(4, (1.0, 2.0, 0.0), T),
    DKD(beta=0.0, temperature=T),
    DKD(beta=0.0, temperature=1.0, partition="top1"),
    Decoupled(Support(SPARSE.ids[:, 2:5]), (1, "mass", 0), 1.0),
    Decoupled(Support(SPARSE.ids.index_fill(-1, torch.tensor([3]), -1)), (1, 1, 0), T),
    Sampled("k3"),
    Sampled("pg", temperature=T),
    CrossEntropy(),
    Sum(CrossEntropy(), Truncated(4, temperature=T), GDKD(3, (1, 1, 0), 1.0)),
]


@pytest.mark.parametrize("loss", EXACT, ids=repr)
def test_a_sparse_teacher_gives_what_the_dense_one_gives(loss):
    values, expected = loss(STUDENT, SPARSE, TARGET), loss(STUDENT, TEACHER, TARGET)
    slopes, wanted = (loss.gradients(STUDENT, x, TARGET) for x in (SPARSE, TEACHER))
    assert list(values) == list(slopes) == list(loss.terms)
    for name in values:
        torch.testing.assert_close(values[name], expected[name], rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(slopes[name], wanted[name], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("loss", EXACT, ids=repr)
def test_autograd_goes_through_a_sparse_teacher(loss):
    student = STUDENT.clone().requires_grad_()
    found = sum(loss(student, SPARSE, TARGET, ramp=0.7).values()).sum()
    (slope,) = torch.autograd.grad(found, student)
    closed = sum(loss.gradients(STUDENT, SPARSE, TARGET, ramp=0.7).values())
    torch.testing.assert_close(slope, closed, rtol=1e-11, atol=1e-12)


def test_rows_may_hold_fewer_tokens_than_others():
    """A row cut to three tokens teaches what a teacher of three teaches."""
    ids = SPARSE.ids.clone()
    ids[1::2, 3:] = -1
    ragged = SparseTeacher(ids, SPARSE.logprobs, vocabulary=V)
    for tail in ("bucket", "renormalise", "none", "teacher"):
        for divergence in ("forward", "reverse"):
            nine, three = (Truncated(k, tail, divergence) for k in (9, 3))
            found, whole, cut = total(nine, ragged), total(nine), total(three)
            torch.testing.assert_close(found[::2], whole[::2], rtol=1e-9, atol=1e-10)
            torch.testing.assert_close(found[1::2], cut[1::2], rtol=1e-9, atol=1e-10)


def test_the_order_of_tokens_does_not_matter():
    mixed = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    other = SparseTeacher(SPARSE.ids[:, mixed], SPARSE.logprobs[:, mixed], vocabulary=V)
    torch.testing.assert_close(total(Truncated(4), other), total(Truncated(4)))


def test_single_precision_students_get_single_precision_gradients():
    slopes = total(Truncated(9), SPARSE, STUDENT.float())
    assert slopes.dtype == torch.float32
    torch.testing.assert_close(slopes.double(), total(Truncated(9)), rtol=1e-4, atol=1e-6)


def test_logits_without_their_sum_are_enough_to_renormalise():
    raw = SparseTeacher(SPARSE.ids, TEACHER.gather(-1, SPARSE.ids.long()), kind="logits")
    loss = Truncated(9, "renormalise", temperature=T)
    torch.testing.assert_close(total(loss, raw), total(loss))
    teacher = Truncated(9, "teacher", temperature=T)
    torch.testing.assert_close(total(teacher, raw), total(teacher))
    for tail in ("bucket", "none"):
        with pytest.raises(ValueError, match="needs the logsumexp of all logits at T = 2; without"):
            total(Truncated(9, tail, temperature=T), raw)


@pytest.mark.parametrize("padding", [-30.0, -torch.inf])
def test_a_padded_vocabulary_is_cut_and_the_padding_gets_no_gradient(padding):
    wide = pad(STUDENT, (0, 6), value=padding)
    loss = Truncated(9)
    torch.testing.assert_close(loss(wide, SPARSE, TARGET), loss(STUDENT, SPARSE, TARGET))
    slopes = total(loss, SPARSE, wide)
    assert slopes.shape == wide.shape
    torch.testing.assert_close(slopes, pad(total(loss), (0, 6)))
    heavy = pad(STUDENT, (0, 6), value=5.0)
    share = float(heavy.softmax(-1)[:, V:].sum(-1).mean())
    with pytest.warns(RuntimeWarning, match=f"logits 50 to 55 are beyond .* hold {share:.2g} of"):
        torch.testing.assert_close(total(loss, SPARSE, heavy), slopes)


KNOWN = r"SparseTeacher\(8 rows, 9 tokens of 50, logprobs at T = 1\)"
DRAWN = SparseTeacher(
    SPARSE.ids, SPARSE.logprobs, kind="sampled", counts=torch.ones(8, 9, dtype=torch.int64)
)


@pytest.mark.parametrize(
    ("loss", "teacher", "message"),
    [
        (
            KD(),
            SPARSE,
            f"KD needs the teacher's log-probability of every class, and {KNOWN} has no",
        ),
        (LogitStandardized(KD()), SPARSE, "LogitStandardized needs the teacher's log-probability"),
        (Sum(CrossEntropy(), KD()), SPARSE, "KD needs the teacher's log-probability of every cla"),
        (GDKD(3), SPARSE, "GDKD weighs low_other by 8.0, and .* it needs a weight of 0"),
        (Decoupled(TopK(3), "mass"), SPARSE, "weighs low_1 by mass, and .* needs a weight of 0"),
        (DKD(), SPARSE, "DKD weighs nckd by 8.0"),
        (JSD(), SPARSE, "JSD without k runs over all tokens, and .*: give it k=9 or less"),
        (Truncated(10), SPARSE, f"k=10 needs as many tokens a row, and {KNOWN} holds 9"),
        (GDKD(10, (1, 1, 0), 1), SPARSE, r"TopK\(k=10\) sets apart the token \d+ in row 0, and"),
        (GDKD(3, (1, 1, 0), 1, "worst"), SPARSE, "strategy='worst'.* sets apart the token"),
        (
            Decoupled(AutoK(max_k=45, ratio=1.01), (1, 1, 0), 1),
            SPARSE,
            r"AutoK\(.* looks at every class to group them, and",
        ),
        (
            Decoupled(Groups((0,) * 20 + (1,) * 30), (1, 0, 0), 1),
            SPARSE,
            "Groups.* sets apart the token",
        ),
        (
            RandomSampling(),
            SPARSE,
            "RandomSampling draws from all tokens, and .* largest alone: it",
        ),
        (Truncated(9), DRAWN, "holds draws, not the largest tokens: they are for 'rs'"),
        (Truncated(3, temperature=3.0), SPARSE, "needs the logsumexp of all logits at T = 3"),
        (GDKD(3, (1, 1, 0), 3.0), SPARSE, "needs the logsumexp of all logits at T = 3"),
        (Sampled(temperature=3.0), SPARSE, "needs the logsumexp of all logits at T = 3"),
        (
            Truncated(20, support="student"),
            SPARSE,
            r"does not know the log-probability of the token \d+ in row 0 \(\d+ of 160 tokens",
        ),
        (
            Truncated(9),
            SPARSE[:4],
            r"need student logits \(n, c\), a SparseTeacher of n rows and t",
        ),
    ],
)
def test_what_is_missing_is_named(loss, teacher, message):
    for call in (loss, loss.gradients):
        with pytest.raises(ValueError, match=message):
            call(STUDENT, teacher, TARGET)


def test_a_sampled_token_that_is_not_known_is_named():
    target = TEACHER.argmin(-1)
    message = rf"of the token {int(target[0])} in row 0 \(8 of 8 tokens asked for are missing\)"
    with pytest.raises(ValueError, match=message):
        Sampled()(STUDENT, SPARSE, target)


def test_the_students_support_may_lie_within_the_known_tokens():
    student = TEACHER + 0.1 * STUDENT
    loss = Truncated(3, "none", "reverse", support="student")
    torch.testing.assert_close(total(loss, SPARSE, student), total(loss, TEACHER, student))


def test_reverse_kl_to_a_teacher_without_a_tail_is_infinite_and_refused():
    whole = SPARSE.logprobs.log_softmax(-1)
    full = SparseTeacher(SPARSE.ids, whole, torch.full((8,), -torch.inf), vocabulary=V)
    with pytest.raises(ValueError, match="of row 0 have all of the teacher's mass: the reverse KL"):
        total(Truncated(9, "bucket", "reverse"), full)
    for fair in (Truncated(9), JSD(0.5, k=9), SkewKL(0.1, "reverse", k=9), TVD(k=9)):
        assert total(fair, full).isfinite().all()
        assert sum(fair(STUDENT, full, TARGET).values()).isfinite().all()


@pytest.mark.parametrize(
    ("student", "message"),
    [
        (
            STUDENT[:, :40],
            r"the teacher has a vocabulary of 50, and the student's logits are of 40 tokens: need",
        ),
        (
            STUDENT.index_fill(1, torch.tensor([7]), torch.nan),
            "student logits of sample 0 hold nan",
        ),
        (STUDENT[:, :, None], "need student logits"),
    ],
)
def test_a_student_that_does_not_fit_is_refused(student, message):
    with pytest.raises(ValueError, match=message):
        Truncated(9)(student, SPARSE, TARGET)


def test_a_k_that_leaves_no_others_is_refused():
    small = SparseTeacher.from_logits(TEACHER[:, :9], 9)
    for teacher in (small, TEACHER[:, :9]):
        with pytest.raises(ValueError, match=r"TopK\(k=9\) leaves a group empty: need 0 < k < 9"):
            Truncated(9)(STUDENT[:, :9], teacher, TARGET % 9)


PRESETS = {
    "trl-server": JSD(0, k=64),
    "verl": Truncated(64, "none", clamp=0),
    "distillkit": Truncated(64, "teacher"),
    "axolotl": Truncated(64, "teacher"),
    "nemo": Truncated(64, "renormalise"),
    "megatron": Truncated(64, "bucket"),
    "maxtext": Truncated(64, "renormalise"),
    "swift": Truncated(64, "renormalise"),
    "topk:k=8,tail=teacher,divergence=reverse,outside=-50": Truncated(
        8, "teacher", "reverse", outside=-50
    ),
    "verl:clamp=-1,k=2": Truncated(2, "none", clamp=-1),
    "trl-server:beta=0.5,k=16": JSD(0.5, k=16),
    "jsd:beta=.5,scale=true": JSD(0.5, scale=True),
    "fkl:temperature=2": JSD(0, temperature=2),
    "rkl:k=8": JSD(1, k=8),
    "skew:alpha=.1,divergence=reverse": SkewKL(0.1, "reverse"),
    "tvd": TVD(),
    "ab:alpha=.2,beta=.7": AlphaBeta(0.2, 0.7),
    "rs:n=50": RandomSampling(50),
    "sample:estimator=k3": Sampled("k3"),
    "sure-nemo:threshold=0.3,k=5": parse_loss("sure-topk:threshold=.3,k=5,tail=renormalise"),
    "ce+verl": Sum(CrossEntropy(), Truncated(64, "none", clamp=0)),
}


@pytest.mark.parametrize(("text", "loss"), PRESETS.items(), ids=list(PRESETS))
def test_text_gives_the_loss(text, loss):
    assert repr(parse_loss(text)) == repr(loss)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trl-servr", "unknown loss 'trl-servr'; did you mean 'trl-server'"),
        ("verl:tial=none", "loss 'verl' has no option 'tial'; did you mean 'tail'"),
        ("topk:tail=bin", "tail of Truncated is one of .* got 'bin'"),
        ("jsd:k=3,tail=none", r"tail of JSD is one of \('bucket', 'renormalise'\), got 'none'"),
        ("topk:k=0", "k must be a whole number from 1, got 0"),
        ("topk:divergence=both", r"divergence is one of \('forward', 'reverse'\), got 'both'"),
        ("topk:support=both", "support is 'teacher' or 'student', got 'both'"),
        ("topk:clamp=nan", "clamp must be a finite number or None, got nan"),
        ("jsd:beta=1.5", "beta of JSD must lie between 0 and 1, got 1.5"),
        ("skew:alpha=1", "alpha of SkewKL must lie between 0 and 1"),
        ("ab:alpha=0", "alpha and beta of AlphaBeta must be above 0, got 0.0 and 0.7"),
        ("rs:n=0", "n must be a whole number from 1, got 0"),
        ("rs:seed=-1", r"seed must be a whole number from 0 to 2\^63 - 1, got -1"),
        ("sample:estimator=k4", r"estimator is one of .* got 'k4'"),
    ],
)
def test_impossible_options_are_answered(text, message):
    with pytest.raises(ValueError, match=message):
        parse_loss(text)
