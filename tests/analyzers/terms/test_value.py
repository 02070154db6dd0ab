"""Values by step: torch's own losses, sample by sample, and the student's entropy and scale."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import entropy
from scipy.stats import t as student_t
from torch.nn.functional import cross_entropy, kl_div

from kdanalysis.analyzers.setting import Setting
from kdanalysis.analyzers.terms.value import TermValue, value_over_training, value_reading
from kdanalysis.draw.colours import term_colour
from kdanalysis.losses import DKD, KD, NKD, CrossEntropy
from tests.analyzers.readback import lines, smallest_font
from tests.analyzers.reference import logits, probabilities, targets

STUDENT, TEACHER, TARGET = logits(0), logits(1), targets(2)
STEP = torch.arange(60) // 20 * 50
LOSSES = {"ce": CrossEntropy(), "kd": KD(2.0), "dkd": DKD(1, 6, 2.0)}


def table(student=STUDENT, split: int = 33) -> pd.DataFrame:
    metric = TermValue(LOSSES, (0, 50, 100))
    for rows in (slice(None, split), slice(split, None)):
        metric.update(student[rows], TEACHER[rows], TARGET[rows], STEP[rows])
    return metric.table()


def expected() -> dict[str, np.ndarray]:
    log_q, log_p = ((x / 2).log_softmax(-1) for x in (STUDENT, TEACHER))
    kd = 4 * kl_div(log_q, log_p, log_target=True, reduction="none").sum(-1)
    rest = [[i for i in range(12) if i != y] for y in TARGET.tolist()]
    inside = [
        [x[i][rest[i]].softmax(0).numpy() for i in range(60)] for x in (STUDENT / 2, TEACHER / 2)
    ]
    nckd = [24 * entropy(p, q) for q, p in zip(*inside, strict=True)]
    ce = cross_entropy(STUDENT, TARGET, reduction="none")
    return {"ce": ce.numpy(), "kd": kd.numpy(), "nckd": np.array(nckd)}


def test_values_agree_with_torch_and_scipy():
    rows, found = table(), expected()
    for row in rows[rows.term.isin(list(found))].itertuples():
        values = found[row.term][STEP.numpy() == row.step]
        assert row.value == pytest.approx(values.mean())
        assert row.std == pytest.approx(values.std(ddof=1))
        assert (row.n, row.weighted) == (20, row.loss == "dkd")


def test_the_students_numbers_are_those_of_its_logits():
    rows = table()
    for step in (0, 50, 100):
        own = STUDENT[step == STEP]
        row = rows[rows.step == step].iloc[0]
        assert row.student_entropy == pytest.approx(entropy(probabilities(own, 1.0), axis=1).mean())
        assert row.logit_mean == pytest.approx(own.numpy().mean())
        assert row.logit_scale == pytest.approx(own.numpy().std(axis=1).mean())


def test_whatever_was_trained_is_there():
    metric = TermValue.for_setting(Setting(12, (0, 10), 2.0, 3, trained={"trained": NKD()}))
    assert list(metric.losses) == ["ce", "kd", "kd parts", "dkd", "gdkd", "trained"]


def test_a_row_with_nan_is_counted_and_enters_nothing():
    spoiled = STUDENT.clone()
    spoiled[3, 0] = torch.nan
    rows = table(spoiled)
    assert set(rows.non_finite) == {1}
    assert rows[rows.step == 0].n.unique().tolist() == [19]
    assert rows.value.notna().all()


def example(last: float) -> pd.DataFrame:
    rows = [
        (loss, term, step, value, 0.5)
        for step, value in ((0, 2.0), (9, last))
        for loss, term in (("ce", "ce"), ("dkd", "tckd"), ("dkd", "nckd"))
    ]
    frame = pd.DataFrame(rows, columns=["loss", "term", "step", "value", "std"])
    more = {"student_entropy": 1.5, "logit_mean": 0.0, "logit_scale": 2.0, "n": 100}
    return frame.assign(**more, epoch=0, weighted=False, non_finite=0)


def test_the_sentence_says_whether_values_fall():
    half = student_t.ppf(0.975, 99) * np.sqrt(2 * 0.5**2 / 100)
    text = value_reading(example(1.0)).sentence
    assert text == (
        f"A fall of the value from step 0 to 9: ce: seen (2.00 to 1.00, \u22121.00 ± {half:.2f})."
    )
    assert "ce: not seen (2.00 to 1.95" in value_reading(example(1.95)).sentence
    assert "ce: the opposite is seen (2.00 to 3.00, +1" in value_reading(example(3.0)).sentence
    assert value_reading(example(1.0)).number.startswith("student entropy 1.50 to 1.50")
    single = value_reading(example(1.0).query("step == 0")).sentence
    assert single.startswith("Values in nats: ce: ce 2, dkd: tckd 2")


def test_the_sentence_is_of_the_steps_and_losses_that_have_samples():
    whole = value_reading(example(1.0))
    nothing = example(1.0).query("step == 9").assign(step=12, value=np.nan, std=np.nan, n=0)
    assert value_reading(pd.concat([example(1.0), nothing])) == whole
    kd = example(1.0).query("loss == 'ce'").assign(loss="kd", term="kd")
    served = example(1.0).assign(n=[0, 100, 100, 100, 100, 100])  # of ce, only the last step
    found = value_reading(pd.concat([kd, served])).sentence
    assert found == whole.sentence.replace("ce:", "kd:")
    assert "ce" not in value_reading(served.query("step == 0")).sentence


def test_lines_are_the_tables_a_panel_a_loss_and_the_student_last():
    figure = value_over_training(example(1.0))
    ce, dkd, student = figure.axes
    assert lines(ce)["ce"] == ([0, 9], [2.0, 1.0])
    assert list(lines(dkd)) == ["tckd", "nckd"]
    assert dkd.lines[1].get_color() == term_colour("nckd")
    assert lines(student)["entropy (nats)"][1] == [1.5, 1.5]
    assert "weighted" in ce.get_ylabel()
    assert smallest_font(figure) >= 9


def test_a_loss_without_samples_at_an_end_is_not_compared():
    rows = example(1.0)
    last = rows.assign(n=rows.n.where(rows.step == rows.step.max(), 0))
    early = rows.assign(n=rows.n.where(rows.step == rows.step.min(), 0), loss="kd", term="kd")
    assert "No loss has samples both" in value_reading(pd.concat([last, early])).sentence
