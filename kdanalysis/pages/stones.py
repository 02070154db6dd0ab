"""Which pictures, sentences and numbers belong to the tables of stepping stones."""

import pandas as pd

from kdanalysis.figures import ladder, ladder_gradient
from kdanalysis.pages.noun import Noun


def connector_number(table: pd.DataFrame) -> str:
    """R^2 of every connector on images it was not fitted on."""
    return "; ".join(f"{ladder.said(row.side)} R² {row.r2:.2f}" for row in table.itertuples())


def connector_sentence(table: pd.DataFrame) -> str:
    """What to read: how far the student's features can stand in for the teacher's."""
    worst = table.loc[table.r2.idxmin()]
    fitted = "" if pd.isna(worst.r2_fit) else f", {worst.r2_fit:.0%} on the images of the fit"
    return (
        f"From {worst.r2:.0%} ({ladder.said(worst.side)}{fitted}) to {table.r2.max():.0%} of the "
        f"variance of the teacher's features follows linearly from the student's; what a stone "
        f"lacks may be what its connector lacks."
    )


STONES = {
    "ladder": Noun(
        "The ladder of stepping stones",
        (("From the teacher over its stones to the student", ladder.ladder_by_stone),),
        ladder.ladder_sentence,
        ladder.ladder_number,
    ),
    "ladder_training": Noun(
        "The ladder over training",
        (("Accuracy and divergence of every side by epoch", ladder.ladder_over_training),),
        ladder.ladder_sentence,
        ladder.ladder_number,
    ),
    "ladder_gradient": Noun(
        "What every stone sends into the student's blocks",
        (("Gradient norm by side and block", ladder_gradient.gradient_by_block),),
        ladder_gradient.gradient_sentence,
        ladder_gradient.gradient_number,
    ),
    "ladder_gradient_training": Noun(
        "What every stone sends, over training",
        (("Share of every side in the step, by epoch", ladder_gradient.gradient_over_training),),
        ladder_gradient.gradient_sentence,
        ladder_gradient.gradient_number,
    ),
    "alignment": Noun(
        "Alignment of the features",
        (("Linear CKA of the blocks", ladder_gradient.alignment_by_block),),
        ladder_gradient.alignment_sentence,
        ladder_gradient.alignment_number,
    ),
    "connector": Noun("Connectors", (), connector_sentence, connector_number),
}
