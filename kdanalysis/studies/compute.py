"""The one loop: choose analyzers, read the columns they need in batches, feed them, make tables."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer
from kdanalysis.core.compiled import expecting
from kdanalysis.core.device import as_device
from kdanalysis.core.garbage import keep_freed_memory
from kdanalysis.core.largest import sorted_once
from kdanalysis.core.limits import announce_memory
from kdanalysis.core.logits import as_tensor, check_logits
from kdanalysis.core.ranks import RANKS
from kdanalysis.core.streams import single
from kdanalysis.studies.kept_rows import FED, feed_kept
from kdanalysis.studies.pairing import INSTEAD, looked_at, refuse_masked
from kdanalysis.studies.source import Source

MANY = 1e7  # logits, which take more than a second to look at
TOGETHER = 16  # batches at once, where no analyzer does more than count
COPIES = 16  # bytes of a logit of a batch that are alive at a time
FEWER = "cut the classes with kd.load_logits(..., vocabulary=)"

Batches = Iterable[Mapping[str, np.ndarray]]
Watch = Callable[[Batches, Source], Batches]


def unwatched(batches: Batches, source: Source) -> Batches:
    """Return the batches as they are."""
    return batches


def compute(
    source: Source,
    analyzers: Mapping[str, Analyzer],
    device: torch.device | str = "cpu",
    watch: Watch = unwatched,
    batch_size: int | None = None,
) -> dict[str, pd.DataFrame]:
    """Read a source once for each kind of rows, and return the tables that its columns allow.

    Under several ranks each reads its share of the rows, the first one all rows of kinds that are
    not shared, and all have the tables of all rows; in one process the share is every row. Rows
    without a label are counted in ``source.unlabelled``, those with a distribution, where that was
    read, in ``source.soft`` too. A RuntimeWarning says where rows, or classes, of two sides seem
    not to belong together.

    Args:
        source: where the columns come from.
        analyzers: by name; one that needs a column which is not there is left out.
        device: where to compute.
        watch: wraps the batches of a source, for a progress bar.
        batch_size: rows in a batch; some copies of it are alive at a time.

    Raises:
        ValueError: a side holds probabilities instead of logits, every row has -inf and none NaN
            or +inf, there is no such device, sums and a batch exceed this machine's memory, or as
            an analyzer.
    """
    device = as_device(device)
    able = {name: one for name, one in analyzers.items() if can(source, one)}
    for kind in dict.fromkeys(one.kind for one in able.values()):
        group = [one for one in able.values() if one.kind == kind]
        wanted = {name for one in group for name in (*one.needs, *one.takes)}
        kept = kind == "samples" and source.kept
        wanted = {*FED} if kept else wanted
        columns = [name for name in source.columns(kind) if name in wanted]
        times = TOGETHER if all(one.counting for one in group) else 1
        size = batch_size or source.batch_size(kind, device.type, times)
        unlabelled, share = Unlabelled(), source.share(kind)
        if kind == "samples":
            announce(source, group, size, share)
        there = source.batches(kind, columns, size, share) if share or RANKS.first else ()
        batches = unlabelled.counting(there)
        if kind == "samples":
            batches = (look_at(b, source.name) for b in looked_at(batches, columns, source))
        if kept:
            feed_kept(watch(batches, source), group, source.info)
        else:
            with expecting(source.num_rows * source.width):
                feed(watch(batches, source), group, device)
        RANKS.unite([*group, unlabelled.to(device)], source.num_rows)
        if kind == "samples":
            source.unlabelled, source.soft = map(int, unlabelled.rows)
            refuse_masked(source, group)
    return {name: one.table() for name, one in able.items()}


def announce(source: Source, analyzers: Iterable[Analyzer], size: int, share: range | None) -> None:
    """Say how many rows of samples will be read, and with how much memory, where either is much.

    Args:
        source: of the rows.
        analyzers: whose sums stay.
        size: rows of a batch.
        share: which rows this process reads; all if None.

    Raises:
        ValueError: sums and a batch exceed this machine's memory.
    """
    rows, classes = source.num_rows if share is None else len(share), source.width
    batch = COPIES * min(size, rows) * classes
    sums = sum(state.nbytes for one in analyzers for state in one.states.values())
    kept = "kept " if source.kept else ""
    what = f"{source.name}: {rows:,} rows of {classes:,} {kept}classes, read {size:,} at a time,"
    much = rows * classes >= MANY
    announce_memory(batch + sums, what, FEWER, much)


def can(source: Source, analyzer: Analyzer) -> bool:
    """Whether a source has the columns that an analyzer needs, or kept classes that it looks at."""
    if analyzer.kind == "samples" and source.kept:
        return getattr(analyzer, "of_kept", False)
    return {*analyzer.needs} <= {*source.columns(analyzer.kind)}


class Unlabelled:
    """Counts rows without a label, a target below 0, and those with one over the classes."""

    def __init__(self) -> None:
        self.rows = torch.zeros(2, dtype=torch.float64)

    @property
    def states(self) -> dict[str, Tensor]:
        """The count, for the ranks to add up."""
        return {"rows": self.rows}

    def to(self, device: torch.device | str) -> "Unlabelled":
        """Move the count to a device, and return this."""
        self.rows = self.rows.to(device)
        return self

    def counting(self, batches: Batches) -> Batches:
        """Yield the batches."""
        for batch in batches:
            without = np.atleast_1d(batch.get("target", 0)) < 0
            soft = without & ~np.isnan(batch.get("soft_target", np.full((1, 1), np.nan))[:, 0])
            self.rows += torch.tensor([without.sum(), soft.sum()]).to(self.rows)
            yield batch


def feed(
    batches: Batches,
    analyzers: Iterable[Analyzer],
    device: torch.device | str = "cpu",
) -> None:
    """Give every analyzer the columns it declares, batch by batch.

    Rows without a label go only to those that need none, and come without a target; to those that
    take rows of every sort together, with -1.

    Args:
        batches: numpy columns by name, as the store reads them.
        analyzers: each gets the columns it takes; its sums stay on ``device``.
        device: where to compute.

    Raises:
        KeyError: a needed column is missing from a batch.
    """
    keep_freed_memory()
    analyzers = [one.to(device) for one in analyzers]
    names = {name for one in analyzers for name in (*one.needs, *one.takes)}
    made = (lambda x: x) if all(one.counting for one in analyzers) else single
    for batch in batches:
        columns = {
            name: made(as_tensor(batch[name]).to(device)) for name in sorted(names & batch.keys())
        }
        with sorted_once():
            _show(columns, analyzers)


def _show(columns: dict[str, Tensor], analyzers: Iterable[Analyzer]) -> None:
    parts = by_label(columns)
    for one in analyzers:
        if absent := [name for name in one.needs if name not in columns]:
            raise KeyError(f"{type(one).__name__} needs the column {absent[0]!r}")
        asks = "target" in (*one.needs, *one.takes) and not one.mixed
        for part in parts if asks else [columns]:
            if {*one.needs} <= part.keys():
                more = {n: part[n] for n in one.takes if n in part and n not in one.needs}
                one.update(*(part[name] for name in one.needs), **more)


def by_label(columns: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return the rows that have a label, then the others without a target; what is empty not."""
    there = columns["target"] >= 0 if "target" in columns else None
    if there is None or there.all():
        return [columns]
    without = {name: rows[~there] for name, rows in columns.items() if name != "target"}
    labelled = {name: rows[there] for name, rows in columns.items()}
    return [labelled, without] if there.any() else [without]


def look_at(batch: Mapping[str, np.ndarray], of: str) -> Mapping[str, np.ndarray]:
    """Return the batch; a ValueError where a side's rows are probabilities instead of logits.

    Args:
        batch: columns by name.
        of: the file or run, as the message names it.
    """
    for name in sorted({"teacher_logits", "student_logits"} & batch.keys()):
        logits = as_tensor(batch[name])
        check_logits(f"{of}: {name}", logits, INSTEAD)
    return batch


def joined(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the tables as one, with a first column ``run`` where there are several."""
    if len(tables) == 1:
        return next(iter(tables.values()))
    frame = pd.concat(tables, names=["run"]).reset_index("run")
    return frame.reset_index(drop=True)


def by_noun(
    tables: Mapping[str, Mapping[str, pd.DataFrame]], nouns: Sequence[str] | None = None
) -> dict[str, dict[str, pd.DataFrame]]:
    """Turn tables by run and noun into tables by noun and run; a noun without any is left out.

    Args:
        tables: by run, then by noun.
        nouns: which, in order; all if not given.
    """
    nouns = nouns or dict.fromkeys(noun for of_run in tables.values() for noun in of_run)
    found = {
        noun: {run: of_run[noun] for run, of_run in tables.items() if noun in of_run}
        for noun in nouns
    }
    return {noun: of_noun for noun, of_noun in found.items() if of_noun}


def without_label(source: Source) -> str:
    """Return how many rows have no label, as a clause for a title; nothing where all have one."""
    words = {
        "without a label, left out where one is needed": source.unlabelled - source.soft,
        "with a target over several classes, left out where one label is needed": source.soft,
    }
    return "".join(f", {count:,} of them {what}" for what, count in words.items() if count)


def left_out(table: pd.DataFrame) -> str:
    """Return how many samples had NaN or inf, as a clause for a title; nothing where none had."""
    count = int(table.non_finite.max())
    return f", {count:,} of them with NaN or inf and left out" if count else ""
