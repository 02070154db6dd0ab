"""Factors that make every loss step as far as the first, and what is read from them."""

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.terms.direction import LossDirection
from kdanalysis.analyzers.terms.magnitude import TermMagnitude
from kdanalysis.analyzers.terms.matching import (
    at_matched_norm,
    matching_sentence,
    matching_weights,
    summary,
)
from kdanalysis.core.partition import TopK
from kdanalysis.losses import DKD, GDKD, KD, NKD, CrossEntropy
from kdanalysis.losses.parts import KDParts
from tests.analyzers.reference import logits, targets

STUDENT, TEACHER, TARGET = logits(0), logits(1), targets(2)
LOSSES = {"kd": KD(2.0), "dkd": DKD(), "gdkd": GDKD(3)}


def table(analyzer, student=STUDENT) -> pd.DataFrame:
    analyzer.update(student, TEACHER, TARGET)
    return analyzer.table()


def norm(loss) -> float:
    """Mean over samples of the norm of the summed loss's gradient, by autograd."""
    leaf = STUDENT.clone().requires_grad_()
    total = sum(loss(leaf, TEACHER, TARGET).values()).sum()
    (slope,) = torch.autograd.grad(total, leaf, create_graph=True)  # torch's own
    return slope.norm(dim=-1).mean().item()


def test_matching_weights_bring_every_norm_to_the_first():
    weights = matching_weights(table(LossDirection(LOSSES)))
    matched = {
        "dkd": DKD(alpha=weights["dkd"], beta=8 * weights["dkd"]),
        "gdkd": GDKD(3, (weights["gdkd"], weights["gdkd"], 8 * weights["gdkd"])),
    }
    assert weights["kd"] == 1
    for loss in matched.values():
        assert norm(loss) == pytest.approx(norm(LOSSES["kd"]), rel=1e-5)


def test_the_summary_has_one_row_a_loss():
    direction = table(LossDirection(LOSSES))
    frame = summary({"direction": direction}, LOSSES, match=True)
    assert frame.loss.tolist() == list(LOSSES)
    assert frame.norm.tolist() == pytest.approx([norm(x) for x in LOSSES.values()])
    assert frame.multiplier.tolist() == pytest.approx((frame.norm / frame.norm[0]).tolist())
    assert frame.cosine[0] == frame.cosine_batch[0] == 1
    assert frame.definition.tolist() == [repr(loss) for loss in LOSSES.values()]
    assert frame.weight.tolist() == list(matching_weights(direction).values())
    assert "weight" not in summary({"direction": direction}, LOSSES)


def test_terms_at_matched_norm_are_scaled_with_the_parts_of_kd():
    losses = {"gdkd": GDKD(3), "kd": KD(2.0)}
    direction = table(LossDirection(losses))
    before = table(TermMagnitude(losses | {"kd parts": KDParts(TopK(3), 2.0)}))
    tables = {"direction": direction, "magnitude": before, "share": before}
    scaled = at_matched_norm(tables, {"kd parts": "kd"})
    weight = 1 / direction.query("teacher == 'all'").multiplier.iloc[0]
    factor = np.where(before.loss == "gdkd", 1.0, weight)
    for column in ("mean", "q25", "median", "q75"):
        np.testing.assert_allclose(scaled["magnitude"][column], before[column] * factor)
    np.testing.assert_allclose(scaled["magnitude"].weight, factor)
    np.testing.assert_allclose(scaled["magnitude"].raw_mean, before["mean"])
    assert scaled["share"] is before


def test_the_sentence_of_matching_names_the_factors():
    frame = pd.DataFrame({"loss": ["kd", "gdkd", "nkd"], "weight": [1.0, 0.3141, 2.0]})
    assert matching_sentence(frame) == (
        "To step as far as kd, at equal mean norms: gdkd \u00d7 0.314, nkd \u00d7 2."
    )


def test_a_loss_without_gradient_cannot_be_matched():
    losses = {"ce": CrossEntropy(), "kd": KD(), "nkd": NKD()}
    silent = table(LossDirection(losses), student=TEACHER)
    with pytest.raises(ValueError, match="the loss 'kd' has no gradient on these logits"):
        matching_weights(silent)
