"""Where a section stands on a page of runs: under which heading, or collapsed at the end."""

from collections.abc import Sequence
from dataclasses import replace

from kdanalysis.pages.html import ASIDE, Section

FURTHER = "Further"
GROUPS = {
    "Teacher": ("teacher", "mass", "calibration", "profile", "modality"),
    "Losses": ("suppression", "amplification", "share", "nckd", "confidence", "direction"),
    "Students": (  # trained here or read from files
        *("relation", "agreement", "magnitude", "value", "conflict", "discrepancy", "embedding"),
        *("losses", "truncation", "truncation_payers", "layers", "layer_conflict", "snr"),
        *("ladder", "gradient", "alignment", "connector"),
    ),
    "Regions": ("anatomy", "ambiguity", "cancellation", "uptake"),
    FURTHER: (),
    ASIDE: ("students", "runs", "tokens", "candidates"),
}


def arranged(sections: Sequence[Section]) -> list[Section]:
    """Return the sections by groups, in the order of those; unknown ones under "Further"."""
    place = {
        noun: (group, (i, j))
        for i, (group, nouns) in enumerate(GROUPS.items())
        for j, noun in enumerate(nouns)
    }
    unknown = FURTHER, (list(GROUPS).index(FURTHER), 0)
    found = [(place.get(one.name.partition("-")[0], unknown), one) for one in sections]
    found.sort(key=lambda pair: pair[0][1])
    return [replace(one, group=group) for (group, _), one in found]
