"""Tables of rows of which few classes were kept: the same ones, with losses that look at those."""

from dataclasses import replace

from kdanalysis.analyzers.base import Analyzer
from kdanalysis.analyzers.terms.value import TermValue
from kdanalysis.analyzers.truncation.part import KS, Truncation
from kdanalysis.analyzers.truncation.together import KEPT
from kdanalysis.losses.kept import OverKept
from kdanalysis.store.info import RunInfo
from kdanalysis.studies.kept_rows import Bound
from kdanalysis.studies.setting import refusals
from kdanalysis.studies.source import Source

TABLES = ("magnitude", "value", "share", "confidence", "conflict", "direction", "agreement")
SHOWN = ("truncation", "truncation_payers")  # on a run's page; the command has all of truncation
LACKS = (
    "{path} keeps the teacher's {k} largest classes of every row and sums over the others at T = "
    "{temperatures}: it has the tables {tables}, and serves kdanalysis report, compare, "
    "truncation, diagnose and sparsify; {what} looks at every class and needs a run of all logits"
)


def lacks(info: RunInfo, path: object, what: str) -> str:
    """Return the sentence that says what a run of kept classes cannot answer."""
    temperatures = ", ".join(f"{t:g}" for t in info.kept_temperatures)
    facts = {"k": info.kept, "temperatures": temperatures, "what": what}
    return LACKS.format(path=path, tables=", ".join(TABLES), **facts)


def kept_analyzer(
    source: Source, kind: type[Analyzer], compared: tuple[float, int] | None
) -> Analyzer:
    """Make the analyzer of a table for a run of kept classes.

    A trained loss that looks into the other classes is left out.

    Raises:
        ValueError: the table needs all logits.
    """
    info = source.info
    if kind in KEPT:
        return bind(kind(info.num_classes, ks_of(info), info.kept_temperatures), info)
    if kind.noun not in TABLES:
        raise ValueError(lacks(info, source.path, f"the table {kind.noun!r}"))
    setting = source.setting("samples", compared)
    lost = refusals(setting.trained, info)
    trained = {name: one for name, one in setting.trained.items() if name not in lost}
    used = tuple(name for name in setting.used if name not in lost)
    return bind(kind.for_setting(replace(setting, trained=trained, used=used)), info)


def ks_of(info: RunInfo) -> list[int]:
    """Return the K at which truncation is looked at: the usual ones that were kept, and K."""
    return sorted({*KS} & {*info.kept_ks} | {info.kept})


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
        analyzer.losses, analyzer.num_classes = losses, None  # rows are as wide as they need be
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
                f"{name} = {unknown[0]:g} cannot be looked at: {info.kept} classes a row were kept "
                f"and sums over the others for {name} = {told}; take one of these, or record all "
                f"logits"
            )
