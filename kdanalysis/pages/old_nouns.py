"""Which pictures, which sentence and which number belong to the table of a noun."""

from collections.abc import Callable
from functools import partial
from inspect import signature

import pandas as pd
from matplotlib.axes import Axes

from kdanalysis.analyzers.students import agreement_figure as agreement
from kdanalysis.analyzers.terms import amplification_figure as amplification
from kdanalysis.analyzers.terms import confidence_figure as confidence
from kdanalysis.analyzers.terms import conflict_figure as conflict
from kdanalysis.analyzers.terms import direction_figure as direction
from kdanalysis.analyzers.terms import direction_text
from kdanalysis.analyzers.terms import magnitude_figure as magnitude
from kdanalysis.analyzers.terms import nckd_figure as nckd
from kdanalysis.analyzers.terms import share_figure as share
from kdanalysis.pages.layers import LAYER_NOUNS
from kdanalysis.pages.noun import Noun
from kdanalysis.pages.regions import REGION_NOUNS
from kdanalysis.pages.stones import STONES
from kdanalysis.pages.students import DISCREPANCY, RELATION


def amplification_of(loss: str) -> Callable[[pd.DataFrame], Axes]:
    """Return the drawing of one loss's amplification."""
    return partial(amplification.amplification_over_kd, loss=loss)


OLD = {
    "magnitude": Noun(
        "Gradient norms of the terms over training",
        (("Per-sample norm of every term's logit gradient", magnitude.magnitude_over_training),),
        magnitude.magnitude_sentence,
        magnitude.magnitude_number,
    ),
    "share": Noun(
        "Share of each term",
        (("What part of each loss's gradient every term is", share.share_of_terms),),
        share.share_sentence,
        share.share_number,
    ),
    "confidence": Noun(
        "Share against teacher confidence",
        (("Share of the non-top gradient by confidence", confidence.share_by_confidence),),
        confidence.confidence_sentence,
        confidence.confidence_number,
    ),
    "nckd": Noun(
        "NCKD by teacher confidence",
        (("Value and gradient norm of nckd, least sure samples first", nckd.nckd_by_confidence),),
        nckd.nckd_sentence,
        nckd.nckd_number,
    ),
    "amplification": Noun(
        "Amplification over plain KD",
        (
            ("Weight of DKD's non-target term over its weight in KD", amplification_of("dkd")),
            ("Weight of GDKD's non-top term over its weight in KD", amplification_of("gdkd")),
        ),
        amplification.amplification_sentence,
        amplification.amplification_number,
    ),
    "conflict": Noun(
        "Conflict of the terms",
        (
            (
                "Cosines where the teacher is right, and where it is wrong",
                conflict.conflict_by_teacher,
            ),
            ("Cosine of every pair of terms over training", conflict.conflict_over_training),
        ),
        conflict.conflict_sentence,
        conflict.conflict_number,
    ),
    **LAYER_NOUNS,
    **REGION_NOUNS,
    "relation": RELATION,
    "discrepancy": DISCREPANCY,
    **STONES,
    "direction": Noun(
        "Direction or step",
        (
            (
                "Cosines of the losses' gradients, and how far each steps",
                direction.direction_or_step,
            ),
            (
                "Cosines where the teacher is right, and where it is wrong",
                direction.direction_by_teacher,
            ),
            ("Direction and step over training", direction.direction_over_training),
        ),
        direction_text.direction_sentence,
        direction_text.direction_number,
    ),
    "agreement": Noun(
        "Agreement with the teacher",
        (("Agreement and accuracy on the captured samples", agreement.agreement_over_training),),
        agreement.agreement_sentence,
        agreement.agreement_number,
    ),
}


def as_class(old: Noun) -> type:
    """The old description as the class that a noun now is."""
    from kdanalysis.analyzers.noun import Picture, Reading

    def pictures(pairs):
        return tuple(
            Picture(caption, draw, "names" in signature(getattr(draw, "func", draw)).parameters)
            for caption, draw in pairs
        )

    def reads(sentence, number):
        def reading(table, classes=None):
            texts = []
            for f in (sentence, number):
                takes = "names" in signature(f).parameters and classes is not None
                texts.append(f(table, names=classes) if takes else f(table))
            return Reading(*texts)

        return staticmethod(reading)

    more = {}
    if old.joint:
        more = {
            "pictures_of_all": pictures(old.joint.pictures),
            "reading_of_all": reads(old.joint.sentence, old.joint.number),
            "beside": old.joint.beside,
        }
    else:
        more = {"pictures_of_all": (), "reading_of_all": None, "beside": True}
    excerpt = staticmethod(old.excerpt) if old.excerpt else None
    return type(
        "Old",
        (),
        {
            "title": old.title,
            "pictures": pictures(old.pictures),
            "reading": reads(old.sentence, old.number),
            "excerpt": excerpt,
            **more,
        },
    )


OLD = {name: as_class(old) for name, old in OLD.items()}
