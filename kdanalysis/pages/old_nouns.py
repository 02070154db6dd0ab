"""Which pictures, which sentence and which number belong to the table of a noun."""

from inspect import signature

from kdanalysis.analyzers.students import agreement_figure as agreement
from kdanalysis.analyzers.sweep import spread_figure as spread
from kdanalysis.analyzers.sweep import sweep_figure as sweep
from kdanalysis.analyzers.teacher import calibration_figure as calibration
from kdanalysis.analyzers.teacher import calibration_text
from kdanalysis.analyzers.teacher import modality_figure as modality
from kdanalysis.analyzers.teacher import profile_figure as profile
from kdanalysis.analyzers.teacher import reliability_figure as reliability
from kdanalysis.analyzers.teacher import suppression_figure as suppression
from kdanalysis.pages.noun import Joint, Noun
from kdanalysis.pages.old_regions import REGION_NOUNS
from kdanalysis.pages.stones import STONES
from kdanalysis.pages.students import DISCREPANCY, RELATION

OLD = {
    "profile": Noun(
        "Class profiles",
        (("Mean teacher probability for every class, by true class", profile.class_profiles),),
        profile.profile_sentence,
        profile.profile_number,
    ),
    "modality": Noun(
        "Modality",
        (("k that auto-k chooses, by true class", modality.modality_by_class),),
        modality.modality_sentence,
        modality.modality_number,
    ),
    "calibration": Noun(
        "Calibration against temperature",
        (
            ("Accuracy against confidence", reliability.reliability_by_confidence),
            (
                "Calibration error, NLL and Brier score over the temperature",
                calibration.calibration_over_temperature,
            ),
        ),
        calibration_text.calibration_sentence,
        calibration_text.calibration_number,
        Joint(
            (
                ("Accuracy against confidence", reliability.reliability_of_networks),
                (
                    "Calibration error, NLL and Brier score over the temperature",
                    calibration.calibration_of_networks,
                ),
            ),
            calibration_text.networks_sentence,
            calibration_text.networks_number,
            beside=False,
        ),
        calibration.scores_by_temperature,
    ),
    "suppression": Noun(
        "Suppression of the other classes",
        (("1 - p, KD's factor on the non-target term", suppression.suppression_by_teacher),),
        suppression.suppression_sentence,
        suppression.suppression_number,
        Joint(
            (("1 - p, KD's factor on the non-target term", suppression.suppression_of_teachers),),
            suppression.teachers_sentence,
            suppression.teachers_number,
            beside=False,
        ),
    ),
    "spread": Noun(
        "Spread over samples, by the teacher's confidence",
        (("Relation shares and cosine for unsure and confident teachers", spread.spread_over_k),),
        spread.spread_sentence,
        spread.spread_number,
    ),
    **REGION_NOUNS,
    "relation": RELATION,
    "discrepancy": DISCREPANCY,
    **STONES,
    "agreement": Noun(
        "Agreement with the teacher",
        (("Agreement and accuracy on the captured samples", agreement.agreement_over_training),),
        agreement.agreement_sentence,
        agreement.agreement_number,
    ),
    "sweep": Noun(
        "Every k, every temperature",
        (
            ("Norms, shares and cosines of the terms over k", sweep.sweep_over_k),
            ("Norms, entropy and shares over the temperature", sweep.sweep_over_temperature),
        ),
        sweep.sweep_sentence,
        sweep.sweep_number,
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
