"""The explorer: what any k, T and weights would make of the gradients, from Gram matrices alone."""

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from markupsafe import Markup

from kdanalysis.analyzers.sweep.gram import CE, TermGram, explored_over_k, page_ks
from kdanalysis.core.sweep.stacked import stacked
from kdanalysis.draw.colours import loss_colours
from kdanalysis.pages.html import Shown
from kdanalysis.studies.compute import Watch, compute, unwatched
from kdanalysis.studies.setting import common_settings
from kdanalysis.studies.source import Source

LADDER = (1.0, 2.0, 4.0, 8.0)
WEIGHTS = {"high": 1.0, "low_top": 1.0, "low_other": 8.0}  # those of GDKD's paper
DIGITS = 9
BY_T = ("square_kd", "inner_ce_kd", "square_ce")  # whatever k is
COLUMNS = {
    "cosine": ("cosine to KD", "of all samples' gradients laid end to end"),
    "step": ("step", "norm over that of KD at the same T"),
    "norm": ("norm", "root mean square over samples, weighted, T² included"),
    "norm_kd": ("norm of KD", "root mean square over samples, T² included"),
    "share_high": ("high", "its weighted norm over the sum of the terms'"),
    "share_low_top": ("low_top", "its weighted norm over the sum of the terms'"),
    "share_low_other": ("low_other", "its weighted norm over the sum of the terms'"),
    "share_ce": ("ce", "its weighted norm over the sum of the terms'"),
}
CONTROLS = {
    "k": ("k", "classes in the teacher's top group"),
    "temperature": ("T", "temperature of the terms and of KD"),
    "high": ("weight of high", "between the groups"),
    "low_top": ("weight of low_top", "inside the top group"),
    "low_other": ("weight of low_other", "among the other classes"),
    "ce": ("weight of ce", "cross-entropy with the label, at T = 1"),
}
WORDS = (
    "The line through a dot is what every k gives at this T and these weights. All samples' "
    "gradients in the student's logits are laid end to end: norms are root mean squares over "
    "samples, T² and weights included, the cosine is that of the whole, as rms_*, share_batch_* "
    "and cosine_batch_* in kd.sweep and rms_*, multiplier_batch and cosine_batch in "
    "kd.compare. They follow exactly from the mean inner products of the terms, which this page "
    "holds; means alone give no interval, which kd.compare gives of chosen losses. Other figures "
    "show means of the samples' own norms and cosines, which are other numbers. What shared "
    "parameters make of the gradients, logits do not tell."
)


class Explorer:
    """Sliders for k, T and weights over the Gram matrices of runs; shown by a page or a notebook.

    A notebook shows it by itself; where no script runs, it shows a picture at the settings that
    the sliders start from.

    Args:
        grams: as ``TermGram.gram`` gives them, by run; the same (T, k) in all.
        temperature: where the slider starts, one of the table's, or the nearest.
        k: likewise.
        of: which samples, as a clause for readers.
    """

    def __init__(
        self,
        grams: Mapping[str, pd.DataFrame],
        temperature: float | int = 4.0,
        k: int = 5,
        of: str = "",
    ) -> None:
        self.grams, self.of = dict(grams), of
        first = next(iter(self.grams.values()))
        self.temperatures, self.ks = (sorted(set(first[c])) for c in ("temperature", "k"))
        self.temperature = min(self.temperatures, key=lambda t: abs(t - temperature))
        self.k = min(self.ks, key=lambda one: abs(one - k))
        self.with_ce = all(table[list(CE)].notna().all().all() for table in self.grams.values())

    @cached_property
    def payload(self) -> dict[str, Any]:
        """What the script reads: Gram matrices as lists by (T, k), and where the sliders start."""
        columns = [name for name in COLUMNS if self.with_ce or name != "share_ce"]
        hues = loss_colours(self.grams)
        start = {"k": self.k, "temperature": self.temperature, **WEIGHTS, "ce": 0}
        return {
            "columns": columns,
            "start": start,
            "runs": [
                {
                    "name": name,
                    "colour": hues[name],
                    "temperatures": self.temperatures,
                    "ks": self.ks,
                    "gram": {
                        c: rounded(table[c].iloc[:: len(self.ks) if c in BY_T else 1])
                        for c in self._products(table)
                    },
                }
                for name, table in self.grams.items()
            ],
        }

    def _products(self, table: pd.DataFrame) -> list[str]:
        names = [c for c in table if c.startswith(("square_", "inner_"))]
        return [c for c in names if self.with_ce or "ce" not in c.split("_")]

    def at(self, run: str, weights: Sequence[float | int]) -> tuple[float, float]:
        """Return cosine to KD and step of a run where the sliders for k and T start.

        Args:
            run: its name.
            weights: of high, low_top and low_other.
        """
        table = self.grams[run]
        (row,) = table[(table.temperature == self.temperature) & (table.k == self.k)].to_dict(
            "records"
        )
        found = stacked({name: torch.tensor(value) for name, value in row.items()}, weights)
        return float(found["cosine_batch_total_kd"]), float(found["rms_total"] / found["rms_kd"])

    def picture(self) -> Shown:
        """The static picture: cosine and step over k at the settings the sliders start from."""
        weights = tuple(WEIGHTS.values())
        make = partial(explored_over_k, self.grams, self.temperature, weights)
        told = "/".join(f"{w:g}" for w in weights)
        caption = f"Cosine to KD, and step, over k at T = {self.temperature:g}, weights {told}"
        return Shown(caption, make, "explorer")

    def html(self, picker: bool, picture: Any) -> Markup:
        """Return the markup; ``picker`` where the page around it has none for runs."""
        from kdanalysis.pages.html.page import data_text, make_environment, read

        columns, controls = (
            [(n, *rest) for n, rest in known.items() if self.with_ce or "ce" not in n.split("_")]
            for known in (COLUMNS, CONTROLS)
        )
        return Markup(
            make_environment()
            .from_string(read("explorer.html.j2"))
            .render(
                picture=picture,
                picker=picker and len(self.grams) > 1,
                columns=columns,
                controls=controls,
                words=f"{self.of} {WORDS}".strip(),
                payload=data_text(self.payload),
            )
        )

    def _repr_html_(self) -> str:
        from kdanalysis.pages.html.page import read
        from kdanalysis.pages.html.picture import as_png

        script = f"(() => {{{read('picker.js')}{read('explorer.js')}startExplorers();}})();"
        body = self.html(True, as_png(self.picture()))
        return f"<style>{read('explorer.css')}</style>{body}<script>{script}</script>"

    def __repr__(self) -> str:
        return f"<Explorer of {', '.join(self.grams)}: T {self.temperatures}, {len(self.ks)} k>"


def explorer_of(
    sources: Mapping[str, Source],
    settings: tuple[float, int] | None = None,
    device: torch.device | str = "cpu",
    watch: Watch = unwatched,
    of: str = "",
) -> Explorer | None:
    """Read sources once each and return their explorer; None where a side of logits is missing.

    Args:
        sources: by run.
        settings: T and k of the training; those the first run states if None.
        device: where to compute.
        watch: wraps the batches, for a progress bar.
        of: which samples, as a clause for readers.
    """
    both = explored(sources)
    grams = {name: gram_of(name, both, settings, device, watch) for name in both}
    return explorer_from(grams, both, settings, of)


def explored(sources: Mapping[str, Source]) -> dict[str, Source]:
    """Return the sources that have the logits of both sides."""
    both = {"student_logits", "teacher_logits"}
    return {name: source for name, source in sources.items() if both <= {*source.columns()}}


def gram_of(
    name: str,
    both: Mapping[str, Source],
    settings: tuple[float, int] | None = None,
    device: torch.device | str = "cpu",
    watch: Watch = unwatched,
) -> pd.DataFrame:
    """Read a source and return its Gram matrices.

    Args:
        name: which source.
        both: all that are explored together.
        settings: of the training.
        device: where to compute.
        watch: wraps the batches.
    """
    temperature, _ = settings or common_settings([one.info for one in both.values()])
    classes = both[name].info.num_classes
    analyzer = TermGram(classes, sorted({*LADDER, float(temperature)}), page_ks(classes))
    compute(both[name], {"gram": analyzer}, device, watch)
    return analyzer.gram()


def explorer_from(
    grams: Mapping[str, pd.DataFrame],
    both: Mapping[str, Source],
    settings: tuple[float, int] | None = None,
    of: str = "",
) -> Explorer | None:
    """Return the explorer of the Gram matrices that hold a gradient of KD; None without any."""
    known = {name: gram for name, gram in grams.items() if (gram.square_kd > 0).any()}
    if not known:
        return None
    return Explorer(known, *(settings or common_settings([x.info for x in both.values()])), of)


def rounded(column: Sequence[float] | pd.Series) -> list[float]:
    """Return the numbers with nine significant digits, as they are written."""
    return [float(f"{value:.{DIGITS}g}") for value in np.asarray(column, float)]
