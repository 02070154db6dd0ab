"""What cannot be drawn is found out while a page is drawn, and said in place of its words."""

import re
from functools import partial

import pandas as pd
import pytest

from kdanalysis.analyzers.noun import Picture, Reading
from kdanalysis.core import cores
from kdanalysis.draw.look import new_axes
from kdanalysis.pages.html import Section
from kdanalysis.pages.html.page import build
from kdanalysis.pages.nouns import find, noun_section, read_ahead

DRAWN = True  # by whichever process
TABLES = {"a": pd.DataFrame({"x": [1.0]}), "b": pd.DataFrame({"x": [2.0]})}
REFUSED = "b: Not to be drawn from these data: too many of 2."


def draw(table, most=1.0):
    if table.x.iloc[0] > most:
        raise ValueError(f"too many of {table.x.iloc[0]:g}")
    ax = new_axes()
    ax.plot(table.x, table.x)
    return ax


def read(table, names=None):
    return Reading(f"It is {table.x.iloc[0]:g}.", f"{table.x.iloc[0]:g} nats")


def section(**given) -> Section:
    pictures = [Picture("fine", partial(draw, most=9), name="f"), Picture("all", draw, name="g")]
    return noun_section("value", TABLES, pictures=pictures, reading=read, **given)


def told(one: Section) -> tuple[str, str, list[str]]:
    return one.text, one.number, [shown.caption for shown in one.figures]


def test_a_figure_that_is_refused_takes_all_of_its_run_with_it():
    planned = section()
    assert told(planned)[:2] == ("a: It is 1.\nb: It is 2.", "a: 1 nats\nb: 2 nats")
    assert told(planned.settled()) == (
        f"a: It is 1.\n{REFUSED}",
        "a: 1 nats",
        ["a: fine", "a: all"],
    )


def test_what_all_cannot_have_is_not_said_again_of_each(monkeypatch):
    def unread(table, names=None):
        raise ValueError("it has two classes")

    told = [("", pd.DataFrame(), unread), *((run, one, unread) for run, one in TABLES.items())]
    for runs, lines in ((told, 1), (told[1:], 2)):
        monkeypatch.setattr("kdanalysis.pages.nouns.read_alone", lambda *_, runs=runs: runs)
        assert noun_section("value", TABLES, pictures=()).text.count("it has two classes") == lines


def test_a_page_says_it_too():
    page = build([section()], "T", {})
    assert REFUSED in page
    assert "b: It is 2." not in page
    assert re.findall(r'role="?img"? aria-label="(.: \w+)', page) == ["a: fine", "a: all"]


def test_a_picture_of_all_runs_that_is_refused_leaves_those_of_each():
    one = section(together=[Picture("both", lambda frame: draw(frame[1:]), name="h")]).settled()
    assert one.text == f"a: It is 1.\n{REFUSED}\nNot to be drawn from these data: too many of 2."
    assert [shown.caption for shown in one.figures] == ["a: fine", "a: all"]


def test_where_nothing_can_be_read_the_figure_says_why():
    def unread(table, names=None):
        raise ValueError("nothing to read")

    pictures = [Picture("all", draw, name="g")]
    one = noun_section("value", TABLES, pictures=pictures, reading=unread)
    assert one.text == f"a: Not to be drawn from these data: nothing to read.\n{REFUSED}"
    assert (one.number, one.figures) == ("", [])


def test_another_error_than_of_the_data_is_raised():
    def fail(table):
        raise KeyError("x")

    one = noun_section("value", TABLES, pictures=[Picture("all", fail, name="g")], reading=read)
    with pytest.raises(KeyError, match="x"):
        build([one], "T", {})


def test_what_was_read_ahead_is_not_read_again(monkeypatch):
    asked = []

    def note(table, names=None):
        asked.append(table.x.iloc[0])
        if table.x.iloc[0] == 2:
            raise ValueError("not two")
        return read(table)

    monkeypatch.setattr(find("value"), "reading", staticmethod(note))
    monkeypatch.setattr(cores, "_forks", lambda: 0)
    whole, others = noun_section("value", TABLES, pictures=()), []
    with read_ahead({"value": TABLES}, None, [partial(others.append, 1)]):
        assert (asked, others) == ([1, 2, 1, 2], [1])
        again = noun_section("value", TABLES, pictures=())
        assert asked == [1, 2, 1, 2]
        assert noun_section("value", {"": TABLES["a"].copy()}, pictures=()).text == "It is 1."
    assert again.text == whole.text == "a: It is 1.\nb: Not to be drawn from these data: not two."
    assert len(asked) == 5
    noun_section("value", TABLES, pictures=())
    assert len(asked) == 7


def test_another_error_is_raised_where_tables_are_read_ahead(monkeypatch):
    def fail(table, names=None):
        return read(table) if table.x.iloc[0] == 1 else {}["x"]

    monkeypatch.setattr(find("value"), "reading", staticmethod(fail))
    monkeypatch.setattr(cores, "_forks", lambda: 0)
    with pytest.raises(KeyError, match="x"), read_ahead({"value": TABLES}, None, [int] * 4):
        raise AssertionError("nothing is written of tables that failed")
