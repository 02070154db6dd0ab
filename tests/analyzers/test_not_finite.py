"""A loss of one's own that makes NaN of finite logits is refused by name, whatever is asked."""

import numpy as np
import pytest

import kdanalysis as kd

RNG = np.random.default_rng(0)
COLUMNS = {
    "teacher_logits": RNG.normal(size=(30, 6)),
    "student_logits": RNG.normal(size=(30, 6)),
    "target": np.where(np.arange(30) == 4, -1, RNG.integers(0, 6, 30)),
}


@pytest.fixture
def squared():
    """Half the squared distance of the logits, divided by 0 where the teacher's first is large."""

    class Squared(kd.Loss):
        needs_target = False

        def __init__(self, above: float = 1.0):
            super().__init__()
            self.above, self.term_weights = above, {"squared": 1.0}

        def values(self, student, teacher, target, ramp):
            part = (student - teacher).square().sum(-1) / 2
            return {"squared": part / (teacher[:, 0] <= self.above)}

        def slopes(self, student, teacher, target, ramp):
            return {"squared": (student - teacher) / (teacher[:, :1] <= self.above)}

    return Squared


def test_it_is_named_with_the_first_row(squared):
    lost = COLUMNS["teacher_logits"][:, 0] > 1
    says = rf"Squared\(above=1.0\) gives NaN or infinity in {lost.sum()} of the 30 rows that it "
    for losses in (["kd", squared()], ["dkd", squared()], [squared(), "ce"]):
        with pytest.raises(ValueError, match=says + rf"sees, first in row {lost.argmax()} of"):
            kd.compare(COLUMNS, losses=losses)


def test_what_it_makes_of_logits_that_are_not_finite_is_left_out(squared):
    nan = np.where(COLUMNS["teacher_logits"][:, :1] > 1, np.nan, COLUMNS["teacher_logits"])
    table = kd.compare(COLUMNS | {"teacher_logits": nan}, losses=["kd", squared()]).tables
    assert np.isfinite(table["losses"].norm).all()
    assert (table["direction"].non_finite == np.isnan(nan).any(-1).sum()).all()
