"""What a page of several runs draws of each noun: all runs in one figure, never one a run."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from kdanalysis.analyzers.ends import left_out, with_ends
from kdanalysis.analyzers.noun import Names, Picture
from kdanalysis.analyzers.regions.ambiguity import by_image
from kdanalysis.analyzers.regions.cancellation import FEW
from kdanalysis.core.wording import grid
from kdanalysis.draw.look import Figure
from kdanalysis.draw.overlay import curves_over, dots_by_name
from kdanalysis.draw.tables import require
from kdanalysis.losses import non_top_terms
from kdanalysis.pages.compare_runs import BY_RUN
from kdanalysis.pages.html import Section
from kdanalysis.pages.nouns import excerpt, find, noun_section

MANY = 5  # runs that are not all named
OVER_STEPS = "(line: 95 % over captured steps)"
FIRST = ("calibration",)  # of which a page of several runs holds the first figure alone


def confidence_by_run(table: pd.DataFrame) -> Figure:
    """Share of the non-top gradient over tenths of confidence, a panel a loss."""
    require(table, "run", "loss", "term", "decile", "share", number="share")
    rows = table[table.term.isin(non_top_terms())]
    rows = rows.assign(loss=rows.loss + ": " + rows.term, share=100 * rows.share)
    labels = "tenth of the samples, least confident first", "share of the gradient (%)"
    return curves_over(rows, "decile", "share", "loss", labels)


def nckd_by_run(table: pd.DataFrame) -> Figure:
    """Mean gradient norm of nckd over tenths of the label's probability, alone and inside KD."""
    require(table, "run", "part", "place", "norm", "kd_norm", number="norm")
    rows = table[(table.part == "tenth") & (table.n > 0)]
    sides = {"norm": "nckd alone, weight 1", "kd_norm": "nckd inside KD"}
    long = pd.concat(rows.assign(side=side, shown=rows[column]) for column, side in sides.items())
    labels = "tenth of the samples, least sure of the label first", "gradient norm"
    return curves_over(long, "place", "shown", "side", labels)


def layers_by_run(table: pd.DataFrame) -> Figure:
    """Mean gradient norm of every term at every layer, over all records, with its interval.

    The interval is of 95 %, by the jackknife over captured steps, of the logarithm.
    """
    require(table, "run", "layer", "term_a", "term_b", "norm_a", "n", number="norm_a")
    rows = table[table.term_a == table.term_b]
    means = _means(rows, ["layer", "term_a"], "norm_a", "step", log=True)
    label = f"gradient norm, weighted {OVER_STEPS}"
    return dots_by_name(means, "norm_a", "term_a", "layer", label, log=True)


def layer_conflict_by_run(table: pd.DataFrame) -> Figure:
    """Mean cosine of every pair of terms at every layer, over all records, with its interval.

    The interval is of 95 %, by the jackknife over captured steps.
    """
    require(table, "run", "layer", "term_a", "term_b", "cosine", "n", number="cosine")
    rows = table[table.term_a != table.term_b]
    rows = rows.assign(pair=rows.term_a + ", " + rows.term_b)
    means = _means(rows, ["layer", "pair"], "cosine", "step")
    return dots_by_name(means, "cosine", "pair", "layer", f"mean cosine {OVER_STEPS}")


def snr_by_run(table: pd.DataFrame) -> Figure:
    """Squared mean over variance of every term's gradient at every layer, over all records.

    With its interval of 95 %, by the jackknife over captured steps, of the logarithm.
    """
    require(table, "run", "step", "layer", "term", "signal", "noise", "n", number="snr")
    sums = table.assign(signal=table.signal * table.n, noise=table.noise * table.n)
    rows = left_out(sums, ["run", "layer", "term"], ("signal", "noise"), "step", log=True)
    shown, gone = rows[rows.ratio > 0], int((rows.ratio <= 0).sum())
    said = f"\n(not drawn: {gone} of {len(rows)} that are 0 or below, all noise)" if gone else ""
    label = f"signal-to-noise ratio {OVER_STEPS}{said}"
    return dots_by_name(shown, "ratio", "term", "layer", label, log=True)


def anatomy_by_run(table: pd.DataFrame) -> Figure:
    """Mean gradient norm of every case of image and cell, over all epochs, a panel a scale.

    With its interval of 95 %, by the jackknife over classes.
    """
    require(table, "run", "part", "class", "scale", "case", "n", "norm", number="norm")
    rows = table[(table.part == "class") & (table.scale > 1)]
    means = _means(rows, ["scale", "case"], "norm", "class")
    means = means.assign(scale=means.scale.map(_cells))
    label = "mean gradient norm of a cell (line: 95 % over classes)"
    return dots_by_name(means, "norm", "case", "scale", label)


def cancellation_by_run(table: pd.DataFrame) -> Figure:
    """Norm of the cells' mean gradient over their mean norm, by the cells that differ.

    Bands are 95 % intervals over images, where there are 10 or more.
    """
    require(table, "run", "scale", "differing", "ratio", "ratio_se", "n", number="ratio")
    rows = table.assign(scale=table.scale.map(_cells), ratio=100 * table.ratio)
    images = by_image(rows)
    rows = with_ends(images, "ratio", 100 * images.ratio_se.where(images.n >= FEW))
    labels = (
        f"cells that name another class than the image\n(band: 95 % interval, of {FEW} images on)",
        "kept norm (%)",
    )
    return curves_over(rows, "differing", "ratio", "scale", labels)


def _cells(scale: int) -> str:
    return f"{grid(int(scale))} cells"


def _means(
    rows: pd.DataFrame, names: list[str], value: str, group: str, log: bool = False
) -> pd.DataFrame:
    """Mean of a value over records or samples, by run and names, with its interval over groups."""
    require(rows, group)
    known = rows[rows[value].notna() & (rows.n > 0)]
    known = known.assign(total=known[value] * known.n)
    means = left_out(known, ["run", *names], ("total", "n"), group, log)
    means = means.rename(columns={"ratio": value})
    return means.assign(**{value: means[value].replace([np.inf, -np.inf], np.nan)})


OVERLAID: dict[str, tuple[Picture, ...]] = BY_RUN | {
    "confidence": (Picture("Share of the non-top gradient by confidence", confidence_by_run),),
    "nckd": (Picture("Gradient norm of nckd, least sure samples first", nckd_by_run),),
    "layers": (Picture("Mean norm of every term's gradient at the layers", layers_by_run),),
    "layer_conflict": (
        Picture("Mean cosine of the terms' gradients at the layers", layer_conflict_by_run),
    ),
    "snr": (Picture("Signal-to-noise ratio of the gradients at the layers", snr_by_run),),
    "anatomy": (Picture("Gradient norm by case of image and cell", anatomy_by_run),),
    "cancellation": (
        Picture("What is left of the cells' gradients in their mean", cancellation_by_run),
    ),
    "uptake": (),
}


def section_of_runs(
    noun: str, tables: Mapping[str, pd.DataFrame], classes: Names = None
) -> Section:
    """Return the section of one noun with every run in each figure.

    Of one teacher equal tables are one. What else nothing draws together is drawn of the first run
    alone.

    Args:
        noun: its name.
        tables: by run.
        classes: a name for every class.
    """
    known = find(noun)
    if len(tables) == 1 or known is None:
        return noun_section(noun, tables, classes)
    (runs, table), *others = of_equal(tables)
    if not others and "student_logits" not in getattr(known, "needs", ("student_logits",)):
        whose = ", ".join(runs) if len(runs) < MANY else f"{runs[0]} and {len(runs) - 1} others"
        section = noun_section(noun, {whose: table}, classes)
        return replace(section, tables=[excerpt(known, noun, tables)])
    together = OVERLAID.get(noun, ())
    section = noun_section(noun, tables, classes, pictures=(), together=together)
    if noun in OVERLAID or known.pictures_of_all:
        return replace(section, figures=section.figures[: 1 if noun in FIRST else None])
    first = next(iter(tables))
    alone = noun_section(noun, {first: tables[first]}, classes)
    return replace(section, figures=alone.figures)


def of_equal(tables: Mapping[str, pd.DataFrame]) -> list[tuple[list[str], pd.DataFrame]]:
    """Return every table once, with the runs whose table it is."""
    found: list[tuple[list[str], pd.DataFrame]] = []
    for run, table in tables.items():
        same = [runs for runs, one in found if one.equals(table)]
        if same:
            same[0].append(run)
        else:
            found.append(([run], table))
    return found
