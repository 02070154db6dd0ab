"""The tables of a run: which analyzer, over which losses, belongs to which name.

The losses compared are KD, DKD (1/8) and GDKD (1/1/8) at the temperature and k the run was trained
with (T 4 and k 5 where its loss has none), so that runs of different losses show the same
quantities; ``share`` and ``direction`` add the run's own distillation loss as "trained" where it
is another one.
``discrepancy`` looks at the last quarter of the captured steps, before which a student still moves.
Gradients follow from the stored logits in closed form, without the warm-up ramp.
"""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from kdanalysis.analyzers.base import Analyzer
from kdanalysis.analyzers.students.agreement import Agreement
from kdanalysis.analyzers.students.discrepancy import ClassDiscrepancy
from kdanalysis.analyzers.students.relation import NonTopRelation
from kdanalysis.analyzers.teacher.calibration import Calibration
from kdanalysis.analyzers.teacher.card import TeacherDistribution
from kdanalysis.analyzers.teacher.mass import TopKMass
from kdanalysis.analyzers.teacher.modality import Modality
from kdanalysis.analyzers.teacher.profile import ClassProfile
from kdanalysis.analyzers.teacher.suppression import Suppression
from kdanalysis.analyzers.terms.amplification import Amplification
from kdanalysis.analyzers.terms.confidence import ShareByConfidence
from kdanalysis.analyzers.terms.conflict import GradientConflict
from kdanalysis.analyzers.terms.direction import LossDirection
from kdanalysis.analyzers.terms.layers import LayerGradients
from kdanalysis.analyzers.terms.magnitude import TermMagnitude
from kdanalysis.analyzers.terms.nckd import NCKDByConfidence
from kdanalysis.analyzers.terms.share import TermShare
from kdanalysis.analyzers.terms.snr import SignalToNoise
from kdanalysis.core.partition import Target, TopK
from kdanalysis.losses import (
    DKD,
    GDKD,
    KD,
    SDD,
    Blockwise,
    CrossEntropy,
    KDParts,
    LogitStandardized,
    Loss,
    Sum,
    restore_loss,
)
from kdanalysis.store.grams import GramIndex
from kdanalysis.store.info import RunInfo

TABLES = (
    "teacher",
    "mass",
    "profile",
    "modality",
    "calibration",
    "suppression",
    "magnitude",
    "share",
    "confidence",
    "nckd",
    "amplification",
    "conflict",
    "relation",
    "discrepancy",
    "direction",
    "agreement",
)
LAYER_TABLES = ("layers", "snr")  # of what a run recorded at layers of the student
REGION_TABLES = ("anatomy", "ambiguity", "cancellation", "uptake")  # of its region logits
DEFAULTS = (4.0, 5)  # temperature and k where no loss says any


def analyzer(
    name: str,
    info: RunInfo,
    steps: Sequence[int],
    settings: tuple[float, int] | None = None,
) -> Analyzer:
    """Make the analyzer of a table.

    Args:
        name: one of ``TABLES``.
        info: the run.
        steps: its captured steps.
        settings: temperature and k of the losses compared; those of the run's loss if None.

    Raises:
        ValueError: no such table; the nearest name is offered.
    """
    if name not in TABLES:
        known = (*TABLES, *LAYER_TABLES, *REGION_TABLES)
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"no table {name!r}; {hint}there are: {', '.join(known)}")
    classes, steps = info.num_classes, [int(step) for step in steps]
    temperature, k = settings or trained_with(info)
    bare, inside, decoupled = compared(temperature, k)
    match name:
        case "teacher":
            return TeacherDistribution(classes)
        case "mass":
            return TopKMass(classes)
        case "profile":
            return ClassProfile(classes, temperature)
        case "modality":
            return Modality(classes)
        case "calibration":
            return Calibration(classes, temperature)
        case "suppression":
            return Suppression(classes, sorted({1.0, temperature}))
        case "nckd":
            return NCKDByConfidence(temperature)
        case "magnitude":
            return TermMagnitude(bare | {"kd parts": inside["kd"]}, steps)
        case "conflict":
            return GradientConflict(bare, steps)
        case "relation":
            return NonTopRelation(k, steps)
        case "discrepancy":
            return ClassDiscrepancy(classes, temperature, last_quarter(steps))
        case "share":
            return TermShare(inside | decoupled | distilled_with(info, decoupled))
        case "direction":
            known = {"kd": bare["kd"], **decoupled}
            own = distilled_with(info, decoupled)
            return LossDirection({**known, **own, "ce": bare["ce"]}, steps)
        case "agreement":
            return Agreement(steps)
        case "confidence":
            return ShareByConfidence(inside | decoupled)
        case _:
            return Amplification(decoupled)


def layer_analyzer(name: str, index: GramIndex, steps: Sequence[int]) -> Analyzer:
    """Make the analyzer of one of ``LAYER_TABLES``."""
    kind = LayerGradients if name == "layers" else SignalToNoise
    return kind(index.layers, index.terms, [int(step) for step in steps])


def last_quarter(steps: Sequence[int]) -> int:
    """Return the first step of the last quarter of the captured ones; 0 where there are none."""
    return steps[3 * len(steps) // 4] if steps else 0


def trained_with(info: RunInfo) -> tuple[float, int]:
    """Return temperature and k of the run's loss; 4 and 5 where it has none, k below c."""
    return common_settings([info])


def common_settings(
    infos: Iterable[RunInfo], temperature: float | int | None = None
) -> tuple[float, int]:
    """Return one temperature and one k for several runs: of each the first that a run states.

    4 and 5 where no run states any; k below the number of classes.

    Args:
        infos: the runs, of equal class counts.
        temperature: the one to take, if not a run's.
    """
    infos = list(infos)
    stated = [(temperature, None), *map(_stated, infos), DEFAULTS]
    temperature, k = (
        next(x for x in of_all if x is not None) for of_all in zip(*stated, strict=True)
    )
    return float(temperature), max(1, min(k, infos[0].num_classes - 1))


def _stated(info: RunInfo) -> tuple[float | None, int | None]:
    """Return temperature and k of the run's loss, None where it has none.

    Of several losses the last one counts. A temperature of standardised logits does not: it
    means nothing for the logits as they are.
    """
    temperature, k = None, None
    for loss in _parts(trained_loss(info)):
        temperature = temperature if loss.temperature is None else loss.temperature
        k = loss.k if isinstance(getattr(loss, "k", None), int) else k
    return temperature, k


def distilled_with(info: RunInfo, known: Mapping[str, Loss]) -> dict[str, Loss]:
    """Return the run's own distillation loss as "trained", without its cross-entropy.

    Empty where it has a single term, whose share is 1, is one of the known losses, or is on
    regions, whose logits a run does not hold.
    """
    loss = trained_loss(info)
    parts = list(loss.losses) if isinstance(loss, Sum) else [loss] if loss is not None else []
    parts = [part for part in parts if not isinstance(part, CrossEntropy)]
    if not parts or Sum(*parts).scales or repr(parts) in {repr([one]) for one in known.values()}:
        return {}
    own = Sum(*parts)
    return {"trained": own} if len(own.terms) > 1 else {}


def trained_loss(info: RunInfo) -> Loss | None:
    """Return the run's loss; None for a loss of the user's own, or none at all.

    Of a student and its stones it is the base loss, because a run holds the student's logits.
    """
    try:
        loss = restore_loss(info.loss)
        return loss.base if isinstance(loss, Blockwise) else loss
    except ValueError:
        return None


def compared(temperature: float, k: int) -> tuple[dict, dict, dict]:
    """Return bare terms of unit weight, the inside of plain KD, and the decoupled losses."""
    bare = {
        "ce": CrossEntropy(),
        "kd": KD(temperature),
        "dkd": DKD(1.0, 1.0, temperature),
        "gdkd": GDKD(k, (1.0, 1.0, 1.0), temperature),
    }
    decoupled = {"dkd": DKD(temperature=temperature), "gdkd": GDKD(k, temperature=temperature)}
    inside = {
        "kd": KDParts(TopK(k), temperature),
        "kd by target": KDParts(Target(), temperature, ("tckd", None, "nckd")),
    }
    return bare, inside, decoupled


def _parts(loss: Loss | None) -> list[Loss]:
    if isinstance(loss, Sum):
        return [part for inner in loss.losses for part in _parts(inner)]
    if isinstance(loss, SDD):
        return _parts(loss.base)
    return [] if loss is None or isinstance(loss, LogitStandardized) else [loss]
