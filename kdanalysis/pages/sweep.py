"""The study of a sweep: what every k and every temperature would do to the terms' gradients."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pandas as pd
import torch

from kdanalysis.analyzers.noun import Picture
from kdanalysis.analyzers.sweep.checks import check_ks
from kdanalysis.analyzers.sweep.gram import MOST_KS, TermGram, page_ks
from kdanalysis.analyzers.sweep.spread import SweepSpread
from kdanalysis.analyzers.sweep.sweep_pictures import TermSweep
from kdanalysis.analyzers.teacher.calibration import Calibration
from kdanalysis.analyzers.terms.direction_reading import NO_GRADIENT
from kdanalysis.core.arguments import typed
from kdanalysis.core.vocabulary import VOCABULARY
from kdanalysis.pages.explorer import Explorer
from kdanalysis.pages.html import Section
from kdanalysis.pages.nouns import noun_section
from kdanalysis.pages.study import Study
from kdanalysis.studies.compute import Watch, compute, unwatched
from kdanalysis.studies.facts import class_fact, cut_fact, stated
from kdanalysis.studies.opening import BY_NAME, Given, open_source
from kdanalysis.studies.pairing import doubt

MOST_ROWS = 400  # of the table on the page; the files hold all
BATCH, WIDE = 16_384, 2**22  # rows that are read together, and entries of them
SHORT = (
    *("temperature", "k", "mass_top", "norm_high", "norm_low_top", "norm_low_other", "norm_kd"),
    *("norm_total", "share_low_other", "kd_share_low_other", "cosine_total_kd"),
)


@typed(advice={"source": BY_NAME})
def sweep_study(
    source: Given,
    temperatures: Sequence[float] = (1.0, 2.0, 4.0, 8.0),
    ks: str | Sequence[int] | None = None,
    weights: Sequence[float] = (1.0, 1.0, 8.0),
    device: torch.device | str = "cpu",
    watch: Watch = unwatched,
) -> Study:
    """Sweep every k and several temperatures over a file, a run or arrays; ``sweep`` gives a frame.

    Read once, batch by batch; the tables are sweep and spread, the spread over samples being that
    of a few k.

    Args:
        source: logits of both sides, as for ``diagnose``.
        temperatures: every T > 0.
        ks: "all", or the sizes of the top group; if None all of up to 5000 classes, of more 100 or
            a few less, ever further apart.
        weights: of high, low_top and low_other in the total and the shares.
        device: where to compute.
        watch: wraps the batches, for a progress bar.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: there are no student logits, or a k, a temperature or a weight is out of range.
    """
    source = open_source(source)
    if "student_logits" not in source.columns():
        raise ValueError(
            f"{source.path} holds teacher logits alone: a sweep compares a student with its "
            f"teacher, so student_logits are needed beside them"
        )
    classes = source.info.num_classes
    if ks is None:
        ks = "all" if classes <= VOCABULARY else page_ks(classes)
    settings = temperatures, check_ks(ks, classes), weights
    analyzers = {
        "sweep": TermGram(classes, *settings),
        "spread": SweepSpread(classes, temperatures, few(settings[1]), weights),
    }
    if classes <= VOCABULARY and source.has_target:
        analyzers["calibration"] = Calibration(classes)
    tables = compute(source, analyzers, device, watch, max(1, min(BATCH, WIDE // classes)))
    table, calibration = tables["sweep"], tables.pop("calibration", None)
    pictures = sweep_pictures(calibration)
    facts = {
        "logits": source.name,
        "samples": f"{source.num_rows:,}",
        "classes": class_fact(classes, source.info.classes),
        "cut": cut_fact(source),
        "weights": "high {:g}, low_top {:g}, low_other {:g}".format(*weights),
        "no gradient": NO_GRADIENT if (table.norm_kd == 0).all() else None,
        "samples left out (NaN or inf)": int(table.non_finite.iloc[0]) or None,
        "likely wrong": doubt(source),
    }
    parts = {noun: {"": frame} for noun, frame in tables.items()}
    explorer = swept_explorer(source.name, analyzers["sweep"])
    shown = {"pictures": {"sweep": pictures}, "explorer": explorer, "formats": ("csv", "parquet")}
    sections = partial(sweep_sections, table, tables["spread"], pictures)
    return Study(f"Sweep: {source.name}", stated(facts), parts, sections, **shown)


def sweep_sections(
    table: pd.DataFrame, spread: pd.DataFrame, pictures: Sequence[Picture]
) -> list[Section]:
    """Return what the page shows of the sweep and of its spread; of a long table an excerpt."""
    section = noun_section("sweep", {"": table}, pictures=pictures)
    if len(table) > MOST_ROWS:
        captions = [("Excerpt of the sweep; its files hold every k", excerpt(table))]
        section = replace(section, tables=captions)
    return [section, noun_section("spread", {"": spread})]


def sweep_pictures(calibration: pd.DataFrame | None) -> list[Picture]:
    """Return the pictures of the sweep, that over T with the one that calibrates the teacher.

    Args:
        calibration: table of ``Calibration``; None where there are no labels.
    """
    over_k, over_t = TermSweep.pictures
    if calibration is None:
        return [over_k, over_t]
    known = partial(over_t.draw, calibrated=float(calibration.calibrated.iloc[0]))
    return [over_k, over_t._replace(draw=known, name=over_t.draw.__name__)]


def swept_explorer(name: str, swept: TermGram) -> Explorer | None:
    """Return the sliders over what was swept, of some k where there are many."""
    gram = swept.gram()
    if len(swept.ks) > MOST_KS:
        gram = gram[gram.k.isin(page_ks(swept.num_classes))]
    return Explorer({name: gram}, of="Over all samples.") if gram.n.iloc[0] else None


def excerpt(table: pd.DataFrame) -> pd.DataFrame:
    """Return some k and the columns to read first."""
    return table.loc[table.k.isin(few(table.k.unique().tolist())), list(SHORT)].reset_index(
        drop=True
    )


def few(ks: Sequence[int]) -> tuple[int, ...]:
    """Return all of up to 12 k, else 1, 2, 5, 10, 20, 50 and so on, and the last."""
    steps = {digit * 10**power for power in range(7) for digit in (1, 2, 5)}
    return tuple(int(k) for k in ks if len(ks) <= 12 or k in steps or k == ks[-1])
