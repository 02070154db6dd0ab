"""Sections with hostile texts in every place where a text can stand."""

from functools import partial

import pandas as pd
import pytest
from page_reader import HOSTILE, draw

from kdanalysis.pages.html import Section, Shown, Tile


@pytest.fixture
def sections() -> list[Section]:
    frame = pd.DataFrame({"class": [HOSTILE, "plain"], "value": [0.25, float("nan")]})
    return [
        Section("card", f"Card {HOSTILE}", tiles=[Tile("Accuracy", "81 %", HOSTILE)]),
        Section(
            "norms",
            "Norms",
            f"Read {HOSTILE}.",
            "n = 2",
            figures=[Shown("first", partial(draw, label=HOSTILE), "a"), Shown("second", draw, "b")],
            tables=[(f"Values {HOSTILE}", frame)],
        ),
    ]
