"""Analyzers of a teacher are made for the classes and the temperature of what is read."""

import pytest

from kdanalysis.analyzers.setting import Setting
from kdanalysis.analyzers.sweep.spread import SweepSpread
from kdanalysis.analyzers.sweep.sweep import TermSweep
from kdanalysis.analyzers.teacher.calibration import Calibration
from kdanalysis.analyzers.teacher.card import TeacherDistribution
from kdanalysis.analyzers.teacher.mass import TopKMass
from kdanalysis.analyzers.teacher.modality import Modality
from kdanalysis.analyzers.teacher.profile import ClassProfile
from kdanalysis.analyzers.teacher.suppression import Suppression

SETTING = Setting(num_classes=7, temperature=3.0)


@pytest.mark.parametrize(
    "expected",
    [
        TeacherDistribution(7),
        TopKMass(7),
        ClassProfile(7, 3.0),
        Modality(7),
        Calibration(7, 3.0),
        Suppression(7, (1.0, 3.0)),
    ],
    ids=lambda analyzer: analyzer.noun,
)
def test_a_run_gets_its_classes_and_temperature(expected):
    made = type(expected).for_setting(SETTING)
    made.merge_state(expected)  # refused unless configured alike
    assert made.needs == expected.needs


def test_losses_at_one_get_the_suppression_at_one_alone():
    assert Suppression.for_setting(Setting(7, temperature=1.0)).temperatures == (1.0,)


@pytest.mark.parametrize("analyzer", [TermSweep, SweepSpread])
def test_a_sweep_is_no_table_of_a_run(analyzer):
    assert analyzer.for_setting(SETTING) is None
