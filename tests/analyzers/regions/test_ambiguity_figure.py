"""The ambiguity figure shows the table, and the sentence follows it."""

import numpy as np
import pandas as pd
import pytest

from kdanalysis.analyzers.regions.ambiguity_figure import (
    MOST,
    ambiguity_by_class,
    ambiguity_number,
    ambiguity_sentence,
)
from tests.analyzers.readback import smallest_font


def table(wrong=0.6, classes=20) -> pd.DataFrame:
    rows = []
    for m in (2, 4):
        for teacher, share, n in (("right", 0.4, 30), ("wrong", wrong, 10), ("all", 0.45, 40)):
            rows.append({"part": "teacher", "teacher": teacher, "class": pd.NA, "scale": m, "n": n})
            rows[-1] |= {"entropy": share * m, "differing": share, "divergence": 0.2, "clear": 0.1}
        for c in range(classes):
            rows.append({"part": "class", "teacher": "all", "class": c, "scale": m, "n": 12})
            value = 0.05 * m * ((7 * c) % classes)
            rows[-1] |= {"entropy": value, "differing": 0.4, "divergence": 0.2, "clear": 0.1}
    return pd.DataFrame(rows).astype({"class": "Int64"}).assign(non_finite=0)


def test_bars_and_points_are_the_tables():
    frame = table()
    figure = ambiguity_by_class(frame, [f"class{i}" for i in range(20)])
    left, right = figure.axes
    heights = [[bar.get_height() for bar in bars] for bars in left.containers]
    assert heights == [[pytest.approx(40)] * 2, [pytest.approx(60)] * 2]
    assert left.texts[0].get_text() == "10%\nclear"
    ranked = frame[(frame.part == "class") & (frame.scale == 4)].sort_values("entropy")
    expected = pd.concat([ranked[:MOST], ranked[-MOST:]])
    assert right.lines[0].get_xdata().tolist() == expected.entropy.tolist()
    labels = [text.get_text() for text in right.get_yticklabels()]
    assert labels == [f"class{c}" for c in expected["class"]]
    assert right.get_xlim() == pytest.approx((0, np.log(16)))
    assert smallest_font(figure) >= 9


def test_few_classes_are_all_drawn_and_those_without_images_left_out():
    frame = table(classes=6)
    frame.loc[frame["class"] == 3, ["n", "entropy"]] = [0, np.nan]
    _, right = ambiguity_by_class(frame).axes
    assert sorted(t.get_text() for t in right.get_yticklabels()) == ["0", "1", "2", "4", "5"]


def test_the_sentence_follows_the_table():
    told = ambiguity_sentence(table(), [f"class{i}" for i in range(20)])
    assert told.startswith("At scale 4, 45% of the cells name another class than the whole image")
    assert "1.80 nats of at most 2.77" in told
    assert "are more ambiguous: 60% of their cells differ, 40% where it is right." in told
    assert told.endswith("The clearest class is class0, the most ambiguous class17.")
    assert "are not more ambiguous: 30%" in ambiguity_sentence(table(0.3))


def test_classes_of_few_images_are_not_named_and_not_drawn_beside_larger_ones():
    frame = table()
    small = (frame["class"] != 5) & (frame["class"] != 6)
    frame.loc[small.fillna(False), "n"] = 9
    assert ambiguity_sentence(frame).endswith("the most ambiguous 5.")
    _, right = ambiguity_by_class(frame).axes
    assert [t.get_text() for t in right.get_yticklabels()] == ["6", "5"]
    frame.loc[frame.part == "class", "n"] = 2
    assert ambiguity_sentence(frame).endswith("where it is right.")
    _, right = ambiguity_by_class(frame).axes
    assert len(right.get_yticklabels()) == 2 * MOST
    assert right.get_xlabel().endswith("classes of 2 to 2 images)")


def test_few_images_that_the_teacher_gets_wrong_are_not_compared():
    frame = table()
    assert "more ambiguous: 60%" in ambiguity_sentence(frame)
    frame.loc[frame.teacher == "wrong", "n"] = 9
    assert "more ambiguous:" not in ambiguity_sentence(frame)


def test_the_number_names_every_scale():
    assert ambiguity_number(table()).startswith(
        "scale 2: 45.0% of the cells differ, 10.0% of the images are clear, entropy 0.900 nats, "
        "divergence 0.200 nats; scale 4: 45.0%"
    )
