"""Who pays: groups and their shares as numpy finds them; sentence and figure show the table."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import t as student_t

from kdanalysis.analyzers.truncation.payers import (
    KINDS,
    Payers,
    payers_by_group,
    payers_reading,
    ranges,
)
from kdanalysis.core.truncation.algebra import CONVENTIONS
from tests.analyzers.readback import smallest_font
from tests.analyzers.truncation.rows import KS, N, fed, pair, plain

STUDENT, TEACHER = pair()
TARGET, POSITION = TEACHER.argmax(1).clone(), torch.arange(N) * 7
TARGET[::3] = 0
TARGET[1] = -100
CLASS = torch.tensor([0, 3, -1, 31, 3])[torch.arange(N) % 5]


def groups() -> dict[tuple[str, str], np.ndarray]:
    """Rows of every group, by words."""
    p = TEACHER.softmax(-1).numpy()
    entropy = -(p * np.log(p)).sum(1)
    edges = (0, 0.1, 0.5, 1, 2, 4, np.inf)
    names = ("0-0.1", "0.1-0.5", "0.5-1", "1-2", "2-4", "4+")
    found = {
        ("entropy", name): (entropy >= low) & (entropy < high)
        for name, low, high in zip(names, edges[:-1], edges[1:], strict=True)
    }
    place = POSITION.numpy()
    for name, low, high in (
        ("0", 0, 0),
        ("4-15", 4, 15),
        ("16-63", 16, 63),
        ("256-1023", 256, 1023),
    ):
        found["position", name] = (place >= low) & (place <= high)
    right = (TEACHER.argmax(1) == TARGET).numpy()
    there = TARGET.numpy() >= 0
    found |= {("teacher is", "right"): right, ("teacher is", "wrong"): ~right & there}
    classes = CLASS.numpy()
    return found | {("token class", str(number)): classes == number for number in (0, 3, 31)}


def frame() -> pd.DataFrame:
    labelled = TARGET >= 0
    analyzer = fed(
        Payers, STUDENT[labelled], TEACHER[labelled], KS, target=TARGET[labelled],
        position=POSITION[labelled], token_class=CLASS[labelled],
    )  # fmt: skip
    rest = {"position": POSITION[~labelled], "token_class": CLASS[~labelled]}
    analyzer.update(STUDENT[~labelled], TEACHER[~labelled], **rest)
    return analyzer.table()


def test_shares_of_groups_are_numpys():
    table = frame().set_index(["convention", "k", "kind", "group"])
    for k, name in product(KS, CONVENTIONS):
        gradients, _ = plain(STUDENT, TEACHER, k)
        lost = np.abs(gradients["full"] - gradients[name]).sum(1)
        full = np.abs(gradients["full"]).sum(1)
        for (kind, group), rows in groups().items():
            if not rows.any():
                assert (name, k, kind, group) not in table.index
                continue
            row = table.loc[(name, k, kind, group)]
            assert row.n == rows.sum()
            assert row.share == pytest.approx(lost[rows].sum() / full[rows].sum(), rel=1e-10)
            known = TARGET.numpy() >= 0 if kind == "teacher is" else np.ones(N, bool)
            known = CLASS.numpy() >= 0 if kind == "token class" else known
            assert row.paid == pytest.approx(lost[rows].sum() / lost[known].sum(), rel=1e-10)
            assert row.of_rows == pytest.approx(rows.sum() / known.sum())
            apart = lost[known] * (rows[known] - row.paid) / lost[known].mean()
            reach = student_t.ppf(0.975, known.sum() - 1)
            half = reach * apart.std(ddof=1) / known.sum() ** 0.5
            assert row.paid_half == pytest.approx(half, rel=2e-3, abs=1e-9)


def test_without_labels_and_positions_there_is_entropy_alone():
    table = fed(Payers, STUDENT, TEACHER, KS).table()
    assert set(table.kind) == {"entropy"}
    assert set(frame().kind) == set(KINDS)


def test_a_range_begins_at_its_start():
    found = ranges(torch.tensor([0, 1, 3, 4, 5000]), (0, 1, 4, 4096))
    assert found.int().argmax(1).tolist() == [0, 1, 1, 2, 3]


def example(high: float = 0.4, last: int = 300) -> pd.DataFrame:
    """Bucket's share rises with entropy from 10 percent; the others lose twice as much."""
    rows = [
        (1.0, name, k, kind, group, share, share - 0.02, share + 0.02, paid, 0.25, of_rows, n)
        for name, k in product(CONVENTIONS, (8, 32, 64))
        for kind, group, share, paid, of_rows, n in (
            ("entropy", "0-0.1", 0.1, 0.2, 0.5, 500),
            ("entropy", "2-4", high, 0.8, 0.5, last),
            ("position", "0", 0.3, 1.0, 1.0, 7),
        )
        for share in [share * (1 if name == "bucket" else 2)]
    ]
    names = ["temperature", "convention", "k", "kind", "group", "share", "low", "high", "paid"]
    return pd.DataFrame(rows, columns=[*names, "paid_half", "of_rows", "n"]).assign(non_finite=0)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (
            example(),
            "Rows of an unsure teacher lose more of their gradient: 10.0 % (8.0 % to 12.0 %)",
        ),
        (example(0.01), "Rows of a sure teacher lose more"),
        (example(0.11), "No side of entropy loses more of their gradient"),
        (example(last=7), "Only one group of entropy has 20 rows"),
        (
            example(),
            "that rows of 2\u20134 nats pay most, of groups of 20 rows or more, is seen: "
            '80.0 ± 25.0 % of all that "bucket" loses, '
            "with 50.0 % of the rows (next 0\u20130.1 nats, 20.0 ± 25.0 %).",
        ),
        (example().assign(paid_half=0.31), "of groups of 20 rows or more, is not seen: 80.0 ± 31"),
        (example(last=7), "rows of 0\u20130.1 nats pay 20.0 ± 25.0 % of all"),
        (example(last=0).assign(of_rows=1.0), "L1); all rows are of 0\u20130.1 nats."),
    ],
)
def test_the_sentence_follows_the_table(table, words):
    assert words in payers_reading(table).sentence
    assert payers_reading(table).number.startswith('T = 1, K = 32, "bucket", L1 lost: entropy')


def test_the_number_is_of_the_groups_that_have_a_mark():
    number = payers_reading(example()).number
    assert number.endswith(
        "lost: entropy 0\u20130.1: 10.0 %, 2\u20134: 40.0 %"
    )  # a position has 7 rows


def test_marks_are_the_shares_and_small_groups_have_none():
    table = example()
    figure = payers_by_group(table, 64)
    entropy, position = figure.axes
    marks = {c.get_label(): c.lines[0].get_ydata() for c in entropy.containers}
    rows = table[(table.k == 64) & (table.convention == "none") & (table.kind == "entropy")]
    assert marks["none"] == pytest.approx(100 * rows.share.to_numpy())
    assert np.isnan(position.containers[0].lines[0].get_ydata().astype(float)).all()
    assert [label.get_text() for label in entropy.get_xticklabels()] == [
        "0\u20130.1: 50 %",
        "2\u20134: 50 %",
    ]
    assert "no mark: below 20 rows" in figure.get_supxlabel()
    assert smallest_font(figure) >= 9
    small = payers_by_group(table[table.n >= 20].assign(of_rows=0.004), 64)
    assert small.axes[0].get_xticklabels()[0].get_text() == "0\u20130.1: 0.4 %"
    assert "no mark" not in small.get_supxlabel()
    with pytest.raises(ValueError, match=r"the table has no K = 5, it has \[8, 32, 64\]"):
        payers_by_group(table, 5)
    for nothing in (table.assign(n=19), table.assign(share=0.0)):
        with pytest.raises(ValueError, match="no group has 20 rows, of which something is lost"):
            payers_by_group(nothing)


def test_of_rounding_nobody_pays():
    rows = example().assign(share=1e-17, low=0.0, high=1e-16)
    assert payers_reading(rows).sentence.endswith("loses nothing, so nobody pays.")


def test_a_table_without_intervals_of_who_pays_is_read():
    sentence = payers_reading(example().drop(columns="paid_half")).sentence
    assert "pay most" not in sentence
    assert "% (interval unknown) of all that" in sentence
