"""What is shown of a run's gradients at layers: norms, conflict, signal and noise."""

from collections.abc import Mapping, Sequence

import pandas as pd

from kdanalysis.analyzers.terms import layer_conflict_figure as layer_conflict
from kdanalysis.analyzers.terms import layers_figure as layers
from kdanalysis.analyzers.terms import snr_figure as snr
from kdanalysis.pages.noun import Noun

LAYERS = Noun(
    "Gradient norms at the layers",
    (("Norm of every term's gradient at the layers", layers.layers_over_training),),
    layers.layers_sentence,
    layers.layers_number,
    excerpt=lambda table: layers.mean_norms(table).reset_index(),
)
LAYER_CONFLICT = Noun(
    "Conflict of the terms at the layers",
    (
        ("Cosines of the terms' gradients at every layer", layer_conflict.conflict_by_layer),
        ("Cosines at every layer over the epochs", layer_conflict.layer_conflict_over_epochs),
    ),
    layer_conflict.layer_conflict_sentence,
    layer_conflict.layer_conflict_number,
    excerpt=layer_conflict.mean_conflict,
)
SNR = Noun(
    "Signal and noise of the terms",
    (("Signal-to-noise ratio of every term's gradient at the layers", snr.snr_over_epochs),),
    snr.snr_sentence,
    snr.snr_number,
    excerpt=lambda table: snr.by_layer(table).reset_index(),
)

LAYER_NOUNS = {"layers": LAYERS, "layer_conflict": LAYER_CONFLICT, "snr": SNR}


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
