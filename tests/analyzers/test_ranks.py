"""Of every analyzer: parts merge into the whole, and rows with NaN or inf are left out."""

import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.regions.ambiguity import RegionAmbiguity
from kdanalysis.analyzers.regions.anatomy import RegionAnatomy
from kdanalysis.analyzers.regions.cancellation import RegionCancellation
from kdanalysis.analyzers.regions.uptake import RegionUptake
from kdanalysis.analyzers.students.agreement import Agreement
from kdanalysis.analyzers.students.discrepancy import ClassDiscrepancy
from kdanalysis.analyzers.students.relation import NonTopRelation
from kdanalysis.analyzers.sweep.spread import SweepSpread
from kdanalysis.analyzers.sweep.sweep import TermSweep
from kdanalysis.analyzers.teacher.calibration import Calibration
from kdanalysis.analyzers.teacher.card import TeacherDistribution
from kdanalysis.analyzers.teacher.mass import TopKMass
from kdanalysis.analyzers.teacher.modality import Modality
from kdanalysis.analyzers.teacher.profile import ClassProfile
from kdanalysis.analyzers.teacher.suppression import Suppression
from kdanalysis.analyzers.terms.amplification import Amplification
from kdanalysis.analyzers.terms.confidence import ShareByConfidence
from kdanalysis.analyzers.terms.conflict import GradientConflict
from kdanalysis.analyzers.terms.direction import LossDirection
from kdanalysis.analyzers.terms.layers import LayerGradients
from kdanalysis.analyzers.terms.magnitude import TermMagnitude
from kdanalysis.analyzers.terms.nckd import NCKDByConfidence
from kdanalysis.analyzers.terms.share import TermShare
from kdanalysis.analyzers.terms.snr import SignalToNoise
from kdanalysis.losses import DKD, GDKD
from tests.analyzers.reference import logits, regions, targets

STEPS = (0, 10, 20)
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
    lambda: TermMagnitude(LOSSES, STEPS),
    lambda: TermShare(LOSSES),
    lambda: ShareByConfidence(LOSSES),
    lambda: Amplification(LOSSES),
    lambda: GradientConflict(LOSSES, STEPS),
    lambda: LossDirection(LOSSES, STEPS),
    lambda: NonTopRelation(3, STEPS),
    lambda: Agreement(STEPS),
    lambda: ClassDiscrepancy(12),
    lambda: TermSweep(12, (1, 4), (1, 3, 8)),
    lambda: SweepSpread(12, (1, 4), (1, 3, 8)),
    lambda: RegionAnatomy(DKD(), 12, epochs=(6, 7)),
    lambda: RegionAmbiguity(12),
    lambda: RegionCancellation(DKD(), 12),
    lambda: RegionUptake(12, epochs=(6, 7)),
    lambda: LayerGradients(("layer1", "fc"), ("ce", "kd"), STEPS),
    lambda: SignalToNoise(("layer1", "fc"), ("ce", "kd"), STEPS),
]
COLUMNS = {
    "student_logits": logits(0),
    "teacher_logits": logits(1),
    "target": targets(2),
    "student_regions": regions(5, 60, 12),
    "teacher_regions": regions(6, 60, 12),
    "step": torch.arange(60) % 3 * 10,
    "epoch": 6 + torch.arange(60) % 3 // 2,
    "gram": logits(3, c=2).unsqueeze(-1) * logits(3, c=2).unsqueeze(-2),
    "covariance": logits(4, c=2).square().diag_embed(),
    "count": torch.full((60,), 64),
    "layer": torch.arange(60) % 2,
}
MIXED = {  # every third row has no label, every sixth a target over the classes in its place
    "target": targets(2).where(torch.arange(60) % 3 > 0, -1),
    "soft_target": logits(7).softmax(-1).where(torch.arange(60)[:, None] % 6 == 0, torch.nan),
}
COLUMNS["teacher_logits"][[4, 50]] = torch.nan
COLUMNS["student_logits"][20, 3] = torch.inf
COLUMNS["teacher_regions"][9, 1, 3] = -torch.inf
COLUMNS["student_regions"][[9, 40], 0, 7] = torch.nan
COLUMNS["gram"][31] = torch.nan


def fed(make, rows: slice | torch.Tensor):
    metric = make()
    columns = COLUMNS | (MIXED if metric.mixed else {})
    more = {name: columns[name][rows] for name in metric.takes if name not in metric.needs}
    metric.update(*(columns[name][rows] for name in metric.needs), **more)
    return metric


@pytest.mark.parametrize("make", ANALYZERS, ids=lambda make: type(make()).__name__)
def test_parts_merge_into_the_whole_in_any_order(make):
    here, there = fed(make, slice(0, 25)), fed(make, slice(25, 60))
    there.merge_state(here)
    pd.testing.assert_frame_equal(there.table(), fed(make, slice(None)).table())


@pytest.mark.parametrize("make", ANALYZERS, ids=lambda make: type(make()).__name__)
def test_rows_with_nan_or_inf_are_counted_and_left_out(make):
    columns = [COLUMNS[name].flatten(1) for name in make().needs if COLUMNS[name].dim() > 1]
    finite = torch.cat(columns, 1).isfinite().all(1)
    all_rows, clean = (fed(make, rows) for rows in (slice(None), finite))
    counted = all_rows.bad if hasattr(all_rows, "bad") else all_rows.non_finite
    assert int(counted.sum()) == int((~finite).sum()) > 0
    tables = [one.table() for one in (all_rows, clean)]
    if "non_finite" not in tables[0]:  # the card, whose quantities are rows
        tables = [table[table.quantity != "non_finite"] for table in tables]
    else:
        assert tables[0].non_finite.max() == counted.max()
        tables = [table.drop(columns="non_finite") for table in tables]
    pd.testing.assert_frame_equal(*tables)


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


@pytest.mark.parametrize("make", ANALYZERS, ids=lambda make: type(make()).__name__)
def test_what_is_analysed_stays_as_it_was(make):
    metric = make()
    finite = torch.tensor([place for place in range(60) if place not in (4, 9, 20, 31, 40, 50)])
    names = dict.fromkeys((*metric.needs, *metric.takes))
    columns = COLUMNS | (MIXED if metric.mixed else {})
    given = {name: columns[name][finite] for name in names}
    given |= {name: x.double() for name, x in given.items() if x.is_floating_point()}
    before = {name: values.clone() for name, values in given.items()}
    metric.update(**given)
    assert metric.non_finite == 0
    for name in names:
        torch.testing.assert_close(given[name], before[name], rtol=0, atol=0, equal_nan=True)
