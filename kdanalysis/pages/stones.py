"""Which pictures, sentences and numbers belong to the tables of stepping stones."""

import pandas as pd

from kdanalysis.analyzers.stones import gradient_figure as ladder_gradient
from kdanalysis.analyzers.stones import ladder_figure as ladder
from kdanalysis.pages.noun import Noun


def connector_number(table: pd.DataFrame) -> str:
    """R^2 of every connector on the images that were looked at."""
    return "; ".join(f"{ladder.said(row.side)} R² {row.r2:.2f}" for row in table.itertuples())


def connector_sentence(table: pd.DataFrame) -> str:
    """What to read: how far the student's features can stand in for the teacher's.

    Only connectors that were fitted to the features say what follows from them; trained ones learn
    from the stones' loss, and say how near to the features they came.
    """
    known = table[table.r2.notna()]
    if known.empty:
        return "The teacher's features do not vary, so that nothing of them can be explained."
    worst, best = known.loc[known.r2.idxmin()], known.r2.max()
    if pd.isna(worst.r2_fit):
        farther = f"{(known.r2 < 0).sum()} of {len(known)}"
        return (
            f"These connectors learnt from the stones' loss, not from the teacher's features: R² "
            f"is {worst.r2:.2f} ({ladder.said(worst.side)}) to {best:.2f}, and {farther} are "
            f"farther from these features than their own mean is."
        )
    return (
        f"From {worst.r2:.0%} ({ladder.said(worst.side)}, {worst.r2_fit:.0%} on the images of the "
        f"fit) to {best:.0%} of the variance of the teacher's features follows linearly from the "
        f"student's; what a stone lacks may be what its connector lacks."
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
