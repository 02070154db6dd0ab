"""Losses of rows that keep K classes have the terms, norms and cosines that all logits give."""

import pytest
import torch

from kdanalysis.core.partition import AutoK, Target, TopK
from kdanalysis.core.truncation.kept import keep
from kdanalysis.losses import (
    DKD,
    GDKD,
    GDKD3,
    JSD,
    KD,
    TVD,
    AlphaBeta,
    CrossEntropy,
    Decoupled,
    KDParts,
    LogitStandardized,
    SkewKL,
    Sum,
    Truncated,
)
from kdanalysis.losses.kept import OverKept, temperatures_of

K, TEMPERATURES = 16, (1.0, 2.0, 4.0)
LOSSES = [
    *(KD(4.0), CrossEntropy(2.0), DKD(temperature=2.0), DKD(partition="top1"), GDKD(5), GDKD3(4)),
    *(GDKD(16, weights="mass"), KDParts(TopK(5), 4.0), KDParts(Target(), 1.0, ("t", None, "n"))),
    *(Truncated(8), Truncated(16, tail="none"), Truncated(16, tail="none", clamp=0.0)),
    *(
        Truncated(8, tail="teacher"),
        Truncated(8, divergence="reverse"),
        Truncated(8, "renormalise"),
    ),
    *(Truncated(8, "none", "reverse"), JSD(k=8), SkewKL(k=8, temperature=2.0), AlphaBeta(k=4)),
    TVD(k=8, tail="renormalise"),
    Sum(CrossEntropy(), GDKD(5, temperature=4.0), Truncated(8, temperature=2.0)),
]


@pytest.fixture(scope="module")
def rows():
    """Logits, labels, what is kept of them, and the labels' places."""
    seed = torch.Generator().manual_seed(1)
    teacher = 3 * torch.randn(20, 120, generator=seed).double()
    student = teacher + 1.5 * torch.randn(20, 120, generator=seed).double()
    student[0], student[1] = teacher[0], teacher[1] + 1e-4 * student[1]
    teacher[2] = 0.1 * teacher[2]  # the others hold most of the mass
    target = torch.randint(0, 120, (20,), generator=seed)
    target[:8] = teacher[:8].argmax(-1)
    kept = keep(student, teacher, target, K, TEMPERATURES)
    return (student, teacher, target), (kept, kept.slot(target))


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_terms_are_those_of_all_logits(rows, loss):
    found = OverKept(loss, K, TEMPERATURES).values(*rows[1])
    exact = loss(*rows[0])
    assert found.keys() == exact.keys()
    for name, values in exact.items():
        torch.testing.assert_close(found[name], values, rtol=1e-9, atol=1e-12)


def test_a_teacher_that_is_nearly_even_over_more_classes_than_are_kept_is_not_doubted():
    seed = torch.Generator().manual_seed(2)
    student, teacher = 0.05 * torch.randn(2, 20, 120, generator=seed).double()
    target = teacher.argmax(-1)
    assert teacher.softmax(-1).amax() < 1 / (K + 3)  # less than each of as many as stand for a row
    kept = keep(student, teacher, target, K, TEMPERATURES)
    found = OverKept(Truncated(8), K, TEMPERATURES).values(kept, kept.slot(target))
    exact = Truncated(8)(student, teacher, target)
    torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-12)


def test_an_ignored_class_is_not_the_place_of_a_label(rows):
    loss, kept = CrossEntropy(ignore_index=0), rows[1][0]
    first = torch.zeros(len(kept.ids), dtype=torch.long)  # the teacher's largest class is the label
    found = OverKept(loss, K, TEMPERATURES).values(kept, first)["ce"]
    torch.testing.assert_close(found, CrossEntropy()(*rows[0][:2], kept.ids[:, 0])["ce"])
    assert (OverKept(loss, K, TEMPERATURES).values(kept, first - 1)["ce"] == 0).all()


def test_inner_products_of_all_terms_at_all_temperatures_are_those_of_all_logits(rows):
    exact = torch.stack([g for loss in LOSSES for g in loss.gradients(*rows[0]).values()])
    over = [OverKept(loss, K, TEMPERATURES).gradients(*rows[1]) for loss in LOSSES]
    found = torch.stack([g for part in over for g in part.values()])
    assert found.shape[-1] == K + 1 + 2 * len(TEMPERATURES)
    grams = [torch.einsum("tnd,snd->nts", one, one) for one in (found, exact)]
    length = exact.norm(dim=-1).T.clamp(min=1e-6)
    scale = length.unsqueeze(1) * length.unsqueeze(2)
    torch.testing.assert_close(grams[0] / scale, grams[1] / scale, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (JSD(), "looks into the classes outside the 16 largest"),
        (KD(3.0), r"T = 3, and the sums over the other classes were kept at T = 1, 2, 4"),
        (GDKD(17), "sets apart more classes than the 16"),
        (GDKD(5, strategy="worst"), "looks at every class"),
        (Decoupled(AutoK(), (1, 1, 1)), "looks at every class"),
        (GDKD(5, divergence="reverse"), "looks into the classes outside"),
        (Truncated(17), "looks into the classes outside"),
        (Truncated(8, support="student"), "looks into the classes outside"),
        (Truncated(8, tail="teacher", divergence="reverse"), "looks into the classes outside"),
        (LogitStandardized(KD(1.0)), "looks into the classes outside"),
    ],
    ids=repr,
)
def test_a_loss_that_needs_more_than_is_kept_is_refused(loss, says):
    with pytest.raises(ValueError, match=says):
        OverKept(Sum(CrossEntropy(), loss), K, TEMPERATURES)


def test_the_temperatures_of_a_loss_are_those_of_all_it_adds_up_and_one():
    assert temperatures_of(None) == temperatures_of(CrossEntropy()) == (1.0,)
    inner = Sum(KD(4.0), CrossEntropy())
    assert temperatures_of(Sum(inner, Truncated(8, temperature=2.0))) == (1.0, 2.0, 4.0)
