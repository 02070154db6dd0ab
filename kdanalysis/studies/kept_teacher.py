"""The teacher of a run of kept classes, as a truncated one: exact at the temperatures kept."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from kdanalysis.analyzers.teacher.known import Exact
from kdanalysis.core.limits import announce_memory
from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.core.truncation.kept import SUMS, logs
from kdanalysis.store.info import RunInfo
from kdanalysis.studies.compute import Watch, unwatched
from kdanalysis.studies.kept_rows import COLUMNS, read_kept
from kdanalysis.studies.source import Source

ENTROPY = SUMS + 1  # where the facts of a temperature have the teacher's
LOGSUMEXP = SUMS + 2  # where the facts of a temperature have the teacher's
PLACE = 16  # bytes of a kept class: its id and its log-probability


def kept_teacher(
    batch: Mapping[str, np.ndarray], info: RunInfo, temperature: float = 1.0
) -> SparseTeacher:
    """Return the K largest of the teacher's classes, and the mass of all others, of some rows.

    The class that is kept beside the K largest is one of the others here. Every temperature kept
    has its logsumexp.

    Args:
        batch: columns of the kind "tokens", of finite rows.
        info: of the run.
        temperature: that of the log-probabilities, one of those kept.
    """
    kept, k = read_kept(batch, info), info.kept
    place = info.kept_temperatures.index(temperature)
    log_p, _ = logs(kept, place, temperature)
    outside = kept.facts[:, place, 0].log().logaddexp(log_p[:, k])
    sums = {t: kept.facts[:, i, LOGSUMEXP] for i, t in enumerate(info.kept_temperatures)}
    classes = info.num_classes
    made = SparseTeacher(kept.ids[:, :k], log_p[:, :k], outside, temperature, classes, sums)
    return made.replaced(_ranked=True)


def exact_of(batch: Mapping[str, np.ndarray], info: RunInfo) -> dict[float, Exact]:
    """Return what some rows say of the whole teacher, at every temperature kept.

    Args:
        batch: columns of the kind "tokens", of finite rows, and their targets.
        info: of the run.
    """
    kept, target = read_kept(batch, info), torch.from_numpy(batch["target"])
    slot, found = kept.slot(target).clamp(max=info.kept).unsqueeze(-1), {}
    for place, temperature in enumerate(info.kept_temperatures):
        label = logs(kept, place, temperature)[0].gather(-1, slot).squeeze(-1)
        entropy = kept.facts[:, place, ENTROPY]
        found[temperature] = Exact(entropy, label.masked_fill(target < 0, torch.nan))
    return found


def read_kept_teacher(
    source: Source, watch: Watch = unwatched
) -> tuple[SparseTeacher, Tensor, dict[float, Exact]]:
    """Read the teacher of all finite rows at T = 1, their labels (n,), and what is exact.

    Raises:
        ValueError: every row holds NaN or inf, there is none, or memory cannot hold them.
    """
    info, parts, targets, exact = source.info, [], [], []
    what = f"the teacher of {source.path}, {source.num_rows:,} rows of {info.kept:,} classes,"
    announce_memory(
        2 * PLACE * source.num_rows * info.kept,  # the batches and the whole of them
        what,
        "kdanalysis truncation reads the run in batches",
    )
    columns = [*COLUMNS, "target"]
    batches = source.batches("samples", columns, source.batch_size("samples"))
    for batch in watch(batches, source):
        finite = np.isfinite(batch["shape"]).all(-1)
        rows = {name: np.asarray(batch[name])[finite] for name in columns}
        if finite.any():
            parts.append(kept_teacher(rows, info))
            targets.append(torch.from_numpy(rows["target"]))
            exact.append(exact_of(rows, info))
    if not parts:
        raise ValueError(
            f"{source.path} has no row whose logits are all numbers: there is no teacher to look at"
        )
    whole = {
        t: Exact(*map(torch.cat, zip(*(part[t] for part in exact), strict=True))) for t in exact[0]
    }
    return _joined(parts), torch.cat(targets), whole


def _joined(parts: Sequence[SparseTeacher]) -> SparseTeacher:
    """Return the rows of all parts as one; of the same columns, which were checked."""
    first, tensors = parts[0], ("ids", "logprobs", "log_other")
    whole = {name: torch.cat([getattr(part, name) for part in parts]) for name in tensors}
    sums = {t: torch.cat([part.logsumexp[t] for part in parts]) for t in first.logsumexp}
    made = first.replaced(**whole, logsumexp=sums)
    made.found = {name: sum(part.found[name] for part in parts) for name in first.found}
    return made
