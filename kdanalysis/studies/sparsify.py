"""sparsify: the most probable tokens of a dense file of logits, as a truncated teacher."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdanalysis.core.arguments import typed
from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.core.streams import check_temperatures
from kdanalysis.store.sparse_writer import writing_sparse
from kdanalysis.studies.compute import Watch, look_at, unwatched
from kdanalysis.studies.opening import Given, open_source
from kdanalysis.studies.source import Source

BESIDE = ("target", "sample_id", "step", "epoch")  # come along where the dense file has them
WIDE = 2**21  # entries of logits that are read together


@typed
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
        ValueError: another suffix, a k or T out of range, or a logit that is NaN or inf.
    """
    out, source, ladder = Path(out), open_source(source), check_temperatures(temperatures)
    classes = source.info.num_classes
    check_request(out, k, classes, source)
    stated = {"vocabulary": classes, "T": ladder[0], "k": k}
    columns = [n for n in ("teacher_logits", *BESIDE) if n in source.columns()]
    rows = max(1, WIDE // classes)
    with writing_sparse(out, stated) as writer:
        done = 0
        for batch in watch(source.batches("samples", columns, rows), source):
            writer.write(dict(_kept(look_at(batch), k, ladder, done, source)))
            done += len(batch["teacher_logits"])
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


def _kept(
    batch: Any, k: int, temperatures: Sequence[float], done: int, source: Source
) -> Iterator[tuple[str, np.ndarray]]:
    """Columns of one batch, by name."""
    logits = torch.from_numpy(batch["teacher_logits"])
    if not (finite := logits.isfinite().all(-1)).all():
        row = done + int((~finite).nonzero()[0])
        raise ValueError(
            f"{source.path} has NaN or inf in the logits of row {row:,}: a truncated teacher needs "
            "the mass of every token; leave such rows out"
        )
    teacher = SparseTeacher.from_logits(logits, k, temperatures)
    yield "ids", teacher.ids.numpy()
    yield "logprobs", teacher.logprobs.numpy()
    yield "log_other", teacher.log_other.numpy()
    for t, sums in (teacher.logsumexp or {}).items():
        yield f"logsumexp_{t:g}", sums.numpy()
    for name in BESIDE:
        if name in batch:
            yield name, batch[name].astype(np.int64)
