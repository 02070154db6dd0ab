"""Run: a captured run, open for reading and for analysis."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from kdanalysis.analyzers import load_nouns
from kdanalysis.analyzers.base import Analyzer
from kdanalysis.analyzers.noun import find_noun
from kdanalysis.analyzers.truncation.part import KS, Truncation
from kdanalysis.analyzers.truncation.together import KEPT, PARTS
from kdanalysis.core.arguments import typed
from kdanalysis.core.limits import announce_memory
from kdanalysis.core.vocabulary import VOCABULARY
from kdanalysis.core.wording import grid, numeral
from kdanalysis.losses.kept import temperatures_of
from kdanalysis.store.run import StoredRun
from kdanalysis.studies.compute import FEWER, Watch, compute, unwatched
from kdanalysis.studies.kept import SHOWN, kept_analyzer
from kdanalysis.studies.setting import trained_loss
from kdanalysis.studies.source import Source

MOST_CLASSES = 200  # of tables with a row for every pair of classes
BY_PAIR = {"profile": 260, "modality": 60, "discrepancy": 260}  # bytes a pair, as measured
OF_IMAGES = ("relation", "amplification")  # left out of a vocabulary unless asked for
ORDER = (  # in which tables stand on pages and in lists; others follow
    *("teacher", "mass", "profile", "modality", "calibration", "suppression", "magnitude", "value"),
    *("share", "confidence", "nckd", "amplification", "conflict", "relation", "discrepancy"),
    *("embedding", "direction", "agreement", "layers", "snr"),
    *("anatomy", "ambiguity", "cancellation", "uptake"),
)
ASKED = tuple(kind.noun for kind in PARTS)  # truncation: made of logits of both sides when named
ELSEWHERE = {  # tables that need more than a run: what gives them
    "sweep": "kdanalysis sweep, or kd.sweep_study",
    "losses": "kdanalysis compare --losses LOSS,LOSS, or kd.compare",
    "candidates": "kdanalysis diagnose, or kd.diagnose",
    "tokens": "kdanalysis diagnose, or kd.diagnose",
    "truncation_losses": "kdanalysis truncation --losses LOSS,LOSS, or kd.truncation_study",
}
LACKS = {
    "layers": "gradients at layers, which {path} lacks: record them with "
    'Recorder(keep=kd.Layers("logits", ...))',
    "regions": "region logits, which {path} lacks: record them with "
    "Recorder(keep=kd.Regions((1, 2, 4))) or train --record-regions",
    "features": "pooled features, which {path} lacks: train writes them beside validation logits, "
    "and a file of your own may hold teacher_features or student_features (n, d)",
}
NOISE = (
    "the variance of the gradients at layers, which {path} lacks: record it with "
    "kd.Layers(..., noise=True)"
)


class Run(StoredRun):
    """A run folder with its rows (see ``StoredRun``) and its tables."""

    @typed
    def table(self, name: str) -> pd.DataFrame:
        """Compute one table from all rows; an unknown name is answered with those there are.

        Raises:
            ValueError: no such table, or the run lacks a column that it needs.
        """
        return self.tables([name])[name]

    @typed
    def tables(
        self,
        names: Sequence[str] | None = None,
        device: torch.device | str = "cpu",
        watch: Watch = unwatched,
    ) -> dict[str, pd.DataFrame]:
        """Compute several tables in one pass over the rows of each kind; see :class:`Source`.

        Args:
            names: which tables; if not given all that the recorded columns allow, but those with a
                row for every pair of classes where there are more than 200. Of a run of kept
                classes what truncation loses and who pays are among them.
            device: where to compute.
            watch: wraps the batches, for a progress bar.

        Raises:
            ValueError: no such table, or the run lacks a column that it needs.
        """
        return tables_of(Source(self.path.name, None, self), names, device, watch)


def tables_of(
    source: Source,
    names: Sequence[str] | None = None,
    device: torch.device | str = "cpu",
    watch: Watch = unwatched,
    compared: tuple[float, int] | None = None,
) -> dict[str, pd.DataFrame]:
    """Compute tables of a source by their names; see :meth:`Run.tables`.

    Args:
        source: the rows.
        names: which tables; all that there can be if None.
        device: where to compute.
        watch: wraps the batches.
        compared: temperature and k of the losses compared; those of the run's loss if None.
    """
    if names is None:
        names = [name for name in table_names() if possible(source, name)]
        names += SHOWN if source.kept else ()
    analyzers = {name: analyzer(source, name, compared) for name in names}
    frames = compute(source, analyzers, device, watch)
    return {name: frames[name] for name in names}


def table_names() -> tuple[str, ...]:
    """Return the names of all tables that runs can have, those of other packages last."""
    known = load_nouns()
    of_runs = [n for n, k in known.items() if issubclass(k, Analyzer) and k.of_runs]
    return tuple(n for n in ORDER if n in of_runs) + tuple(n for n in of_runs if n not in ORDER)


def possible(source: Source, name: str) -> bool:
    """Whether a source has what a table needs, and not so many classes that it would be huge."""
    classes = source.info.num_classes
    if name in left_out_of(classes) or (name in BY_PAIR and classes > MOST_CLASSES):
        return False
    try:
        analyzer(source, name)
    except ValueError:
        return False
    return True


def embedding_of(source: Source, side: str) -> dict[str, Analyzer]:
    """Return the analyzer of one side's features by its noun; nothing where there can be none.

    Args:
        source: the logits beside which they stand.
        side: "teacher" or "student".
    """
    setting = source.setting("features")
    if side not in setting.features or not possible(source, "embedding"):
        return {}
    own = replace(setting, features={side: setting.features[side]})
    return {"embedding": find_noun("embedding", table_names()).for_setting(own)}


def embedding_fact(source: Source) -> str | None:
    """Return why features have no embedding; None where they have one, or there are none."""
    if source.features is None or possible(source, "embedding"):
        return None
    try:
        analyzer(source, "embedding")
    except ValueError as error:
        return str(error)


def left_out_of(classes: int) -> tuple[str, ...]:
    """Return the tables that are made of a vocabulary, if at all, only where they are named."""
    return (*BY_PAIR, *OF_IMAGES) if classes > VOCABULARY else ()


def announce_pairs(name: str, source: Source) -> None:
    """Say what a table with a number for every pair of classes takes, before it is allocated.

    Raises:
        ValueError: there are too many classes for it.
    """
    classes = source.info.num_classes
    if name not in BY_PAIR:
        return
    if classes > VOCABULARY:
        raise ValueError(
            f"table {name!r} of {source.path} would hold {grid(classes)} numbers, "
            f"{numeral(classes**2 * 8 / 1e9)} GB or more: beyond {VOCABULARY:,} classes ask for "
            f"'teacher' or 'mass', or cut the logits with kd.load_logits(..., vocabulary=)"
        )
    what = f"table {name!r} of {source.path} with {grid(classes)} pairs of classes"
    announce_memory(BY_PAIR[name] * classes**2, what, FEWER)


def analyzer(source: Source, name: str, compared: tuple[float, int] | None = None) -> Analyzer:
    """Make the analyzer of a table for a source.

    Raises:
        ValueError: no such table (the nearest name is offered), or the source lacks what it needs.
    """
    if name in ELSEWHERE:
        raise ValueError(f"the table {name!r} of {source.path} is made by {ELSEWHERE[name]}")
    kind = find_noun(name, (*table_names(), *ASKED), lambda: names_of(source))
    there = source.columns(kind.kind)
    if not there and kind.kind in LACKS:
        raise ValueError(f"table {name!r} needs {LACKS[kind.kind].format(path=source.path)}")
    if source.kept and kind.kind == "samples":
        return kept_analyzer(source, kind, compared)
    announce_pairs(name, source)
    made = _made(source, kind, compared)
    if made is None:
        raise ValueError(
            f"there is no table {name!r} of {source.path}: with {source.info.num_classes} classes "
            f"and scales {tuple(source.info.scales)} it would be empty"
        )
    if missing := sorted({*made.needs} - {*there}):
        if "covariance" in missing:
            raise ValueError(f"table {name!r} needs {NOISE.format(path=source.path)}")
        raise ValueError(
            f"table {name!r} needs the column {missing[0]!r}, which {source.path} lacks; "
            f"it has: {', '.join(there) or 'no rows at all'}"
        )
    return made


def names_of(source: Source) -> list[str]:
    """Return the names of the tables that a source has, those of truncation last."""
    asked = [kind.noun for kind in (KEPT if source.kept else PARTS)]
    both = source.kept or "student_logits" in source.columns()
    return [n for n in table_names() if possible(source, n)] + (asked if both else [])


def _made(source: Source, kind: type[Analyzer], compared: tuple[float, int] | None) -> Any:
    """Make an analyzer of all logits; of truncation at T = 1 and those of the run's loss."""
    if not issubclass(kind, Truncation):
        return kind.for_setting(source.setting(kind.kind, compared))
    classes, loss = source.info.num_classes, trained_loss(source.info)
    return kind(classes, [k for k in KS if k < classes], temperatures_of(loss))


@typed
def open_run(path: str | Path) -> Run:
    """Open a run folder; damaged parts are left out and listed in ``skipped``.

    Raises:
        FileNotFoundError: the folder is no run folder.
        ValueError: its run.json is damaged or from a newer version.
    """
    return Run(Path(path).expanduser())
