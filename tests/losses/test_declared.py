"""A loss of one's own gives the terms that it declares, a number a sample, or says what it gave."""

import pytest
import torch

import kdanalysis as kd
from kdanalysis.losses.registry import KINDS


class Mine(kd.Loss):
    """Half the squared distance of the logits, as a term of any name and shape."""

    def __init__(self, term: str = "half", shape: str = "as it is") -> None:
        super().__init__()
        self.term, self.shape = term, shape
        self.term_weights = {"half": 1.0}

    def values(self, student, teacher, target, ramp):
        found = (student - teacher).square().sum(-1) / 2
        return {self.term: {"mean": found.mean(), "column": found[:, None]}.get(self.shape, found)}

    def slopes(self, student, teacher, target, ramp):
        found = student - teacher
        return {self.term: {"mean": found.mean(0)}.get(self.shape, found)}


class Bare(kd.Loss):
    """Declares nothing."""

    def values(self, student, teacher, target, ramp):
        return {"half": (student - teacher).square().sum(-1) / 2}

    def slopes(self, student, teacher, target, ramp):
        return {"half": student - teacher}


for kind in (Mine, Bare):  # unheard of again in other tests
    del KINDS[kind.__name__]

STUDENT, TEACHER = torch.linspace(-2, 3, 48).view(2, 6, 4)
TARGET = torch.arange(6) % 4


def test_terms_that_were_declared_are_given_as_they_are():
    gap = STUDENT - TEACHER
    assert torch.equal(Mine()(STUDENT, TEACHER, TARGET)["half"], gap.square().sum(-1) / 2)
    assert torch.equal(Mine().gradients(STUDENT, TEACHER, TARGET)["half"], gap)
    assert repr(Bare()) == "Bare()"


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        (Mine("other"), r"values of Mine gives other, need a dict .* term_weights: half"),
        (Mine(shape="mean"), r"values of Mine gives 'half' as \(\), need \(6,\)"),
        (Mine(shape="column"), r"values of Mine gives 'half' as \(6, 1\), need \(6,\)"),
        (Bare(), "Bare has no term_weights: its constructor must set them"),
    ],
)
def test_values_that_were_not_declared_are_refused(loss, why):
    with pytest.raises(ValueError, match=why):
        loss(STUDENT, TEACHER, TARGET)


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        (Mine("other"), r"slopes of Mine gives other, need a dict"),
        (Mine(shape="mean"), r"slopes of Mine gives 'half' as \(4,\), need \(6, 4\)"),
    ],
)
def test_slopes_that_were_not_declared_are_refused(loss, why):
    with pytest.raises(ValueError, match=why):
        loss.gradients(STUDENT, TEACHER, TARGET)
