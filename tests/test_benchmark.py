"""The benchmark's table: every figure beside its goal, and what holds is said as it is."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import benchmark  # noqa: E402
from measures.rows import GOALS, Goal, Row, as_text, rows_of  # noqa: E402

FIGURES = {
    "commands": {
        "table": {"ours_s": 1.2, "plain_s": 1.0, "ours_over_plain": 1.2},
        "compare losses": {"ours_s": 1.3, "plain_s": 1.0, "ours_over_plain": 1.3},
    },
    "quickstart": {"size": {"ours_mb": 2.6}},
    "sweep": {"sweep": {"ours_ms": 10.0, "plain_ms": 2000.0, "plain_over_ours": 200.0}},
    "stones": {"light": {"ours_ms": 3.0, "plain_ms": 2.0, "ours_over_plain": 1.5, "allowed": 1.6}},
    "imagenet": {
        "few": {"rows": 2560, "seconds": 3.0},
        "all": {"rows": 1_280_000, "seconds": 31.0},
    },
}


def test_a_row_holds_the_figure_of_its_goal():
    assert rows_of(FIGURES) == [
        Row("commands: table", 1.2, 1.0, "s", 1.2, "at most 1.15", False),
        Row("commands: compare losses", 1.3, 1.0, "s", 1.3, "at most 1.35", True),
        Row("quickstart: size", 2.6, None, "mb", None, "at most 2.5", False),
        Row("sweep: sweep", 10.0, 2000.0, "ms", 200.0, "at least 150", True),
        Row("stones: light", 3.0, 2.0, "ms", 1.5, None, None),
        Row("imagenet: few", 3.0, None, "s", None, None, None),
        Row("imagenet: all", 31.0, None, "s", None, "at most 30", False),
    ]


@pytest.mark.parametrize(
    ("word", "value", "held"),
    [("at most", 2.0, True), ("at most", 2.01, False), ("at least", 1.99, False)],
)
def test_a_goal_holds_at_its_bound_and_not_beyond(word, value, held):
    assert Goal("", "", "", word, 2.0).holds(value) is held


def test_the_table_shows_what_is_not_reached():
    head, _, *lines = as_text(rows_of(FIGURES)).split("\n")
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in (head, *lines[:2])]
    assert cells == [
        ["what", "ours", "plain", "ratio", "goal", "reached"],
        ["commands: table", "1.2 s", "1 s", "1.2", "at most 1.15", "no"],
        ["commands: compare losses", "1.3 s", "1 s", "1.3", "at most 1.35", "yes"],
    ]


def test_every_goal_is_of_a_measure_that_there_is():
    assert {goal.measure for goal in GOALS} <= benchmark.MEASURES.keys()


def test_the_page_says_where_each_measure_was_made_and_keeps_the_others():
    old = benchmark.page({"cores": 3}, FIGURES)
    page = benchmark.page({"cores": 4}, {"sweep": FIGURES["sweep"]}, old)
    assert page.count("\n## ") == len(FIGURES)
    parts = dict(part.split("\n", 1) for part in page.split("\n## ")[1:])
    assert parts["sweep"].startswith("\ncores 4\n")
    assert parts["quickstart"].startswith("\ncores 3\n")
    assert "| quickstart: size" in parts["quickstart"]
    assert benchmark.page({}, {}, page) == page
