"""Tables of rows of which few classes were kept: the same ones, with losses that look at those."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import log

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from kdanalysis.analyzers.base import NO_LABEL, Analyzer
from kdanalysis.analyzers.terms.value import TermValue
from kdanalysis.analyzers.truncation.part import Looked, Truncation
from kdanalysis.core.truncation.kept import Kept, logs, rows_at
from kdanalysis.core.truncation.statistics import of_rows
from kdanalysis.losses import Loss
from kdanalysis.losses.kept import OverKept
from kdanalysis.store.info import RunInfo
from kdanalysis.studies.setting import common_settings
from kdanalysis.studies.source import Source

COLUMNS = (
    *("ids", "teacher_kept", "student_kept", "overlap", "facts", "products", "far", "shape"),
    "best",
)
FED = (*COLUMNS, "target", "step", "epoch")
TABLES = ("magnitude", "value", "share", "confidence", "conflict", "direction", "agreement")
LACKS = (
    "{path} keeps the teacher's {k} largest classes of every row and sums over the others at T = "
    "{temperatures}: it has the tables {tables}, and serves kdanalysis truncation; {what} looks at "
    "every class and needs a run of all logits"
)


class Bound:
    """A loss of the rows that are being fed; what it is called with is not looked at.

    Args:
        loss: over kept rows.
    """

    def __init__(self, loss: OverKept) -> None:
        self._loss = loss
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


def lacks(info: RunInfo, path: object, what: str) -> str:
    """Return the sentence that says what a run of kept classes cannot answer."""
    temperatures = ", ".join(f"{t:g}" for t in info.kept_temperatures)
    facts = {"k": info.kept, "temperatures": temperatures, "what": what}
    return LACKS.format(path=path, tables=", ".join(TABLES), **facts)


def kept_analyzer(
    source: Source, kind: type[Analyzer], compared: tuple[float, int] | None
) -> Analyzer:
    """Make the analyzer of a table for a run of kept classes.

    Losses are compared at the run's temperature where sums were kept there, else at the largest T
    of those; a trained loss that looks into the other classes is left out.

    Raises:
        ValueError: the table needs all logits.
    """
    info = source.info
    if kind.noun not in TABLES:
        raise ValueError(lacks(info, source.path, f"the table {kind.noun!r}"))
    temperature, k = compared or common_settings([info])
    if temperature not in info.kept_temperatures:
        temperature = info.kept_temperatures[-1]
    setting = source.setting("samples", (temperature, min(k, info.kept)))
    setting = replace(setting, trained=over_kept(setting.trained, info))
    return bind(kind.for_setting(setting), info)


def bind(analyzer: Analyzer, info: RunInfo) -> Analyzer:
    """Make an analyzer look at kept rows, and return it.

    Raises:
        ValueError: one of its losses looks into the other classes; an analyzer of truncation asks
            for a K or a T that was not kept.
    """
    losses = {
        name: Bound(OverKept(one, info.kept, info.kept_temperatures))
        for name, one in getattr(analyzer, "losses", {}).items()
    }
    if losses:
        analyzer.losses = losses
    if isinstance(analyzer, TermValue):
        first = next(iter(losses.values()))
        analyzer.shape_of = lambda student: first.rows[0].shape
    if isinstance(analyzer, Truncation):
        _check(analyzer, info)
    analyzer.of_kept = True
    return analyzer


def _check(analyzer: Truncation, info: RunInfo) -> None:
    """Refuse K and T that were not kept; which T are none of the user's choice."""
    kept = {"K": info.kept_ks, "T": info.kept_temperatures}
    asked = {"K": analyzer.ks, "T": analyzer.temperatures}
    for name, known in kept.items():
        if unknown := [x for x in asked[name] if x not in known]:
            told = ", ".join(f"{x:g}" for x in known)
            raise ValueError(
                f"{name} = {unknown[0]:g} cannot be looked at: the run keeps {info.kept} classes a "
                f"row, and what it needs of the others at {name} = {told}; keep all logits for more"
            )


def over_kept(losses: Mapping[str, Loss], info: RunInfo) -> dict[str, Loss]:
    """Return those of the losses that kept rows answer for."""
    found = {}
    for name, loss in losses.items():
        try:
            OverKept(loss, info.kept, info.kept_temperatures)
        except ValueError:
            continue
        found[name] = loss
    return found


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
        about = {n: torch.from_numpy(np.array(batch[n])) for n in ("target", "step", "epoch")}
        for one in analyzers:
            if isinstance(one, Truncation):
                one.accumulate(non_finite=(~kept.finite).sum())
                for part in (about["target"] >= 0, about["target"] < 0):
                    rows = kept.finite & part
                    _add_truncated(one, kept[rows], about["target"][rows], info)
            else:
                _add(one, kept, about)


def _add(one: Analyzer, kept: Kept, about: Mapping[str, Tensor]) -> None:
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
            _add_rows(one, kept[some], about["target"][some] if has_label else None, places)


def _add_rows(one: Analyzer, rows: Kept, label: Tensor | None, places: dict[str, Tensor]) -> None:
    """Add finite rows; the losses look at them, the rest at what stands for them."""
    slot = None if label is None else rows.slot(label)
    for loss in getattr(one, "losses", {}).values():
        loss.rows = rows, torch.zeros(len(rows), dtype=torch.long) if slot is None else slot
    teacher = teacher_view(rows)
    student = torch.zeros_like(teacher).scatter(-1, rows.slot(rows.best).unsqueeze(-1), 1.0)
    slot = torch.full((len(rows),), NO_LABEL) if slot is None and one.mixed else slot
    target = {} if slot is None else {"target": slot}
    one.update(student_logits=student, teacher_logits=teacher, **target, **places)


def teacher_view(rows: Kept) -> Float[Tensor, "n c"]:
    """Return the teacher's logits at T = 1, the others' mass shared by so many that none is first.

    The kept classes stand at their slots; ``Kept.slot`` of another class is that of an other one.
    There are as many columns as gradients have coordinates, or more.
    """
    place, temperature = 0, 1.0
    log_p, _ = logs(rows, place, temperature)
    rest = rows.facts[:, place, 0].log()
    count = max(int((rest - log_p[:, 0]).max().exp()) + 1, rows.products.shape[-1])
    others = (rest - log(count)).unsqueeze(-1).expand(-1, count)
    return torch.cat((log_p, others), -1)


def _add_truncated(one: Truncation, rows: Kept, target: Tensor, info: RunInfo) -> None:
    """Add finite rows at every temperature."""
    if not len(rows):
        return
    about = dict.fromkeys(one.takes) | {"target": target if (target >= 0).all() else None}
    first = None
    for place, temperature in enumerate(one.temperatures):
        kept = rows_at(rows, info.kept_temperatures.index(temperature), temperature, one.ks)
        found = of_rows(kept, one.ks, temperature)
        first = first or (kept, found)
        one.add_rows(Looked(place, kept, found, about, first))
