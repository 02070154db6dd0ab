"""Which picture and which sentences belong to which table."""

from collections.abc import Mapping, Sequence

import pandas as pd

from kdanalysis.report import Section


def noun_sections(
    tables: Mapping[str, pd.DataFrame], classes: Sequence[str] | None = None
) -> list[Section]:
    """Return a section for every table."""
    return [Section(noun, noun, tables=[(noun, table)]) for noun, table in tables.items()]
