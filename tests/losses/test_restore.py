"""A loss comes back from the repr that a run keeps, and nothing else is ever evaluated."""

import pytest
from problems import LOSSES

from kdanalysis.losses.text import restore_loss


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_repr_gives_the_loss_back(loss):
    assert repr(restore_loss(repr(loss))) == repr(loss)
    assert restore_loss(repr(loss)).terms == loss.terms


@pytest.mark.parametrize(
    "text",
    ["", "KD(", "KDX()", "KD(tau=1)", "TopK(k=3)", "__import__('os').getcwd()", "KD(4.0)(1)", "5"],
)
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="not the repr of a loss of this package"):
        restore_loss(text)
