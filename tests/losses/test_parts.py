"""KD in parts: each part is autograd's gradient times the group's teacher mass; they add to KD."""

import numpy as np
import pytest

from kdanalysis.core.partition import Target, TopK
from kdanalysis.losses import KDParts
from tests.analyzers.reference import autograd_gradients, logits, probabilities, targets, top_mass

STUDENT, TEACHER, TARGET = logits(0), logits(1), targets(2)


def test_parts_are_autograd_gradients_weighted_by_teacher_mass():
    expected = autograd_gradients(STUDENT, TEACHER, TARGET, 3, 2.0)
    mass = top_mass(TEACHER, 3, 2.0)[:, None]
    parts = KDParts(TopK(3), 2.0).gradients(STUDENT, TEACHER, TARGET)
    assert list(parts) == ["high", "low_top", "low_other"]
    np.testing.assert_allclose(parts["high"], expected["high"], atol=1e-12)
    np.testing.assert_allclose(parts["low_top"], mass * expected["low_top"], atol=1e-12)
    np.testing.assert_allclose(parts["low_other"], (1 - mass) * expected["low_other"], atol=1e-12)
    np.testing.assert_allclose(sum(parts.values()), expected["kd"], atol=1e-12)


def test_the_target_partition_gives_dkd_equation_6():
    expected = autograd_gradients(STUDENT, TEACHER, TARGET, 3, 4.0)
    rest = 1 - probabilities(TEACHER, 4.0)[np.arange(60), TARGET]
    parts = KDParts(Target(), 4, ("tckd", None, "nckd")).gradients(STUDENT, TEACHER, TARGET)
    assert list(parts) == ["tckd", "nckd"]
    np.testing.assert_allclose(parts["tckd"], expected["tckd"], atol=1e-12)
    np.testing.assert_allclose(parts["nckd"], rest[:, None] * expected["nckd"], atol=1e-12)


def test_a_name_too_many_is_refused():
    with pytest.raises(ValueError, match=r"TopK\(.*\) needs 3 names, got \('a', 'b', 'c', 'd'\)"):
        KDParts(TopK(2), 4.0, ("a", "b", "c", "d"))


def test_a_weight_scales_every_part():
    single, double = (
        KDParts(TopK(3), 2.0, weight=weight).gradients(STUDENT, TEACHER, TARGET)
        for weight in (1, 2)
    )
    for name, part in single.items():
        np.testing.assert_allclose(double[name], 2 * part)
    assert repr(KDParts(TopK(3), weight=2)).endswith(", weight=2.0)")
