"""Support groups the given tokens of every row, however many there are."""

import numpy as np
import pytest
import torch
from problems import batch

from kdanalysis import Decoupled, Support
from kdanalysis.losses import restore_loss

STUDENT, TEACHER, TARGET = batch(0)
ROWS = ((1, 4, -1), (0, -1, -1), (6, 5, 2), (3, 1, 0), (2, -1, 5))


@pytest.mark.parametrize("kind", [tuple, np.array, torch.tensor])
def test_it_groups_the_tokens_of_every_row(kind):
    rule = Support(kind(ROWS))
    expected = [[int(c not in row) for c in range(7)] for row in ROWS]
    assert rule(TEACHER, TARGET).tolist() == expected
    inside, outside = rule.members(TEACHER, TARGET)
    assert (inside.tolist(), outside.tolist()) == (
        [[not group for group in row] for row in expected],
        [[bool(group) for group in row] for row in expected],
    )
    assert rule.ids == ROWS


def test_as_many_tokens_in_every_row_are_given_as_they_are():
    inside, others = Support((6, 2)).members(TEACHER, TARGET)
    assert inside.tolist() == [[6, 2]] * 5
    assert others is None
    assert Support((6, 2))(TEACHER, TARGET)[3].tolist() == [1, 1, 0, 1, 1, 1, 0]


def test_a_loss_over_it_comes_back_from_its_repr():
    loss = Decoupled(Support(torch.tensor(ROWS)), (1, "mass", 0))
    found = restore_loss(repr(loss))
    for name, slope in loss.gradients(STUDENT, TEACHER, TARGET).items():
        assert found.gradients(STUDENT, TEACHER, TARGET)[name].equal(slope)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ((1, 1), "row 0 of Support holds .1, 1.: need at least one class, each once"),
        (((1, 2), (-1, -1)), "row 1 of Support holds .-1, -1.: need at least one class"),
        ((3, -2), "row 0 of Support holds .3, -2.: need .* and -1 where one is absent"),
        ((), r"ids of Support are whole numbers \(K,\) or \(n, K\), got \(\)"),
        ((0.5, 1.0), "ids of Support are whole numbers"),
        ((("a",),), "ids of Support are whole numbers"),
        (((0, 1), (2,)), "ids of Support are whole numbers"),
    ],
)
def test_what_is_no_support_is_refused(ids, message):
    with pytest.raises(ValueError, match=message):
        Support(ids)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ((7,), "Support names the class 7, the logits have 7"),
        (ROWS[:3], "Support has 3 rows of classes, the logits 5"),
        (tuple(range(7)), "Support leaves no other class in row 0"),
    ],
)
def test_what_does_not_fit_the_logits_is_refused(ids, message):
    for call in (Support(ids), Support(ids).members):
        with pytest.raises(ValueError, match=message):
            call(TEACHER, TARGET)
