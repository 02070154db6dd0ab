"""Every analyzer's table is that of all ranks, on every rank."""

import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.regions.ambiguity import RegionAmbiguity
from kdanalysis.analyzers.regions.anatomy import RegionAnatomy
from kdanalysis.analyzers.regions.cancellation import RegionCancellation
from kdanalysis.analyzers.regions.uptake import RegionUptake
from kdanalysis.analyzers.students.discrepancy import ClassDiscrepancy
from kdanalysis.analyzers.students.relation import NonTopRelation
from kdanalysis.analyzers.teacher.calibration import Calibration
from kdanalysis.analyzers.teacher.card import TeacherDistribution
from kdanalysis.analyzers.teacher.mass import TopKMass
from kdanalysis.analyzers.teacher.modality import Modality
from kdanalysis.analyzers.teacher.profile import ClassProfile
from kdanalysis.analyzers.teacher.suppression import Suppression
from kdanalysis.analyzers.terms.amplification import Amplification
from kdanalysis.analyzers.terms.confidence import ShareByConfidence
from kdanalysis.analyzers.terms.conflict import GradientConflict
from kdanalysis.analyzers.terms.layers import LayerGradients
from kdanalysis.analyzers.terms.magnitude import TermMagnitude
from kdanalysis.analyzers.terms.nckd import NCKDByConfidence
from kdanalysis.analyzers.terms.share import TermShare
from kdanalysis.analyzers.terms.snr import SignalToNoise
from kdanalysis.losses import DKD, GDKD
from tests.analyzers.reference import logits, regions, targets

LOSSES = {"dkd": DKD(), "gdkd": GDKD(3)}
ANALYZERS = [
    lambda: TeacherDistribution(12),
    lambda: TopKMass(12),
    lambda: Calibration(12),
    lambda: Calibration(12, side="student"),
    lambda: Suppression(12),
    lambda: NCKDByConfidence(),
    lambda: ClassProfile(12),
    lambda: Modality(12),
    lambda: TermMagnitude(LOSSES),
    lambda: TermShare(LOSSES),
    lambda: ShareByConfidence(LOSSES),
    lambda: Amplification(LOSSES),
    lambda: GradientConflict(LOSSES),
    lambda: NonTopRelation(3),
    lambda: ClassDiscrepancy(12),
    lambda: RegionAnatomy(DKD(), 12, epochs=(7,)),
    lambda: RegionAmbiguity(12),
    lambda: RegionCancellation(DKD(), 12),
    lambda: RegionUptake(12, epochs=(7,)),
    lambda: LayerGradients(("layer1", "fc"), ("ce", "kd"), (0,)),
    lambda: SignalToNoise(("layer1", "fc"), ("ce", "kd"), (0,)),
]
COLUMNS = {
    "student_logits": logits(0),
    "teacher_logits": logits(1),
    "target": targets(2),
    "student_regions": regions(5, 60, 12),
    "teacher_regions": regions(6, 60, 12),
    "step": torch.zeros(60, dtype=torch.long),
    "epoch": torch.full((60,), 7),
    "gram": logits(3, c=2).unsqueeze(-1) * logits(3, c=2).unsqueeze(-2),
    "covariance": logits(4, c=2).square().diag_embed(),
    "count": torch.full((60,), 64),
    "layer": torch.arange(60) % 2,
}
COLUMNS["teacher_logits"][[4, 50]] = torch.nan


def fed(make, rows: slice):
    metric = make()
    more = {name: COLUMNS[name][rows] for name in metric.takes if name not in metric.needs}
    metric.update(*(COLUMNS[name][rows] for name in metric.needs), **more)
    return metric


@pytest.mark.parametrize("make", ANALYZERS, ids=lambda make: type(make()).__name__)
def test_parts_merge_into_the_whole_in_any_order(make):
    here, there = fed(make, slice(0, 25)), fed(make, slice(25, 60))
    there.merge_state(here)
    pd.testing.assert_frame_equal(there.table(), fed(make, slice(None)).table())


@pytest.mark.parametrize("make", ANALYZERS, ids=lambda make: type(make()).__name__)
def test_states_are_float64_sums(make):
    for state in make().states.values():
        assert state.dtype == torch.float64
        assert not state.any()


@pytest.mark.parametrize("make", ANALYZERS, ids=lambda make: type(make()).__name__)
def test_what_is_computed_is_tensors_of_ones_own(make):
    analyzer = fed(make, slice(None))
    before = analyzer.table()
    for value in analyzer.compute().values():
        assert isinstance(value, torch.Tensor)
        value.fill_(-1)
    pd.testing.assert_frame_equal(analyzer.table(), before)


@pytest.mark.parametrize("make", ANALYZERS, ids=lambda make: type(make()).__name__)
def test_the_state_does_not_grow_with_the_samples(make):
    one, two = fed(make, slice(0, 10)), fed(make, slice(None))
    sizes = [{n: s.shape for n, s in analyzer.states.items()} for analyzer in (one, two)]
    assert sizes[0] == sizes[1]


def test_only_analyzers_of_one_kind_and_configuration_merge():
    with pytest.raises(ValueError, match="cannot merge TopKMass into TopKMass: class and argum"):
        TopKMass(12).merge_state(TopKMass(12, temperatures=(1,)))
    with pytest.raises(ValueError, match="cannot merge Modality into TopKMass"):
        TopKMass(12).merge_state(Modality(12))
