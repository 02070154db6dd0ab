"""The terms' values against torch's own functions and plain numpy, and the identities they obey."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from problems import batch
from scipy.special import log_softmax, softmax

from kdanalysis import DKD, GDKD, GDKD3, KD, NKD, CrossEntropy, Decoupled, Groups, Sum, linear_ramp


def kl(p: np.ndarray, q: np.ndarray) -> float:
    return float((p * np.log(p / q)).sum())


def gdkd_reference(student, teacher, groups, temperature):
    """High term and low terms of one sample, from probabilities, in plain numpy."""
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    ids = sorted(set(groups.tolist()))
    mass_p, mass_q = (np.array([x[groups == g].sum() for g in ids]) for x in (p, q))
    low = [kl(p[groups == g] / mass_p[g], q[groups == g] / mass_q[g]) for g in ids]
    return temperature**2 * kl(mass_p, mass_q), [temperature**2 * value for value in low]


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_gdkd_terms_equal_a_numpy_loop(temperature):
    student, teacher, target = batch(0)
    values = GDKD(k=3, weights=(2, 3, 5), temperature=temperature)(student, teacher, target)
    for i, (s, t) in enumerate(zip(student.numpy(), teacher.numpy(), strict=True)):
        groups = np.ones(7, dtype=int)
        groups[np.argsort(-t)[:3]] = 0
        high, (top, other) = gdkd_reference(s, t, groups, temperature)
        row = [values[name][i].item() for name in ("high", "low_top", "low_other")]
        assert row == pytest.approx([2 * high, 3 * top, 5 * other])


def test_gdkd3_terms_equal_a_numpy_loop():
    student, teacher, target = batch(1)
    values = GDKD3(k=4, weights=(2, 3, 5))(student, teacher, target)
    for i, (s, t) in enumerate(zip(student.numpy(), teacher.numpy(), strict=True)):
        groups = np.full(7, 2)
        groups[np.argsort(-t)[:4]] = 1
        groups[np.argmax(t)] = 0
        high, (_, middle, other) = gdkd_reference(s, t, groups, 4.0)
        row = [values[name][i].item() for name in ("high", "low_top", "low_other")]
        assert row == pytest.approx([2 * high, 3 * middle, 5 * other])


def test_custom_groups_have_a_term_each():
    ids = (0, 1, 2, 1, 0, 2, 2)
    student, teacher, target = batch(2)
    values = Decoupled(Groups(ids), (1.0, 1.0, 2.0, 3.0))(student, teacher, target)
    assert list(values) == ["high", "low_0", "low_1", "low_2"]
    high, low = gdkd_reference(student[0].numpy(), teacher[0].numpy(), np.array(ids), 4.0)
    row = [value[0].item() for value in values.values()]
    assert row == pytest.approx([high, low[0], 2 * low[1], 3 * low[2]])


@pytest.mark.parametrize("official", [False, True])
def test_nkd_equals_a_numpy_loop_and_removes_the_target_unless_official(official):
    student, teacher, target = batch(3)
    values = NKD(temperature=2.0, gamma=1.5, official=official)(student, teacher, target)
    for i, (s, t, y) in enumerate(
        zip(student.numpy(), teacher.numpy(), target.tolist(), strict=True)
    ):
        rest = slice(None) if official else np.arange(7) != y
        other = -(softmax(t[rest] / 2) * log_softmax(s[rest] / 2)).sum()
        assert values["nkd_target"][i].item() == pytest.approx(-softmax(t)[y] * log_softmax(s)[y])
        assert values["nkd_other"][i].item() == pytest.approx(1.5 * 4 * other)


def test_cross_entropy_is_torchs():
    student, teacher, target = batch(4)
    torch.testing.assert_close(
        CrossEntropy()(student, teacher, target)["ce"],
        F.cross_entropy(student, target, reduction="none"),
    )


@given(st.integers(0, 999), st.floats(0.5, 20), st.floats(0.1, 100))
def test_dkd_with_the_rest_of_the_mass_as_beta_is_kd(seed, temperature, scale):
    student, teacher, target = batch(seed, scale)
    values = DKD(1.0, 1.0, temperature)(student, teacher, target)
    p_target = (teacher / temperature).softmax(-1).gather(-1, target.unsqueeze(-1)).squeeze(-1)
    kd = KD(temperature)(student, teacher, target)["kd"]
    total = values["tckd"] + (1 - p_target) * values["nckd"]
    torch.testing.assert_close(total, kd, rtol=1e-7, atol=1e-9 * temperature**2)


@given(st.integers(0, 999), st.integers(1, 6), st.floats(0.5, 20))
def test_gradients_sum_to_zero_and_low_terms_are_orthogonal(seed, k, temperature):
    problem = batch(seed)
    gradients = GDKD(k=k, temperature=temperature).gradients(*problem)
    zero = torch.zeros(5, dtype=torch.float64)
    for gradient in gradients.values():
        torch.testing.assert_close(gradient.sum(-1), zero, rtol=0, atol=1e-12 * temperature * 8)
    overlap = (gradients["low_top"] * gradients["low_other"]).sum(-1)
    assert (overlap == 0).all()


@given(st.integers(0, 999), st.floats(0.25, 16))
def test_values_at_equal_softened_logits_grow_with_the_square_of_t(seed, temperature):
    student, teacher, target = batch(seed)
    one = GDKD(k=3, temperature=1.0)(student, teacher, target)
    many = GDKD(k=3, temperature=temperature)(temperature * student, temperature * teacher, target)
    for name in one:
        torch.testing.assert_close(many[name], temperature**2 * one[name])


def test_the_ramp_is_linear_and_ends_at_one():
    assert [linear_ramp(epoch, 20) for epoch in (0, 5, 20, 240)] == [0.0, 0.25, 1.0, 1.0]
    with pytest.raises(ValueError, match="got epoch 1 and length 0"):
        linear_ramp(1, 0)


def test_the_ramp_leaves_the_cross_entropy_of_a_sum():
    problem = batch(3)
    loss = Sum(CrossEntropy(), DKD())
    half, whole = loss(*problem, ramp=0.5), loss(*problem)
    torch.testing.assert_close(half["ce"], whole["ce"])
    torch.testing.assert_close(half["nckd"], 0.5 * whole["nckd"])


def test_a_sum_adds_terms_of_equal_name():
    problem = batch(4)
    both = Sum(KD(1.0), KD(4.0))
    expected = KD(1.0)(*problem)["kd"] + KD(4.0)(*problem)["kd"]
    torch.testing.assert_close(both(*problem)["kd"], expected)
    assert both.terms == ("kd",)
