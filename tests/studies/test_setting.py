"""The tables of a run: the losses they compare, for every loss a run can be trained with."""

import numpy as np
import pytest
from problems import LOSSES

from kdanalysis import DKD, GDKD, KD, NKD, SDD, CrossEntropy, LogitStandardized, Sum
from kdanalysis.analyzers import load_nouns
from kdanalysis.analyzers.base import Analyzer
from kdanalysis.analyzers.noun import find_noun
from kdanalysis.analyzers.setting import Setting
from kdanalysis.store.info import RunInfo
from kdanalysis.store.writer import PartWriter
from kdanalysis.studies.run import ORDER, open_run, table_names
from kdanalysis.studies.setting import common_settings, setting_of

COMPARED = ("kd parts", "kd parts by target", "dkd 1/1", "gdkd 1/1/1", "dkd", "gdkd")
TABLES = [name for name in ORDER if load_nouns()[name].kind == "samples"]

FURTHER = [
    Sum(GDKD(k=3), CrossEntropy()),
    Sum(Sum(KD(2.0), GDKD(k=1, temperature=4.0)), CrossEntropy()),
    LogitStandardized(LogitStandardized(KD())),
]


def info(loss) -> RunInfo:
    return RunInfo(7, loss=repr(loss), terms=loss.terms)


def analyzer(name: str, run: RunInfo, steps=(0,), compared=None) -> Analyzer:
    return load_nouns()[name].for_setting(setting_of(run, compared, steps=tuple(steps)))


def trained_with(run: RunInfo) -> tuple[float, int]:
    found = setting_of(run)
    return found.temperature, found.k


@pytest.mark.parametrize("loss", [*LOSSES, *FURTHER], ids=repr)
def test_every_loss_has_every_table(loss):
    setting = setting_of(info(loss), steps=(0,))
    assert [load_nouns()[name].for_setting(setting).noun for name in TABLES] == TABLES


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (GDKD(k=3, temperature=2.0), (2.0, 3)),
        (Sum(CrossEntropy(), GDKD(k=3, temperature=2.0)), (2.0, 3)),
        (Sum(GDKD(k=3, temperature=2.0), CrossEntropy()), (2.0, 3)),
        (CrossEntropy(), (4.0, 5)),
        (KD(1.0), (1.0, 5)),
        (GDKD(k="auto", temperature=3.0), (3.0, 5)),
        (LogitStandardized(KD(2.0)), (4.0, 5)),
        (GDKD(k=50), (4.0, 6)),
        (Sum(CrossEntropy(), SDD(GDKD(k=3, temperature=2.0))), (2.0, 3)),
        (SDD(LogitStandardized(KD(2.0))), (4.0, 5)),
    ],
    ids=repr,
)
def test_temperature_and_k_are_those_of_training(loss, expected):
    assert trained_with(info(loss)) == expected


def test_a_foreign_loss_is_compared_at_the_papers_settings():
    assert trained_with(RunInfo(100, loss="MyLoss(lambda x: x)")) == (4.0, 5)


def test_runs_compared_share_the_first_settings_that_one_states():
    runs = [info(KD(2.0)), info(GDKD(k=3, temperature=8.0))]
    assert common_settings(runs) == (2.0, 3)
    assert common_settings(runs[::-1]) == (8.0, 3)
    assert common_settings(runs, temperature=1) == (1.0, 3)
    assert common_settings([info(CrossEntropy())]) == (4.0, 5)
    found = analyzer("share", runs[0], [0], (1.0, 4))
    assert (found.losses["gdkd"].k, found.losses["gdkd"].temperature) == (4, 1.0)


def test_directions_are_held_against_plain_kd_and_name_the_trained_loss():
    loss = Sum(CrossEntropy(), GDKD(k=2, weights=(8, 1, 1)))
    found = analyzer("direction", info(loss), [0])
    assert list(found.losses) == ["kd", "dkd", "gdkd", "trained", "ce"]
    assert found.losses["gdkd"].weights == (1.0, 1.0, 8.0)


def test_the_losses_compared_are_at_that_temperature_and_k():
    found = Setting(7, temperature=2.0, k=3)
    bare, inside, decoupled = found.bare, found.inside, found.decoupled
    assert [repr(bare[name]) for name in ("kd", "gdkd")] == [
        "KD(temperature=2.0, weight=1.0)",
        repr(GDKD(3, (1, 1, 1), 2.0)),
    ]
    assert bare["dkd"].weights == (1.0, 0.0, 1.0)
    assert decoupled["dkd"].weights == (1.0, 0.0, 8.0)
    assert (decoupled["gdkd"].k, decoupled["gdkd"].temperature) == (3, 2.0)
    assert {parts.temperature for parts in inside.values()} == {2.0}


def test_shares_name_the_loss_that_was_trained(tmp_path):
    rng = np.random.default_rng(0)
    loss = Sum(CrossEntropy(), GDKD(k=2, weights=(8, 1, 1)))
    with PartWriter(tmp_path / "run", 0, info(loss)) as writer:
        sides = rng.normal(size=(2, 20, 7)).astype(np.float32)
        columns = {"step": np.zeros(20, int), "epoch": np.zeros(20, np.int32)}
        columns |= {"sample_id": np.arange(20), "target": rng.integers(0, 7, 20)}
        writer.write(columns | {"teacher_logits": sides[0], "student_logits": sides[1]})
    table = open_run(tmp_path / "run").table("share").set_index(["loss", "term"]).share
    assert {*COMPARED, "trained"} == set(table.index.levels[0])
    assert table["trained", "high"] > 4 * table["gdkd", "high"]  # weight 8 against 1
    assert table["trained"].sum() == pytest.approx(1)
    assert "ce" not in table["trained"].index


@pytest.mark.parametrize(
    "loss",
    [
        KD(),
        Sum(CrossEntropy(), GDKD()),
        Sum(CrossEntropy(), KD(2.0)),
        CrossEntropy(),
        Sum(CrossEntropy(), SDD(GDKD(k=3))),
    ],
)
def test_a_loss_that_stands_there_already_or_needs_regions_is_not_added(loss):
    shares = analyzer("share", info(loss), [0])
    assert set(shares.losses) == set(COMPARED)


@pytest.mark.parametrize(
    "loss",
    [KD(weight=6.0), LogitStandardized(KD()), Sum(CrossEntropy(), NKD()), GDKD(weights=(1, 1, 1))],
)
def test_whatever_was_trained_is_a_row_of_every_table_of_losses(loss):
    for noun in ("share", "direction", "magnitude", "conflict"):
        assert "trained" in analyzer(noun, info(loss), [0]).losses


@pytest.mark.parametrize(
    ("loss", "used"),
    [
        (CrossEntropy(), ("ce",)),
        (Sum(CrossEntropy(), KD(2.0)), ("ce", "kd")),
        (GDKD(), ("gdkd",)),
        (Sum(CrossEntropy(), DKD(beta=2.0)), ("ce", "trained")),
    ],
)
def test_the_losses_trained_are_known_by_name(loss, used):
    assert setting_of(info(loss), steps=(0,)).used == used


@pytest.mark.parametrize(
    ("steps", "first"), [([], 0), ([7], 7), ([0, 5, 10, 15], 15), (list(range(10)), 7)]
)
def test_discrepancy_looks_at_the_last_quarter_of_the_steps(steps, first):
    assert analyzer("discrepancy", info(KD()), steps).first_step == first


def test_relation_leaves_out_the_k_of_training():
    assert list(analyzer("relation", info(GDKD(k=3)), [0]).notions) == ["target", "top-1", "top-3"]


def test_an_unknown_table_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="no table 'magnitudes'; did you mean 'magnitude'"):
        find_noun("magnitudes", table_names())
