"""The nouns that hold students against their teacher: one by one, and all in one picture."""

from collections.abc import Callable, Sequence

import pandas as pd
from matplotlib.figure import Figure

from kdanalysis.analyzers.students import discrepancy_figure as discrepancy
from kdanalysis.analyzers.students import discrepancy_text
from kdanalysis.pages.noun import Joint, Noun

BY_CLASS = (
    "Student less teacher by class; all maps of a kind share one colour scale, where published "
    "ones are rescaled one by one; chance is what standard errors alone would make of the number"
)
OF_CLASSES = "Correlation of the classes' logits"


def one_of(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Return the drawing of one table by a function that draws several."""

    def drawn(table: pd.DataFrame, names: Sequence[str] | None = None) -> Figure:
        return draw({"": table}, names)

    return drawn


DISCREPANCY = Noun(
    "Class-mean discrepancy",
    (
        (BY_CLASS, one_of(discrepancy.discrepancy_maps)),
        (OF_CLASSES, one_of(discrepancy.correlation_maps)),
    ),
    discrepancy_text.discrepancy_sentence,
    discrepancy_text.discrepancy_number,
    Joint(
        (
            (BY_CLASS, discrepancy.discrepancy_maps),
            (OF_CLASSES, discrepancy.correlation_maps),
        ),
        discrepancy_text.students_sentence,
        discrepancy_text.students_number,
        beside=False,
    ),
    discrepancy_text.map_numbers,
)
