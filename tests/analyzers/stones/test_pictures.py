"""The ladder: lines and cells are the table's, and the words follow the numbers."""

import numpy as np
import pandas as pd
import pytest

from kdanalysis.analyzers.stones.alignment import alignment_by_block, alignment_reading
from kdanalysis.analyzers.stones.gradient import (
    gradient_by_block,
    gradient_over_training,
    gradient_reading,
)
from kdanalysis.analyzers.stones.ladder import ladder_reading
from kdanalysis.analyzers.stones.ladder_pictures import ladder_by_stone, ladder_over_training
from tests.analyzers.readback import (
    legend_is_above,
    legend_texts,
    lines,
    smallest_font,
)

SIDES = ["teacher", "stone_1", "stone_2", "student"]
TABLE = pd.DataFrame(
    {
        "side": SIDES,
        "accuracy": [0.8, 0.7, 0.6, 0.5],
        "agreement_teacher": [1.0, 0.9, 0.7, 0.4],
        "agreement_student": [0.4, 0.5, 0.6, 1.0],
        "divergence_teacher": [0.0, 0.1, 0.2, 0.3],
        "divergence_student": [0.3, 0.25, 0.2, 0.0],
        "overlap": [1.0, 0.8, 0.6, 0.4],
        "relation": [1.0, 0.95, 0.9, 0.85],
        "related": 10,
        "step_se": [0.01, 0.02, 0.03, np.nan],
        "nearer_se": [0.01, 0.02, 0.03, np.nan],
        "labelled": 10,
        "k": 5,
        "temperature": 2.0,
        "n": 10,
        "non_finite": 0,
    }
)
GRADIENT = pd.DataFrame(
    [
        ("layer1", "student", 3.0, 0.9, 0.3, 0.03, 7),
        ("layer1", "stone_1", 4.0, 0.8, 0.5, 0.02, 7),
        ("layer1", "stone_2", 1.0, 0.4, 0.2, 0.02, 7),
        ("layer2", "student", 2.0, 0.9, 1.1, 0.04, 7),
        ("layer2", "stone_1", 0.0, np.nan, 0.0, 0.0, 7),
        ("layer2", "stone_2", 0.5, -0.2, -0.1, 0.04, 7),
    ],
    columns=["block", "side", "norm", "cosine", "share", "share_half", "n"],
)
ALIGNMENT = pd.DataFrame(
    {
        "student_block": ["a", "a", "b", "b"],
        "teacher_block": ["c", "d", "c", "d"],
        "cka": [0.9, 0.2, 0.6, 0.4],
        "cka_half": 0.05,
        "lead": [0.7, -0.7, 0.2, -0.2],
        "lead_half": 0.1,
        "n": 12,
    }
)


def test_lines_are_the_tables_columns():
    drawn = ladder_by_stone(TABLE)
    accuracy, shares, relation, distances = drawn.axes
    assert list(accuracy.lines[0].get_xdata()) == SIDES
    assert list(accuracy.lines[0].get_ydata()) == [80, 70, 60, 50]
    assert lines(shares)["says what the teacher says"][1] == [100, 90, 70, 40]
    assert lines(shares)["top 5 shared with the teacher"][1] == [100, 80, 60, 40]
    assert list(relation.lines[0].get_ydata()) == [1.0, 0.95, 0.9, 0.85]
    assert {ax.get_ylim()[0] for ax in (accuracy, shares, distances)} == {0}
    assert lines(distances)["from the teacher"][1] == [0, 0.1, 0.2, 0.3]
    assert lines(distances)["from the student"][1] == [0.3, 0.25, 0.2, 0]
    assert "T = 2" in distances.get_ylabel()
    assert [t.get_text() for t in distances.get_xticklabels()] == [
        "teacher",
        "stone 1",
        "stone 2",
        "student",
    ]
    assert smallest_font(drawn) >= 9
    assert legend_is_above(shares)


def test_a_relation_below_zero_takes_no_share_below_zero():
    accuracy, shares, relation, _ = ladder_by_stone(TABLE.assign(relation=[1, 0.2, 0, -0.3])).axes
    assert relation.get_ylim()[0] < -0.3
    assert (accuracy.get_ylim()[0], shares.get_ylim()[0]) == (0, 0)


def test_without_labels_no_accuracy_is_drawn():
    frame = TABLE.assign(accuracy=np.nan, non_finite=3)
    drawn = ladder_by_stone(frame)
    assert not drawn.axes[0].lines
    assert [text.get_text() for text in drawn.axes[0].texts] == ["no labels"]
    assert "3 samples with NaN or inf left out" in drawn.get_supxlabel()
    assert ladder_reading(frame).sentence.endswith("to the student (nats at T = 2).")
    assert ladder_reading(frame).number.startswith("teacher 0 nats from the teacher; stone 1 0.1")


def test_training_is_drawn_by_side():
    early = TABLE.assign(epoch=1, accuracy=TABLE.accuracy / 2)
    drawn = ladder_over_training(pd.concat([early, TABLE.assign(epoch=2)]))
    accuracy, divergence = drawn.axes
    assert lines(accuracy)["stone 1"] == ([1, 2], [35, 70])
    assert list(lines(accuracy)) == ["teacher", "stone 1", "stone 2", "student"]
    assert lines(divergence)["student"] == ([1, 2], [0.3, 0.3])
    assert "teacher" not in lines(divergence)
    assert [t.get_text() for t in drawn.legends[0].get_texts()] == list(lines(accuracy))
    looks = [{one.get_label(): one.get_marker() for one in ax.lines} for ax in drawn.axes]
    assert looks[0]["stone 2"] == looks[1]["stone 2"]
    drawn.canvas.draw()
    assert all(float(t.get_text()).is_integer() for t in accuracy.get_xticklabels())


def test_words_follow_the_numbers():
    assert ladder_reading(TABLE).sentence == (
        "That every stone is nearer to the teacher than the next side is seen: the divergence "
        "changes by +0.100 ± 0.045 from stone 1 to stone 2, +0.100 ± 0.068 from stone 2 to the "
        "student (nats at T = 2); that stone 1, the most accurate stone, is right more often than "
        "the student is not seen: 70.0 % against 50.0 %, +20.0 ± 48.3 points, 95 % for "
        "all 2 stones together."
    )
    assert ladder_reading(TABLE).number.endswith("student 50.0 % right, 0.3 nats from the teacher")
    many = ladder_reading(TABLE.assign(n=1000, labelled=1000)).sentence
    assert "right more often than the student is seen: 70.0 % against 50.0 %, +20.0 ± 4.8" in many
    both = pd.concat([TABLE.assign(epoch=1, accuracy=0.1), TABLE.assign(epoch=2)])
    assert ladder_reading(both).sentence == ladder_reading(TABLE).sentence


@pytest.mark.parametrize(
    ("away", "claim"),
    [
        ([0, 0.5, 0.2, 0.3], "is seen not to hold: the divergence changes by \u22120.300 ± 0.045"),
        ([0, 0.199, 0.2, 0.3], "is not seen: the divergence changes by +0.001 ± 0.045"),
        ([0, 0.5, 0.2, 0.3], "; nearer than the student are 1 of 2 (stone 2);"),
        ([0, 0.25, 0.28, 0.3], "; nearer than the student are 1 of 2 (stone 1);"),  # by two errors
        ([0, 0.5, 0.4, 0.3], "; nearer than the student are 0 of 2;"),
    ],
)
def test_stones_that_are_no_steps_are_said_to_be(away, claim):
    assert claim in ladder_reading(TABLE.assign(divergence_teacher=away)).sentence


def test_one_stone_is_held_against_the_student():
    one = TABLE[TABLE.side != "stone_2"]
    assert ladder_reading(one).sentence.startswith(
        "That the one stone, stone 1, is nearer to the teacher than the student is seen: by "
        "0.200 ± 0.045 nats at T = 2; "
    )
    same = one.assign(divergence_teacher=[0, 0.3, 0.3])
    assert "nearer to the teacher than the student is not seen" in ladder_reading(same).sentence


def test_a_ladder_of_an_earlier_training_tests_nothing():
    told = ladder_reading(TABLE.drop(columns=["step_se", "nearer_se", "labelled"])).sentence
    assert "cannot be tested here: the divergence changes by +0.1 (interval unknown) from" in told
    assert "not seen: 70.0 % against 50.0 %, +20.0 ± 48.3 points, 95 % for" in told


def cells(ax) -> dict[tuple[float, float], str]:
    return {text.get_position(): text.get_text() for text in ax.texts}


def test_cells_are_norm_and_share_and_blocks_without_a_path_are_empty():
    ax = gradient_by_block(GRADIENT)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["stone 1", "stone 2", "student"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["layer1", "layer2"]
    shown = ax.images[0].get_array()
    np.testing.assert_allclose(shown.filled(-1), [[4, -1], [1, 0.5], [3, 2]])
    assert cells(ax)[0, 0] == "4\n50 %"
    assert cells(ax)[1, 0] == "no path"
    assert cells(ax)[1, 1] == "0.5\n\u221210 %"
    assert "(7 samples)" in ax.get_xlabel()
    assert smallest_font(ax.figure) >= 9


def test_words_of_the_gradients():
    assert (
        gradient_reading(GRADIENT).number == "share of the stones: layer1 70 %; layer2 \u221210 %"
    )
    assert gradient_reading(GRADIENT.assign(n=1000)).sentence == (
        "The stones make 70.0 ± 3.0 % of the step of the shallowest block layer1 and "
        "\u221210.0 ± 4.0 % of that of the deepest, layer2: that they make more in the shallow one "
        "is seen, +80.0 ± 5.0 points; that stone 2 pulls against the whole in layer2 is seen "
        "(cosine \u22120.20, \u221210.0 ± 5.9 % of the step, 95 % for all 6 shares "
        "together)."
    )
    few = gradient_reading(GRADIENT.assign(n=200)).sentence  # two steps of 100 samples
    assert "that stone 2 pulls against the whole in layer2 is not seen" in few
    even = gradient_reading(GRADIENT.assign(cosine=0.5, share=0.3)).sentence
    assert "shallow one is not seen, +0.0 ± 5.0 points; no side pulls" in even
    wide = gradient_reading(GRADIENT.assign(share_half=0.2)).sentence
    assert "that stone 2 pulls against the whole in layer2 is not seen" in wide
    before = gradient_reading(GRADIENT.drop(columns="share_half")).sentence
    assert "70.0 % (interval unknown)" in before
    assert "more in the shallow one cannot be tested here" in before


def test_shares_over_training_are_drawn_by_block():
    early = GRADIENT.assign(epoch=1, share=0.5, cosine=0.1)
    both = pd.concat([early, GRADIENT.assign(epoch=2)])
    first, second = gradient_over_training(both).axes
    assert lines(first)["stone 1"] == ([1, 2], [50, 50])
    assert lines(first)["student"] == ([1, 2], [50, 30])
    looks = [
        {line.get_label(): (line.get_color(), line.get_marker()) for line in ax.lines}
        for ax in (first, second)
    ]
    for side in ("stone 2", "student"):  # though stone 1 is missing in the second panel
        assert looks[0][side] == looks[1][side]
    told = [text.get_text() for text in first.figure.legends[0].get_texts()]
    assert told == ["stone 1", "stone 2", "student"]
    assert list(lines(second)) == ["stone 2", "student"]  # stone 1 has no path to layer2
    assert [ax.get_title(loc="left") for ax in (first, second)] == ["layer1", "layer2"]
    assert gradient_reading(both).sentence == gradient_reading(GRADIENT).sentence
    assert gradient_reading(both).number == gradient_reading(GRADIENT).number


def test_alignment_is_drawn_and_told():
    ax = alignment_by_block(ALIGNMENT)
    np.testing.assert_allclose(ax.images[0].get_array(), [[0.9, 0.2], [0.6, 0.4]])
    assert cells(ax)[1, 0] == "0.20"
    assert alignment_reading(ALIGNMENT).number == "a and c 0.90 ± 0.05; b and c 0.60 ± 0.05"
    claim = "That a block of the student is most alike the teacher's block of its own place "
    told = alignment_reading(ALIGNMENT).sentence
    seen = "is seen for 1 of 2, the opposite for 1"
    assert told == f"{claim}{seen}: CKA leads by a +0.70 ± 0.10, b \u22120.20 ± 0.10."
    near = ALIGNMENT.assign(lead=[0.05, -0.05, -0.3, 0.3])
    assert alignment_reading(near).sentence.startswith(f"{claim}is seen for 1 of 2")
    before = alignment_reading(ALIGNMENT.drop(columns=["lead_half", "cka_half"])).sentence
    assert before.startswith(f"{claim}cannot be tested here: CKA leads by a +0.70 (interval unk")


def test_tables_that_cannot_be_drawn_are_refused():
    with pytest.raises(ValueError, match=r"the table lacks \['overlap'\]"):
        ladder_by_stone(TABLE.drop(columns="overlap"))
    with pytest.raises(ValueError, match="the table has no rows"):
        gradient_by_block(GRADIENT.iloc[:0])
    with pytest.raises(ValueError, match="the table has no value of 'cka'"):
        alignment_by_block(ALIGNMENT.assign(cka=np.nan))


def test_names_are_shown_as_they_are():
    ax = gradient_by_block(GRADIENT.replace({"layer2": "$x_1$"}))
    assert [t.get_text() for t in ax.get_xticklabels()] == ["layer1", "$x_1$"]
    ax.figure.canvas.draw()
    assert legend_texts(ladder_by_stone(TABLE).axes[3])[0] == "from the teacher"
