"""The teacher card at a glance: the numbers to see first, and all of them side by side."""

from typing import NamedTuple

import pandas as pd

from kdanalysis.analyzers.teacher.card import TeacherDistribution, counted, left_out
from kdanalysis.core.wording import MINUS, REST, numeral, percent
from kdanalysis.draw.text import format_number


class Entry(NamedTuple):
    """A quantity of the card: its name for readers, what it means, and how it is written."""

    label: str
    note: str
    unit: str = ""
    percent: bool = False

    def write(self, value: float) -> str:
        """Return the number without its unit."""
        text = percent(value) if self.percent else format_number(value, 3)
        return numeral(value) if "e" in text else text


ENTRIES = {
    "accuracy": Entry("Accuracy", "share of samples whose largest logit is the label", "", True),
    "confidence_mean": Entry("Confidence", "mean of the largest probability", "", True),
    "entropy_mean": Entry("Entropy", "mean over samples", "nats"),
    "p_other_mean": Entry("Outside the top 5", "mean mass of the non-top classes"),
    "ece_15": Entry("Calibration error", "expected, 15 equal-width bins"),
    "nll": Entry("NLL", f"mean of {MINUS}log p of the label", "nats"),
    "suppression": Entry("Suppression", f"mean of {REST} of the label: KD's factor on the rest"),
    "confident_wrong": Entry("Confidently wrong", "wrong with confidence above 0.9", "", True),
    "modes_mean": Entry("Effective classes", "mean of exp(entropy)"),
    "several_peaks": Entry("Several peaks", "two classes or more with p ≥ 0.1 max p", "", True),
    "knee": Entry("Knee", "k where the top-k mass bends"),
}


def card_tiles(card: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Return label, value and note of every quantity at the lowest temperature.

    The highest stands in the note.

    Args:
        card: columns quantity, temperature, value (``TeacherDistribution``).
    """
    rows = {name: part for name, part in card.groupby("quantity", sort=False)}
    if "p_other_mean" in rows and not rows["p_other_mean"].value.any():
        del rows["p_other_mean"]  # there are no classes outside
    tiles = [_tile(entry, rows[name]) for name, entry in ENTRIES.items() if name in rows]
    if count := left_out(card):
        tiles.append(("Left out", f"{count:,}", "samples with NaN or inf, in no number"))
    if count := counted(card, "constant"):
        tiles.append(
            ("Constant", f"{count:,}", "samples with one logit for all classes, counted in")
        )
    return tiles


def _tile(entry: Entry, rows: pd.DataFrame) -> tuple[str, str, str]:
    ladder = rows.sort_values("temperature")
    first, last = ladder.iloc[0], ladder.iloc[-1]
    value = " ".join(filter(None, (entry.write(first.value), entry.unit)))
    if pd.isna(first.temperature):
        return entry.label, value, entry.note
    where = [f"T = {first.temperature:g}"]
    if last.temperature > first.temperature:
        where.append(f"{entry.write(last.value)} at T = {last.temperature:g}")
    unbroken = [part.replace(" ", "\xa0") for part in where]
    return entry.label, value, "; ".join([entry.note, *unbroken])


@TeacherDistribution.shortens
def wide_card(card: pd.DataFrame) -> pd.DataFrame:
    """Return one quantity a row and one temperature a column; values without one come first."""
    ladder = sorted(card.temperature.dropna().unique())
    heading = card.temperature.map({t: f"T = {t:g}" for t in ladder}).fillna("any T")
    order = ["any T", *(f"T = {t:g}" for t in ladder)]
    wide = card.assign(heading=heading).pivot(index="quantity", columns="heading", values="value")
    wide = wide.reindex(index=card.quantity.unique(), columns=[c for c in order if c in wide])
    text = wide.map(lambda value: "" if pd.isna(value) else format_number(value))
    return text.reset_index().rename_axis(columns=None)
