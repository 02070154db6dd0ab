"""Analyzers are made for what is known of a run; None without a table."""

import pytest

from kdanalysis import DKD, KD, AutoK
from kdanalysis.analyzers.regions.ambiguity import RegionAmbiguity
from kdanalysis.analyzers.regions.anatomy import RegionAnatomy
from kdanalysis.analyzers.regions.cancellation import RegionCancellation
from kdanalysis.analyzers.regions.uptake import RegionUptake
from kdanalysis.analyzers.setting import Setting
from kdanalysis.analyzers.stones.alignment import FeatureAlignment
from kdanalysis.analyzers.stones.connector import ConnectorFit
from kdanalysis.analyzers.stones.ladder import LadderProfile
from kdanalysis.analyzers.students.agreement import Agreement
from kdanalysis.analyzers.students.discrepancy import ClassDiscrepancy
from kdanalysis.analyzers.students.embedding import Embedding
from kdanalysis.analyzers.students.relation import NonTopRelation
from kdanalysis.analyzers.sweep.spread import SweepSpread
from kdanalysis.analyzers.sweep.sweep import TermSweep
from kdanalysis.analyzers.teacher.calibration import Calibration
from kdanalysis.analyzers.teacher.card import TeacherDistribution
from kdanalysis.analyzers.teacher.mass import TopKMass
from kdanalysis.analyzers.teacher.modality import Modality
from kdanalysis.analyzers.teacher.profile import ClassProfile
from kdanalysis.analyzers.teacher.suppression import Suppression
from kdanalysis.analyzers.terms.nckd import NCKDByConfidence

STEPS, SCALES = (0, 10, 20, 30), (1, 2)
FEATURES = {"features": {"teacher": 8, "student": 4}, "counts": (9, 0, 5, 0, 0, 0, 0), "rows": 12}
TIMES = {"times": 2.0, **FEATURES}
SETTING = Setting(7, STEPS, temperature=2.0, k=3, region_loss=DKD(), scales=SCALES, **TIMES)
MADE = [
    TeacherDistribution(7),
    TopKMass(7),
    ClassProfile(7, 2.0),
    Modality(7, AutoK(temperature=2.0)),
    Calibration(7, 2.0),
    Suppression(7, (1.0, 2.0), distilled=2.0),
    NCKDByConfidence(2.0),
    Agreement(STEPS),
    NonTopRelation(3, STEPS),
    ClassDiscrepancy(7, 2.0, 30),
    Embedding(**FEATURES),
    RegionAnatomy(DKD(), 7, SCALES, STEPS),
    RegionAmbiguity(7, SCALES, 2.0),
    RegionCancellation(DKD(), 7, SCALES, 2.0),
    RegionUptake(7, SCALES, STEPS),
]


@pytest.mark.parametrize("expected", MADE, ids=lambda made: type(made).__name__)
def test_a_setting_makes_the_analyzer_of_its_classes_steps_and_loss(expected):
    made = type(expected).for_setting(SETTING)
    assert made.configuration == expected.configuration
    assert made.needs == expected.needs
    made.merge_state(expected)  # refuses another configuration


@pytest.mark.parametrize("kind", [RegionAmbiguity, RegionCancellation])
def test_the_whole_image_alone_has_no_table_of_cells(kind):
    assert kind.for_setting(Setting(7, region_loss=DKD(), scales=(1,))) is None


@pytest.mark.parametrize("kind", [type(made) for made in MADE if made.kind == "regions"])
def test_without_regions_there_are_none_of_their_tables(kind):
    assert kind.for_setting(Setting(7)) is None


def test_without_features_there_is_no_embedding():
    assert Embedding.for_setting(Setting(7)) is None


def test_without_a_loss_on_regions_they_are_looked_at_with_plain_kd():
    made = RegionAnatomy.for_setting(Setting(7, temperature=2.0, scales=SCALES))
    assert repr(made.loss) == repr(KD(2.0))


OTHERWISE = [LadderProfile, FeatureAlignment, ConnectorFit, TermSweep, SweepSpread]


@pytest.mark.parametrize("kind", OTHERWISE)
def test_no_run_holds_what_a_ladder_needs_and_a_sweep_is_asked_for_by_itself(kind):
    assert not kind.of_runs
    assert kind.for_setting(SETTING) is None


def test_losses_at_one_get_the_suppression_at_one_alone():
    assert Suppression.for_setting(Setting(7, temperature=1.0)).temperatures == (1.0,)
