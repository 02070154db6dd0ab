"""Rows of which few classes were kept, as analyzers are fed with them."""

from collections.abc import Iterable, Mapping
from math import log

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from kdanalysis.analyzers.base import NO_LABEL, Analyzer
from kdanalysis.analyzers.truncation.part import Looked, Truncation
from kdanalysis.core.truncation.kept import Kept, logs, rows_at
from kdanalysis.core.truncation.statistics import of_rows
from kdanalysis.losses.kept import OverKept
from kdanalysis.store.info import RunInfo

COLUMNS = (
    *("ids", "teacher_kept", "student_kept", "overlap", "facts", "products", "far", "shape"),
    "best",
)
ABOUT = ("target", "step", "epoch", "position")
FED = (*COLUMNS, *ABOUT)


class Bound:
    """A loss of the rows that are being fed; what it is called with is not looked at.

    Args:
        loss: over kept rows.
    """

    def __init__(self, loss: OverKept) -> None:
        self._loss, self.terms = loss, tuple(loss.terms)
        self.rows: tuple[Kept, Int[Tensor, " n"]]

    def __getattr__(self, name: str) -> object:
        return getattr(self._loss, name)

    def __call__(self, student: object, teacher: object, target: object) -> dict[str, Tensor]:
        """Return the terms of the rows."""
        return self._loss.values(*self.rows)

    def gradients(
        self, student: Tensor, teacher: object, target: object, ramp: float | int = 1.0
    ) -> dict[str, Tensor]:
        """Return their gradients, with zeros to the width of what stands for the logits."""
        found = self._loss.gradients(*self.rows)
        return {n: pad(one, (0, student.shape[1] - one.shape[1])) for n, one in found.items()}


def read_kept(batch: Mapping[str, np.ndarray], info: RunInfo) -> Kept:
    """Return the rows of a batch of columns of the kind "tokens"."""
    count, temperatures = len(batch["ids"]), len(info.kept_temperatures)
    size = 2 * temperatures
    columns = {name: torch.from_numpy(np.array(batch[name])) for name in COLUMNS}
    products = torch.empty(count, size, size, dtype=torch.float64)
    row, column = torch.triu_indices(size, size)
    products[:, row, column] = products[:, column, row] = columns["products"]
    return Kept(
        columns["ids"].long(),
        columns["teacher_kept"].double(),
        columns["student_kept"].double(),
        columns["overlap"].double(),
        columns["facts"],
        products,
        columns["far"].double().view(count, temperatures, len(info.kept_ks), 2),
        columns["shape"],
        columns["best"],
    )


def feed_kept(
    batches: Iterable[Mapping[str, np.ndarray]], analyzers: Iterable[Analyzer], info: RunInfo
) -> None:
    """Give every analyzer the rows, on the processor; rows without a label only where none is used.

    Args:
        batches: columns of the kind "tokens".
        analyzers: as ``bind`` gives them, or of truncation.
        info: of the run.

    Raises:
        ValueError: an analyzer of truncation asks for a K or a T that was not kept.
    """
    analyzers = list(analyzers)
    for batch in batches:
        kept = read_kept(batch, info)
        about = {n: torch.from_numpy(np.array(batch[n])) for n in ABOUT if n in batch}
        for one in analyzers:
            if isinstance(one, Truncation):
                one.accumulate(non_finite=(~kept.finite).sum())
                for part in (about["target"] >= 0, about["target"] < 0):
                    rows = kept.finite & part
                    some = {name: column[rows] for name, column in about.items()}
                    _add_truncated(one, kept[rows], some, info)
            else:
                _add(one, kept, about, info.kept_temperatures.index(1.0))


def _add(one: Analyzer, kept: Kept, about: Mapping[str, Tensor], plain: int) -> None:
    """Add the rows with a label, then the others, as they are fed with all logits."""
    labelled = about["target"] >= 0
    asks = "target" in (*one.needs, *one.takes)
    parts = {True: labelled, False: ~labelled} if asks else {False: torch.ones_like(labelled)}
    for has_label, part in parts.items():
        if not part.any() or ("target" in one.needs and not (has_label or one.mixed)):
            continue
        one.accumulate(non_finite=(part & ~kept.finite).sum())
        some = part & kept.finite
        if some.any():
            places = {n: about[n][some] for n in ("step", "epoch") if n in one.takes}
            label = about["target"][some] if has_label else None
            _add_rows(one, kept[some], teacher_view(kept[some], plain), label, places)


def _add_rows(
    one: Analyzer,
    rows: Kept,
    teacher: Tensor,
    label: Tensor | None,
    places: dict[str, Tensor],
) -> None:
    """Add finite rows; the losses look at them, the rest at what stands for them."""
    slot = None if label is None else rows.slot(label)
    for loss in getattr(one, "losses", {}).values():
        loss.rows = rows, torch.zeros(len(rows), dtype=torch.long) if slot is None else slot
    student = torch.zeros_like(teacher).scatter(-1, rows.slot(rows.best).unsqueeze(-1), 1.0)
    slot = torch.full((len(rows),), NO_LABEL) if slot is None and one.mixed else slot
    target = {} if slot is None else {"target": slot}
    one.update(student_logits=student, teacher_logits=teacher, **target, **places)


def teacher_view(rows: Kept, plain: int) -> Float[Tensor, "n c"]:
    """Return the teacher's logits at T = 1, the others' mass shared by so many that none is first.

    The kept classes stand at their slots; ``Kept.slot`` of another class is that of an other one.
    There are as many columns as gradients have coordinates, or more.

    Args:
        rows: finite.
        plain: place of T = 1 among the temperatures kept.
    """
    log_p, _ = logs(rows, plain, 1.0)
    rest = rows.facts[:, plain, 0].log()
    count = max(int((rest - log_p[:, 0]).max().exp()) + 1, rows.products.shape[-1])
    others = (rest - log(count)).unsqueeze(-1).expand(-1, count)
    return torch.cat((log_p, others), -1)


def _add_truncated(one: Truncation, rows: Kept, known: Mapping[str, Tensor], info: RunInfo) -> None:
    """Add finite rows at every temperature."""
    if not len(rows):
        return
    about: dict[str, Tensor | None] = {name: known.get(name) for name in one.takes}
    if (known["target"] < 0).any():
        about["target"] = None
    first = None
    for place, temperature in enumerate(one.temperatures):
        kept = rows_at(rows, info.kept_temperatures.index(temperature), temperature, one.ks)
        found = of_rows(kept, one.ks, temperature)
        first = first or (kept, found)
        one.add_rows(Looked(place, kept, found, about, first))
