"""The page of a sweep: what every k and every temperature would do to the terms' gradients."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch

from kdanalysis.analyzers.sweep.spread import SweepSpread
from kdanalysis.analyzers.sweep.sweep import TermSweep, check_ks
from kdanalysis.pages.facts import class_fact, stated
from kdanalysis.pages.nouns import noun_section
from kdanalysis.pages.page import Page
from kdanalysis.studies.stream import Batches, feed_share

MOST_ROWS = 400  # of the table on the page; the files hold all
BATCH = 16_384
SHORT = (
    *("temperature", "k", "mass_top", "norm_high", "norm_low_top", "norm_low_other", "norm_kd"),
    *("norm_total", "share_low_other", "kd_share_low_other", "cosine_total_kd"),
)


def study_sweep(
    logits: Any,
    temperatures: Sequence[float] = (1.0, 2.0, 4.0, 8.0),
    ks: str | Sequence[int] = "all",
    weights: Sequence[float] = (1.0, 1.0, 8.0),
    device: torch.device | str = "cpu",
    watch: Callable[[Batches], Batches] = iter,
) -> dict[str, pd.DataFrame]:
    """Read the logits of both sides once, batch by batch; return the tables sweep and spread.

    The spread over samples is that of a few k.

    Args:
        logits: what ``load_logits`` returns.
        temperatures: every T > 0.
        ks: "all", or the sizes of the top group.
        weights: of high, low_top and low_other in the total and the shares.
        device: where to compute.
        watch: wraps the batches, for a progress bar.

    Raises:
        ValueError: there are no student logits, or a k, a temperature or a weight is out of range.
    """
    if not logits.has_student:
        raise ValueError(
            f"{logits.path} holds teacher logits alone: a sweep compares a student with its "
            f"teacher, so student_logits are needed beside them"
        )
    classes = logits.num_classes
    settings = temperatures, check_ks(ks, classes), weights
    analyzers = {
        "sweep": TermSweep(classes, *settings),
        "spread": SweepSpread(classes, temperatures, few(settings[1]), weights),
    }
    columns = ("teacher_logits", "student_logits")
    feed_share(logits, columns, analyzers.values(), device, watch, BATCH)
    return {noun: analyzer.table() for noun, analyzer in analyzers.items()}


def sweep_page(
    logits: Any, name: str, tables: Mapping[str, pd.DataFrame], weights: Sequence[float]
) -> Page:
    """Return the page of a sweep's tables; ``name`` says of which logits."""
    table = tables["sweep"]
    facts = {
        "logits": name,
        "samples": f"{logits.num_rows:,}",
        "classes": class_fact(logits.num_classes, logits.classes),
        "weights": "high {:g}, low_top {:g}, low_other {:g}".format(*weights),
        "samples left out (NaN or inf)": int(table.non_finite.iloc[0]) or None,
    }
    section = noun_section("sweep", {"": table})
    if len(table) > MOST_ROWS:
        captions = [("Excerpt of the sweep; its files hold every k", excerpt(table))]
        section = replace(section, tables=captions)
    sections = [section, noun_section("spread", {"": tables["spread"]})]
    return Page(f"Sweep: {name}", stated(facts), sections, dict(tables), ("csv", "parquet"))


def excerpt(table: pd.DataFrame) -> pd.DataFrame:
    """Return some k and the columns to read first."""
    return table.loc[table.k.isin(few(table.k.unique().tolist())), list(SHORT)].reset_index(
        drop=True
    )


def few(ks: Sequence[int]) -> tuple[int, ...]:
    """Return all of up to 12 k, else 1, 2, 5, 10, 20, 50 and so on, and the last."""
    steps = {digit * 10**power for power in range(7) for digit in (1, 2, 5)}
    return tuple(int(k) for k in ks if len(ks) <= 12 or k in steps or k == ks[-1])
