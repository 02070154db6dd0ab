"""The section of suggestions shows the table's numbers, its caveat and the loss to paste."""

import pandas as pd

from kdanalysis.pages.suggestion import CAVEAT, suggestion_section

SETTINGS = {"temperature": 2.5, "k": 17, "w_high": 1, "w_low_top": 2, "w_low_other": 6}
COLUMNS = ["setting", "value", "rule", "evidence", "would_change"]


def table(count: int) -> pd.DataFrame:
    rows = [(name, value, "r", "e", "w") for name, value in SETTINGS.items()]
    return pd.DataFrame(rows[:count], columns=COLUMNS)


def test_every_setting_is_a_tile_and_a_row():
    section = suggestion_section(table(5))
    assert [tile.value for tile in section.tiles] == ["2.5", "17", "1", "2", "6"]
    assert section.tables[0][1].value.tolist() == ["2.5", "17", "1", "2", "6"]
    assert section.tables[0][1].columns.tolist() == COLUMNS
    assert section.text == CAVEAT
    assert section.number == "--loss gdkd:k=17,weights=1/2/6,temperature=2.5"


def test_two_classes_get_plain_kd_and_the_reason():
    section = suggestion_section(table(1))
    assert section.number == "--loss kd:temperature=2.5"
    assert "With two classes the low terms of GDKD are 0" in section.text


def test_without_a_finite_sample_there_is_a_sentence_alone():
    section = suggestion_section(table(0))
    assert section.text == "No sample is finite, so nothing can be suggested."
    assert (section.number, section.tables, section.tiles) == ("", [], [])
