"""Suggestions in words: the numbers first, then rule, evidence and what would change each."""

import pandas as pd

from kdanalysis.analyzers.teacher.suggestion import loss_text
from kdanalysis.pages.html import Section
from kdanalysis.pages.html.section import Tile

CAVEAT = "Where to start, not an optimum: rules on the teacher's numbers, no student was trained."
TILES = {
    "temperature": "Temperature",
    "k": "k",
    "w_high": "Weight of high",
    "w_low_top": "Weight of low_top",
    "w_low_other": "Weight of low_other",
}


def suggestion_section(table: pd.DataFrame) -> Section:
    """Return the section of the suggested settings.

    Args:
        table: columns setting, value, rule, evidence, would_change, as ``suggest`` returns.
    """
    tables = [] if table.empty else [("Settings, each with its rule", shown(table))]
    return Section(
        "suggestion",
        "Settings to start from",
        suggestion_text(table),
        f"--loss {loss_text(table)}" if len(table) else "",
        tables=tables,
        tiles=[Tile(TILES[row.setting], f"{row.value:g}") for row in table.itertuples()],
    )


def suggestion_text(table: pd.DataFrame) -> str:
    """What the suggestions are, and where they do not apply."""
    if table.empty:
        return "No sample is finite, so nothing can be suggested."
    if "k" in set(table.setting):
        return CAVEAT
    return f"{CAVEAT} With two classes the low terms of GDKD are 0, so plain KD is suggested."


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The values as text, so that 17 stays 17 beside 2.5."""
    return table.assign(value=[f"{value:g}" for value in table.value])
