"""Suggestions follow from the tables by the stated arithmetic, for odd teachers too."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy
from sklearn.metrics import log_loss

from kdanalysis.analyzers.teacher.calibration import LADDER as LADDER_FINE
from kdanalysis.analyzers.teacher.calibration import Calibration
from kdanalysis.analyzers.teacher.card import TeacherDistribution
from kdanalysis.analyzers.teacher.mass import TopKMass
from kdanalysis.analyzers.teacher.modality import Modality
from kdanalysis.analyzers.teacher.suggestion import (
    CAVEAT,
    loss_text,
    suggest,
    suggestion_reading,
    suggestion_tiles,
    values_as_text,
)
from kdanalysis.losses import parse_loss
from tests.analyzers.reference import auto_k, logits, probabilities, targets

LADDER = (1.0, 2.0, 4.0, 8.0)


def suggestions(teacher, target=None, ladder=LADDER, calibration=None) -> pd.DataFrame:
    classes = teacher.shape[-1]
    card, mass = TeacherDistribution(classes, ladder), TopKMass(classes, ladder)
    card.update(teacher, target)
    mass.update(teacher)
    modality = None
    if target is not None:
        modality = Modality(classes)
        modality.update(teacher, target)
    table = suggest(card.table(), mass.table(), modality and modality.table(), calibration)
    return table.set_index("setting", drop=False)


def modes(count: int, gap: float, classes: int = 20, samples: int = 30) -> torch.Tensor:
    """``count`` classes of each sample lie ``gap`` above the others, in shuffled places."""
    row = torch.zeros(classes, dtype=torch.float64)
    row[:count] = gap
    generator = torch.Generator().manual_seed(count)
    return torch.stack([row[torch.randperm(classes, generator=generator)] for _ in range(samples)])


def smallest_temperature(teacher, target, ladder) -> float:
    """The rule word for word, sample by sample, without the tables."""
    losses = []
    fulfilled = []
    for t in ladder:
        p = probabilities(teacher, t)
        rest = np.mean([entropy(np.sort(row)[:-1]) for row in p])
        lost = np.mean([row.min() <= 2.0**-25 for row in p])
        fulfilled.append(np.exp(rest) >= (p.shape[1] - 1) / 2 and lost <= 0.01)
        losses.append(log_loss(target, p, labels=range(p.shape[1])))
    least = int(np.argmin(losses))
    return next(t for i, t in enumerate(ladder) if fulfilled[i] and i >= least)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("gap", [3.0, 8.0])
def test_equal_modes_are_counted(count, gap):
    assert suggestions(modes(count, gap)).value["k"] == count


def test_k_is_the_smaller_of_knee_and_auto_k():
    mixed = torch.cat([modes(1, 8.0), modes(9, 8.0)])  # the knee is 9, auto-k 5 on average
    found = suggestions(mixed)
    assert found.value["k"] == 5
    assert found.evidence["k"] == "T = 1: knee 9, auto-k 5"
    assert "far apart" not in found.would_change["k"]
    uneven = torch.cat([modes(1, 8.0), *[modes(6, 8.0)] * 3])  # the knee is 6, auto-k 4.75
    assert suggestions(uneven).value["k"] == 5
    broad = logits(0, 200, 30, 2.0)
    p = probabilities(broad, 1.0)
    knee = (np.sort(p)[:, ::-1].mean(0) > 1 / 30).sum()
    assert knee < np.mean([auto_k(row) for row in p])
    assert suggestions(broad).value["k"] == knee
    assert "far apart" in suggestions(broad).would_change["k"]


def test_candidates_are_counted_where_the_probabilities_are_honest():
    teacher, two = modes(2, 3.0), modes(2, 3.0).argmax(-1)
    sharp = 8 * teacher + 10 * torch.nn.functional.one_hot(two, 20)
    wrong = torch.arange(30) % 20  # mostly wrong: least NLL at the largest T
    assert suggestions(sharp).evidence["k"].startswith("T = 1: ")
    assert suggestions(sharp, wrong).evidence["k"].startswith("T = 8: ")


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("scale", [0.5, 2.0, 4.0])
def test_temperature_agrees_with_a_plain_search(seed, scale):
    teacher, ladder = logits(seed, 80, 12, scale), (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
    target = torch.where(torch.arange(80) % 5 == 0, targets(seed, 80), teacher.argmax(-1))
    expected = smallest_temperature(teacher, target, ladder)
    assert suggestions(teacher, target, ladder).value["temperature"] == expected


@pytest.mark.parametrize(("samples", "expected"), [(100, 1), (99, 2), (20, 2)])
def test_one_percent_of_samples_may_underflow(samples, expected):
    teacher = torch.zeros(samples, 12, dtype=torch.float64)
    teacher[0, 0] = -25.0
    assert suggestions(teacher).value["temperature"] == expected


def test_each_condition_can_hold_the_temperature():
    hidden = torch.zeros(40, 12, dtype=torch.float64)
    hidden[:, 0] = -25.0  # one class underflows at T = 1, the others are equal
    found = suggestions(hidden)
    assert found.value["temperature"] == 2
    assert found.would_change["temperature"].startswith("a finer ladder: T = 1 is too low for flo")
    overconfident = modes(1, 6.0)
    wrong = (overconfident.argmax(-1) + torch.arange(30) % 2) % 20  # right half the time
    found = suggestions(overconfident, wrong)
    assert suggestions(overconfident).value["temperature"] == 1
    assert found.value["temperature"] == 2
    assert found.would_change["temperature"].endswith("T = 1 is too low for calibration")
    steep = torch.arange(12.0, dtype=torch.float64).expand(40, 12) / 2
    found = suggestions(steep)
    assert found.value["temperature"] == 2
    assert "T = 1 is too low for the classes after the first" in found.would_change["temperature"]


@settings(max_examples=30)
@given(st.integers(0, 99), st.floats(0.1, 3), st.floats(1, 8), st.booleans())
def test_a_sharper_teacher_never_gets_a_lower_temperature(seed, scale, sharper, labelled):
    teacher, target = logits(seed, 20, 8, scale), targets(seed, 20, 8) if labelled else None
    blunt, sharp = suggestions(teacher, target), suggestions(sharper * teacher, target)
    assert blunt.value["temperature"] <= sharp.value["temperature"]


def test_a_saturated_teacher_gets_the_end_of_the_ladder_and_is_told_so():
    teacher = 100 * logits(0)
    found = suggestions(teacher)
    assert suggestions(teacher / 100).value["temperature"] < 8
    assert found.value["temperature"] == 8
    assert found.would_change["temperature"].startswith("a ladder that reaches further: T = 8")
    assert found.value["k"] == 1


def test_without_labels_what_is_missing_is_said():
    bare, labelled = suggestions(logits(0)), suggestions(logits(0), targets(0))
    assert "no labels" in bare.evidence["temperature"]
    assert "labels, which could only raise it" in bare.would_change["temperature"]
    assert "no labels" in bare.rule["k"]
    assert "labels" not in labelled.evidence["temperature"] + labelled.rule["k"]
    assert "auto-k by class" in labelled.would_change["k"]
    assert "auto-k by class" not in bare.would_change["k"]


def test_a_uniform_teacher_has_nothing_to_teach():
    found = suggestions(torch.zeros(9, 10))
    assert found.value.tolist() == [1, 1, 1, 1, 1]
    assert found.evidence["w_high"] == "the teacher is uniform: it has nothing to teach"
    assert "nothing to amplify" in found.evidence["w_low_other"]


def test_a_teacher_without_finite_samples_gets_none():
    found = suggestions(torch.full((4, 5), torch.nan))
    assert found.empty
    assert found.columns.tolist() == ["setting", "value", "rule", "evidence", "would_change"]


def test_rows_with_nan_change_nothing():
    teacher, target = logits(0), targets(0)
    spoiled = torch.cat([teacher, torch.full((3, 12), torch.nan)])
    pd.testing.assert_frame_equal(
        suggestions(spoiled, torch.cat([target, target[:3]])), suggestions(teacher, target)
    )


def test_a_finer_ladder_of_calibration_is_evidence_and_changes_no_number():
    teacher, target = 1.4 * logits(0), targets(0)
    target = torch.where(torch.arange(60) % 3 > 0, teacher.argmax(-1), target)
    fine = Calibration(12)
    fine.update(teacher, target)
    found = suggestions(teacher, target, calibration=fine.table())
    losses = {t: log_loss(target, probabilities(teacher, t), labels=range(12)) for t in LADDER_FINE}
    honest = min(losses, key=losses.get)
    assert 1 < honest < 8
    assert honest not in LADDER
    assert f"of a finer one at T = {honest:.3g}; calibration" in found.evidence["temperature"]
    plain = suggestions(teacher, target)
    assert "finer" not in plain.evidence["temperature"]
    pd.testing.assert_series_equal(found.value, plain.value)


def test_the_order_of_the_ladder_does_not_matter():
    shuffled = suggestions(logits(0), targets(0), (4.0, 1.0, 8.0, 2.0))
    pd.testing.assert_frame_equal(shuffled, suggestions(logits(0), targets(0)))


def test_two_classes_leave_the_temperature_alone():
    found = suggestions(40 * modes(1, 1.0, 2))  # underflows at T = 1 and 2
    assert found.value.to_dict() == {"temperature": 4}
    assert loss_text(found) == "kd:temperature=4"


@pytest.mark.parametrize("classes", [2, 3, 5, 1000])
@pytest.mark.parametrize("scale", [0.0, 1.0, 5.0, 1e4])
def test_the_loss_can_be_read_and_computed(classes, scale):
    teacher = logits(1, 7, classes, scale)
    found = suggestions(teacher, targets(1, 7, classes), (1.0, 2.5))
    loss = parse_loss(loss_text(found))
    terms = loss(torch.zeros_like(teacher), teacher, targets(1, 7, classes))
    assert all(torch.isfinite(term).all() for term in terms.values())
    assert loss.temperature == found.value["temperature"]
    if classes > 2:
        assert (loss.k, *loss.weights) == tuple(found.value.iloc[1:])


SETTINGS = {"temperature": 2.5, "k": 17, "w_high": 1, "w_low_top": 2, "w_low_other": 6}
COLUMNS = ["setting", "value", "rule", "evidence", "would_change"]


def table(count: int) -> pd.DataFrame:
    rows = [(name, value, "r", "e", "w") for name, value in SETTINGS.items()]
    return pd.DataFrame(rows[:count], columns=COLUMNS)


def test_every_setting_is_a_tile_and_a_row_and_the_loss_is_ready_to_paste():
    assert [value for _, value, _ in suggestion_tiles(table(5))] == ["2.5", "17", "1", "2", "6"]
    shown = values_as_text(table(5))
    assert shown.value.tolist() == ["2.5", "17", "1", "2", "6"]
    assert shown.columns.tolist() == COLUMNS
    number = "--loss gdkd:k=17,weights=1/2/6,temperature=2.5"
    assert suggestion_reading(table(5)) == (CAVEAT, number)


def test_two_classes_get_plain_kd_and_the_reason():
    found = suggestion_reading(table(1))
    assert found.number == "--loss kd:temperature=2.5"
    assert "With two classes the low terms of GDKD are 0" in found.sentence


def test_without_a_finite_sample_there_is_a_sentence_alone():
    found = suggestion_reading(table(0))
    assert found == ("No sample is finite, so nothing can be suggested.", "")
    assert suggestion_tiles(table(0)) == []
