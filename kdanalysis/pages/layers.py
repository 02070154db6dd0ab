"""What is shown of a run's gradients at layers: norms, conflict, signal and noise."""

from collections.abc import Mapping, Sequence

import pandas as pd


def with_conflict(
    nouns: Sequence[str], tables: Mapping[str, Mapping[str, pd.DataFrame]]
) -> dict[str, dict[str, pd.DataFrame]]:
    """Return the tables by noun, then by run; after ``layers`` those of its conflict.

    Runs that lack a table are left out of its noun, those of a single term out of the conflict, and
    a noun without any table altogether.

    Args:
        nouns: which, in order.
        tables: by run, then by noun.
    """
    found = {}
    for noun in nouns:
        found[noun] = {run: of_run[noun] for run, of_run in tables.items() if noun in of_run}
        if noun == "layers":
            found["layer_conflict"] = {
                run: table
                for run, table in found[noun].items()
                if (table.term_a != table.term_b).any()
            }
    return {noun: of_noun for noun, of_noun in found.items() if of_noun}
