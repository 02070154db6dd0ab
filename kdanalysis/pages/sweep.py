"""The page of a sweep: what every k and every temperature would do to the terms' gradients."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from kdanalysis.analysis.sweep import TermSweep
from kdanalysis.pages.facts import class_fact, stated
from kdanalysis.pages.nouns import noun_section
from kdanalysis.pages.page import Page
from kdanalysis.stream import feed

Batches = Iterable[Mapping[str, np.ndarray]]
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
) -> pd.DataFrame:
    """Read the logits of both sides once, batch by batch, and return the table of the sweep.

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
    analyzer = TermSweep(logits.num_classes, temperatures, ks, weights)
    columns = ("teacher_logits", "student_logits")
    feed(watch(logits.batches(BATCH, columns)), [analyzer], device)
    return analyzer.table()


def sweep_page(logits: Any, name: str, table: pd.DataFrame, weights: Sequence[float]) -> Page:
    """Return the page of a sweep's table; ``name`` says of which logits."""
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
    tables = {"sweep": table}
    return Page(f"Sweep: {name}", stated(facts), [section], tables, ("csv", "parquet"))


def excerpt(table: pd.DataFrame) -> pd.DataFrame:
    """Return some k and the columns to read first."""
    steps = {digit * 10**power for power in range(7) for digit in (1, 2, 5)}
    ks = table.k.unique()
    shown = ks if len(ks) <= 12 else [k for k in ks if k in steps or k == ks[-1]]
    return table.loc[table.k.isin(shown), list(SHORT)].reset_index(drop=True)
