"""A loss on one side of a threshold: which samples it keeps, and what it refuses."""

import numpy as np
import pytest
import torch
from problems import batch
from scipy.special import softmax

from kdanalysis import DKD, KD, SDD, Confident, CrossEntropy, Sum

LOSS = Sum(CrossEntropy(), DKD(alpha=0.0))
PROBLEM = batch(0, n=200)
PROBABILITY = softmax(PROBLEM[1].numpy(), axis=1)[range(200), PROBLEM[2]]


@pytest.mark.parametrize("threshold", [0.01, 0.3, 0.9])
def test_each_side_keeps_its_samples_as_they_are_and_the_others_at_zero(threshold):
    whole, slopes = LOSS(*PROBLEM), LOSS.gradients(*PROBLEM)
    sure = torch.from_numpy(threshold < PROBABILITY)
    assert 0 < sure.sum() < 200
    for side, kept in (("sure", sure), ("unsure", ~sure)):
        loss = Confident(LOSS, threshold, side)
        part, gradient = loss(*PROBLEM), loss.gradients(*PROBLEM)
        assert list(part) == list(gradient) == list(loss.terms) == ["ce", "tckd", "nckd"]
        for name in part:
            assert torch.equal(part[name], whole[name].where(kept, 0.0))
            assert torch.equal(gradient[name], slopes[name].where(kept.unsqueeze(-1), 0.0))


def test_the_sides_add_up_to_the_loss():
    sides = [Confident(LOSS, 0.3, side)(*PROBLEM) for side in ("sure", "unsure")]
    for name, whole in LOSS(*PROBLEM).items():
        assert torch.equal(sides[0][name] + sides[1][name], whole)


def test_a_samples_side_does_not_depend_on_its_batch():
    loss = Confident(LOSS, 0.3)
    alone = [loss(*(x[i : i + 1] for x in PROBLEM))["nckd"].item() for i in range(200)]
    np.testing.assert_allclose(alone, loss(*PROBLEM)["nckd"])


def test_the_threshold_is_read_beyond_the_digits_of_p():
    student, target = torch.zeros(2, 3), torch.zeros(2, dtype=torch.long)
    teacher = torch.tensor([[18.0, 0.0, 0.0], [24.0, 0.0, 0.0]])
    assert teacher.softmax(-1)[:, 0].eq(1).all()  # the control: float32 cannot tell them apart
    kept = Confident(KD(), 1 - 1e-9)(student, teacher, target)["kd"] != 0
    assert kept.tolist() == [False, True]


def test_confidence_is_read_at_t_1_whatever_the_losss_temperature():
    one, other = (Confident(DKD(temperature=t), 0.3)(*PROBLEM)["nckd"] != 0 for t in (1.0, 8.0))
    assert torch.equal(one, other)
    assert one.sum() == (PROBABILITY > 0.3).sum()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((SDD(KD()),), "Confident needs a loss on whole images"),
        ((KD(), 0.0), "threshold must lie between 0 and 1, both excluded, got 0.0"),
        ((KD(), 1), "threshold must lie between 0 and 1, both excluded, got 1"),
        ((KD(), float("nan")), "threshold must be a finite number"),
        ((KD(), 0.5, "above"), r"side is one of \('sure', 'unsure'\), got 'above'"),
    ],
)
def test_what_it_cannot_use_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Confident(*arguments)


def test_labels_are_needed_even_around_a_loss_without():
    assert not KD().needs_target
    assert Confident(KD()).needs_target
    with pytest.raises(ValueError, match="target of sample 1 is 7, need an index from 0 to 6"):
        Confident(KD())(*batch(0, n=2)[:2], torch.tensor([0, 7]))
