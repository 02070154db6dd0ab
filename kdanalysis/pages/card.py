"""The teacher card in words: the numbers to see first, and the table of all temperatures."""

from dataclasses import dataclass

import pandas as pd

from kdanalysis.draw.text import format_number
from kdanalysis.pages.html.section import Tile


@dataclass(frozen=True)
class Entry:
    """A quantity of the card: its name for readers, how it is written, and what it means."""

    quantity: str
    label: str
    note: str
    unit: str = ""
    percent: bool = False


ENTRIES = (
    Entry("accuracy", "Accuracy", "share of samples whose largest logit is the label", "", True),
    Entry("confidence_mean", "Confidence", "mean of the largest probability"),
    Entry("entropy_mean", "Entropy", "mean over samples", "nats"),
    Entry("p_other_mean", "Outside the top 5", "mean mass of the non-top classes"),
    Entry("ece_15", "Calibration error", "expected, 15 equal-width bins"),
    Entry("nll", "NLL", "mean of -log p of the label", "nats"),
    Entry("suppression", "Suppression", "mean of 1 - p of the label: KD's factor on the rest"),
    Entry("confident_wrong", "Confidently wrong", "wrong with confidence above 0.9", "", True),
    Entry("modality", "Modality", "mean k that the auto-k rule chooses"),
    Entry("knee", "Knee", "k where the top-k mass bends"),
)


def make_tiles(card: pd.DataFrame) -> list[Tile]:
    """Return one tile a quantity at the lowest temperature; the highest stands in the note.

    Args:
        card: columns quantity, temperature, value, as TeacherDistribution.table gives.
    """
    rows = {name: part for name, part in card.groupby("quantity", sort=False)}
    tiles = [make_tile(entry, rows[entry.quantity]) for entry in ENTRIES if entry.quantity in rows]
    left_out = int(rows["non_finite"].value.iloc[0]) if "non_finite" in rows else 0
    if left_out:
        tiles.append(Tile("Left out", f"{left_out:,}", "samples with NaN or inf, in no number"))
    return tiles


def make_tile(entry: Entry, rows: pd.DataFrame) -> Tile:
    """Return the tile of one quantity."""
    ladder = rows.sort_values("temperature")
    first, last = ladder.iloc[0], ladder.iloc[-1]
    value = " ".join(filter(None, (write(entry, first.value), entry.unit)))
    if pd.isna(first.temperature):
        return Tile(entry.label, value, entry.note)
    where = f"T = {first.temperature:g}"
    if last.temperature > first.temperature:
        where += f"; {write(entry, last.value)} at T = {last.temperature:g}"
    unbroken = "; ".join(part.replace(" ", "\xa0") for part in where.split("; "))
    return Tile(entry.label, value, f"{entry.note}; {unbroken}")


def write(entry: Entry, value: float) -> str:
    """Return the number as the entry wants it."""
    return f"{format_number(100 * value, 3)} %" if entry.percent else format_number(value, 3)


def wide_card(card: pd.DataFrame) -> pd.DataFrame:
    """Return one quantity a row and one temperature a column; values without one come first."""
    ladder = sorted(card.temperature.dropna().unique())
    heading = card.temperature.map({t: f"T = {t:g}" for t in ladder}).fillna("any T")
    order = ["any T", *(f"T = {t:g}" for t in ladder)]
    wide = card.assign(heading=heading).pivot(index="quantity", columns="heading", values="value")
    wide = wide.reindex(index=card.quantity.unique(), columns=[c for c in order if c in wide])
    text = wide.map(lambda value: "" if pd.isna(value) else format_number(value))
    return text.reset_index().rename_axis(columns=None)
