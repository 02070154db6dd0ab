"""Whatever was trained is in the tables of losses, or a sentence says why not."""

import pytest
from toy import Training, batches

from kdanalysis import (
    GDKD,
    JSD,
    KD,
    SDD,
    Confident,
    CrossEntropy,
    LogitStandardized,
    Loss,
    Recorder,
    SkewKL,
    Sum,
    every,
    open_run,
)
from kdanalysis.store.info import RunInfo
from kdanalysis.studies.setting import trained_fact
from kdanalysis.studies.source import Source

TABLES = ("value", "magnitude", "share", "direction")


LOSSES = {
    "standardised": LogitStandardized(KD()),
    "skewed": SkewKL(0.9),
    "JSD": JSD(),
    "own": None,
    "ce and weighted kd": Sum(CrossEntropy(), KD(weight=0.5)),
    "confident": Confident(GDKD(k=2)),
    "auto-k": GDKD(k="auto"),
}


@pytest.fixture
def own():
    """A loss of the user's own."""

    class Squares(Loss):
        needs_target = False

        def __init__(self) -> None:
            super().__init__()
            self.term_weights = {"square": 1.0}

        def values(self, student, teacher, target, ramp):
            return {"square": ramp * (student - teacher).square().sum(-1)}

        def slopes(self, student, teacher, target, ramp):
            return {"square": ramp * 2 * (student - teacher)}

    return Squares()


def train(path, loss):
    training = Training()
    sides = {"student": training.student, "teacher": training.teacher}
    with Recorder(path, loss, schedule=every(1), **sides) as recorder:
        for x, y, index in batches(2):
            training.forward(x)
            training.update(recorder.loss(y, index))
    return open_run(path)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_the_loss_trained_is_a_row_of_the_tables_of_losses(tmp_path, loss, own):
    loss = loss or own
    run = train(tmp_path / "run", loss)
    for name, table in run.tables(TABLES).items():
        names = {value for column in table.columns[:4] for value in table[column].unique()}
        assert any("trained" in str(value) for value in names), name
    terms = set(loss.terms) - {"ce"}
    conflict = run.table("conflict")
    assert terms <= {*conflict.term_a, *conflict.term_b}
    assert "the row 'trained'" in Source("run", None, run).trained_fact


def test_a_loss_that_is_compared_anyway_has_its_own_rows(tmp_path):
    run = train(tmp_path / "run", Sum(CrossEntropy(), KD()))
    assert Source("run", None, run).trained_fact is None
    assert {"kd", "ce"} <= {*run.table("magnitude").loss}


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ("Unheard()", "Unheard() is not known here, so KD, DKD and GDKD stand in the tables alone"),
        (repr(SDD(KD(), scales=(1, 2))), "it is on regions, whose logits tables of samples"),
    ],
)
def test_what_is_no_row_is_said_with_its_cause(loss, said):
    assert trained_fact(RunInfo(6, loss=loss), {}).startswith(said)


def test_a_run_without_a_loss_has_nothing_to_say():
    assert trained_fact(RunInfo(6), {}) is None
