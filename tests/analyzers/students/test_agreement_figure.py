"""Agreement: the lines are the table's shares, the words those of the last epoch."""

import numpy as np
import pandas as pd
import pytest

from kdanalysis.analyzers.students.agreement_figure import (
    agreement_number,
    agreement_over_training,
    agreement_sentence,
    at_the_end,
)
from tests.analyzers.readback import legend_is_beside, lines, smallest_font

TABLE = pd.DataFrame(
    {
        "step": [0, 10, 20, 30],
        "epoch": [0, 0, 1, 1],
        "agreement": [0.1, 0.2, 0.4, 0.8],
        "student_accuracy": [0.0, 0.1, 0.2, 0.4],
        "teacher_accuracy": [0.5, 0.5, 0.5, 0.5],
        "n": [10, 10, 30, 10],
        "non_finite": 0,
    }
)


def test_lines_are_the_shares_in_percent():
    ax = agreement_over_training(TABLE)
    drawn = lines(ax)
    assert drawn["agrees with its teacher"] == ([0, 10, 20, 30], [10, 20, 40, 80])
    assert drawn["student right"][1] == pytest.approx([0, 10, 20, 40])
    assert drawn["teacher right"][1] == [50] * 4
    assert smallest_font(ax.figure) >= 9
    assert legend_is_beside(ax)


def test_without_labels_there_is_one_line():
    frame = TABLE.assign(student_accuracy=np.nan, teacher_accuracy=np.nan)
    assert list(lines(agreement_over_training(frame))) == ["agrees with its teacher"]
    assert "without labels nothing is known" in agreement_sentence(frame)
    assert agreement_number(frame) == "agreement 50.0%"


def test_the_end_is_the_last_epoch_weighted_by_samples():
    last = at_the_end(TABLE)
    assert last.agreement == pytest.approx((0.4 * 30 + 0.8 * 10) / 40)
    assert last.n == 40
    assert last.when == "Over the captured samples of epoch 1"
    unknown = TABLE.assign(epoch=pd.array([pd.NA] * 4, dtype="Int64"))
    assert at_the_end(unknown).agreement == 0.8
    assert at_the_end(unknown).when == "At the last captured step"
    assert at_the_end(TABLE.iloc[:1]).when == "Over all samples"


def test_words_follow_the_numbers():
    assert agreement_sentence(TABLE) == (
        "Over the captured samples of epoch 1 the student says what its teacher says on 50% of "
        "samples, and is right on 25%, behind the teacher's 50%."
    )
    better = agreement_sentence(TABLE.assign(teacher_accuracy=0.2))
    assert "is right on 25%, not behind the teacher's 20%" in better
    assert agreement_number(TABLE) == "agreement 50.0%, student right 25.0%, teacher right 50.0%"
