"""Which analyzers of terms a run or a file asks for, and which it cannot have."""

import pytest

from kdanalysis.analyzers.setting import Setting
from kdanalysis.analyzers.terms.amplification import Amplification
from kdanalysis.analyzers.terms.confidence import ShareByConfidence
from kdanalysis.analyzers.terms.conflict import GradientConflict
from kdanalysis.analyzers.terms.direction import LossDirection
from kdanalysis.analyzers.terms.layers import LayerGradients
from kdanalysis.analyzers.terms.magnitude import TermMagnitude
from kdanalysis.analyzers.terms.share import TermShare
from kdanalysis.analyzers.terms.snr import SignalToNoise
from kdanalysis.losses import NKD

SETTING = Setting(12, (0, 10), 2.0, 3, trained={"trained": NKD()})
INSIDE, DECOUPLED = ["kd parts", "kd parts by target"], ["dkd", "gdkd"]
UNIT = ["dkd 1/1", "gdkd 1/1/1"]
COLD = [f"{name} (T = 1)" for name in INSIDE + DECOUPLED]


@pytest.mark.parametrize(
    ("kind", "losses"),
    [
        (TermMagnitude, ["ce", "kd", "kd parts", *DECOUPLED, *UNIT, "trained"]),
        (GradientConflict, ["ce", "kd", "dkd", "gdkd", "trained"]),
        (TermShare, [*INSIDE, *UNIT, *DECOUPLED, "trained"]),
        (ShareByConfidence, INSIDE + DECOUPLED + COLD),
        (LossDirection, ["kd", *DECOUPLED, "trained", "ce"]),
        (Amplification, DECOUPLED),
    ],
)
def test_the_losses_are_those_of_the_setting(kind, losses):
    analyzer = kind.for_setting(SETTING)
    assert list(analyzer.losses) == losses
    assert getattr(analyzer, "steps", (0, 10)) == (0, 10)
    if "gdkd" in losses:
        assert (analyzer.losses["gdkd"].k, analyzer.losses["gdkd"].temperature) == (3, 2.0)


def test_two_classes_have_nothing_to_amplify():
    assert Amplification.for_setting(Setting(2, k=1)) is None


@pytest.mark.parametrize("kind", [LayerGradients, SignalToNoise])
def test_layers_have_a_table_where_they_were_recorded(kind):
    assert kind.for_setting(SETTING) is None
    analyzer = kind.for_setting(Setting(12, (0, 10), layers=("fc",), terms=("kd",)))
    assert (analyzer.layers, analyzer.terms, analyzer.steps) == (("fc",), ("kd",), (0, 10))
