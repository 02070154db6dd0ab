"""sparsify: the most probable tokens of a dense file of logits, as a truncated teacher."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdanalysis.core.arguments import typed
from kdanalysis.core.limits import announce_disk
from kdanalysis.core.logits import as_tensor
from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.core.streams import check_temperatures, lost_to_masks, nothing_finite
from kdanalysis.store.sparse_writer import writing_sparse
from kdanalysis.studies.compute import Watch, look_at, unwatched
from kdanalysis.studies.kept_rows import COLUMNS
from kdanalysis.studies.kept_teacher import kept_teacher
from kdanalysis.studies.opening import BY_NAME, Given, open_source
from kdanalysis.studies.pairing import SHOWN
from kdanalysis.studies.source import Source

BESIDE = ("target", "sample_id", "step", "epoch")  # come along where the dense file has them
WIDE = 2**21  # entries of logits that are read together


@typed(advice={"source": BY_NAME})
def sparsify(
    source: Given,
    out: str | Path,
    k: int = 64,
    temperatures: Sequence[float | int] = (1.0,),
    watch: Watch = unwatched,
) -> Path:
    """Write the teacher's k largest log-probabilities, and the mass of all others, as Parquet.

    Columns ids (k int32), logprobs (k float64, at the first temperature), log_other, the log of the
    mass of the other classes there, logsumexp_T of the logits over every T (float64, nats), and
    the labels and ids of rows of the dense file. With them the teacher is exact at every T given.
    Memory is bounded by a batch.

    A run recorded with ``TopK`` serves too, for k and T that it keeps: its sums over the other
    classes hold the mass of all that are left out.

    Args:
        source: a file of logits, a run folder, what ``load_logits`` returned, or arrays by name.
        out: the file, which must not exist yet and ends in .parquet; it appears whole or not at
            all.
        k: tokens of a row, at most the number of classes.
        temperatures: every T > 0, that of the log-probabilities first.
        watch: wraps the batches, for a progress bar.

    Returns:
        ``out``.

    Raises:
        FileExistsError: ``out`` exists.
        FileNotFoundError: there is no such file of logits.
        ValueError: another suffix, a k or T out of range or not kept, a logit that is NaN or inf,
            or a disk without room.
    """
    out, ladder = Path(out), check_temperatures(temperatures)
    source = open_source(source, kept=True)
    classes = source.info.num_classes
    if source.kept:
        check_kept(k, ladder, source)
    check_request(out, k, classes, source)
    stated = {"vocabulary": classes, "T": ladder[0], "k": k}
    read = COLUMNS if source.kept else ("teacher_logits",)
    columns = [n for n in (*read, *BESIDE) if n in source.columns()]
    size = source.num_rows * (12 * k + 8 * (1 + len(ladder) + len({*BESIDE} & {*columns})))
    announce_disk(out, size, f"{source.name}: {source.num_rows:,} rows", "take a smaller k")
    rows = max(1, WIDE // classes)
    with writing_sparse(out, stated) as writer:
        done = 0
        for batch in watch(source.batches("samples", columns, rows), source):
            teacher = _teacher(batch, k, ladder, done, source)
            writer.write(dict(_columns(teacher, ladder, batch)))
            done += len(teacher)
    return out


def check_request(out: Path, k: int, classes: int, source: Source) -> None:
    """Refuse what cannot be written, before anything is read.

    Raises:
        FileExistsError, ValueError: as :func:`sparsify`.
    """
    if out.suffix != ".parquet":
        raise ValueError(f"a truncated teacher is written as Parquet: need a name that ends in "
                         f".parquet, got {out.name}")  # fmt: skip
    if out.exists():
        raise FileExistsError(f"{out} exists already: choose another name or remove it first")
    if not 0 < k <= classes:
        raise ValueError(
            f"k must lie within 1 and {classes}, the classes of {source.path}, got {k}"
        )


def check_kept(k: int, temperatures: Sequence[float], source: Source) -> None:
    """Refuse what a run of kept classes does not know exactly.

    Raises:
        ValueError: more classes than were kept, or a T at which no sums over the others were.
    """
    info = source.info
    if k > info.kept:
        raise ValueError(
            f"k = {k} is more than {source.path} keeps: the teacher's {info.kept} largest classes "
            f"of every row; take k up to {info.kept}"
        )
    if unknown := [t for t in temperatures if t not in info.kept_temperatures]:
        known = ", ".join(f"{t:g}" for t in info.kept_temperatures)
        raise ValueError(
            f"T = {unknown[0]:g} is not known of {source.path}: sums over the classes that are not "
            f"kept were made at T = {known}"
        )


def _teacher(
    batch: Any, k: int, temperatures: Sequence[float], done: int, source: Source
) -> SparseTeacher:
    """The k largest of a batch, whether all logits are there or a few classes of every row."""
    values = batch["shape"] if source.kept else look_at(batch, source.name)["teacher_logits"]
    if not (finite := np.isfinite(values).all(-1)).all():
        lost, why = f"row {done + int((~finite).nonzero()[0][0]):,}", ""
        if len(values) > 1 and not (source.kept or finite.any()):
            few = torch.from_numpy(values[:SHOWN].astype(np.float32))
            if len(values) == source.num_rows:
                raise ValueError(nothing_finite(source.path, few))
            lost = f"rows {done:,} to {done + len(values) - 1:,}"
            why = lost_to_masks(source.path, few)
        raise ValueError(
            f"{source.path} has NaN or inf in the logits of {lost}: a truncated teacher needs "
            f"the mass of every token{why or '; leave such rows out'}"
        )
    if source.kept:
        return kept_teacher(batch, source.info, temperatures[0]).top(k)
    return SparseTeacher.from_logits(as_tensor(values), k, temperatures)


def _columns(
    teacher: SparseTeacher, temperatures: Sequence[float], batch: Any
) -> Iterator[tuple[str, np.ndarray]]:
    """Columns of one batch, by name."""
    yield "ids", teacher.ids.int().numpy()
    yield "logprobs", teacher.logprobs.double().numpy()
    yield "log_other", teacher.log_other.numpy()
    for t in temperatures:
        yield f"logsumexp_{t:g}", teacher.logsumexp[t].numpy()
    for name in BESIDE:
        if name in batch:
            yield name, batch[name].astype(np.int64)
