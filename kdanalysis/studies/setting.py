"""Which losses a run is looked at with: those it was trained with, or what they have in common."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kdanalysis.analyzers.setting import Setting
from kdanalysis.losses import (
    KD,
    SDD,
    Blockwise,
    CrossEntropy,
    LogitStandardized,
    Loss,
    Sum,
    restore_loss,
)
from kdanalysis.losses.kept import OverKept
from kdanalysis.store.info import RunInfo

DEFAULTS = (4.0, 5)  # temperature and k where no loss says any


def setting_of(
    info: RunInfo, compared: tuple[float, int] | None = None, **recorded: Any
) -> Setting:
    """Return the setting of a run.

    Args:
        info: what the run says of itself.
        compared: temperature and k of the losses compared; those of the run's loss if None.
        **recorded: steps, scales, layers and terms, as :class:`Setting` has them.
    """
    temperature, k = compared or common_settings([info])
    plain = Setting(info.num_classes, temperature=temperature, k=k)
    known = plain.decoupled | {"kd": plain.bare["kd"]}
    trained = distilled_with(info, known)
    return Setting(
        info.num_classes,
        temperature=temperature,
        k=k,
        trained=trained,
        used=used_names(info, known | trained),
        region_loss=region_loss_of(info),
        **recorded,
    )


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


def distilled_with(info: RunInfo, known: Mapping[str, Loss]) -> dict[str, Loss]:
    """Return the run's own distillation loss as "trained", without its cross-entropy.

    Empty where it is one of the known losses, or is on regions, whose logits a run does not hold.
    """
    parts = [part for part in parts_of(info) if not isinstance(part, CrossEntropy)]
    if not parts or Sum(*parts).scales or repr(parts) in {repr([one]) for one in known.values()}:
        return {}
    return {"trained": Sum(*parts)}


def compared_at(info: RunInfo, compared: tuple[float, int] | None = None) -> tuple[float, int]:
    """Return T and k of the losses compared on samples; of kept classes as far as those go.

    Args:
        info: of the run.
        compared: what is asked for; that of the run's loss if None.
    """
    return within_kept([info], compared or common_settings([info]))


def within_kept(infos: Sequence[RunInfo], compared: tuple[float, int]) -> tuple[float, int]:
    """Return the T and k asked for, as far as every run of kept classes answers for them.

    Where one of them kept no sums at the temperature it is the largest at which all did; k is no
    larger than the fewest classes kept.

    Args:
        infos: of the runs, also of those that keep all logits.
        compared: what is asked for.
    """
    temperature, k = compared
    known = kept_by_all(infos)
    at = temperature if not known or temperature in known else known[-1]
    return at, min([k, *(info.kept for info in infos if info.kept)])


def kept_by_all(infos: Sequence[RunInfo]) -> list[float]:
    """Return the temperatures at which all runs of kept classes have sums, T = 1 among them."""
    kept = [{*info.kept_temperatures} for info in infos if info.kept]
    return sorted(set.intersection(*kept)) if kept else []


def compared_fact(infos: Sequence[RunInfo], temperature: float | int | None = None) -> str | None:
    """Return T and k of the losses compared on kept classes, and why; None where all are kept.

    Args:
        infos: of the runs.
        temperature: asked for; that of the runs' losses if None.
    """
    if not any(info.kept for info in infos):
        return None
    wanted, size = common_settings(infos, temperature)
    at, k = within_kept(infos, (wanted, size))
    said = [f"KD, DKD and GDKD at T = {at:g} and k = {k}"]
    if wanted != at:
        said.append(
            f"not at T = {wanted:g}: sums over the other classes were kept at T = "
            f"{', '.join(f'{t:g}' for t in kept_by_all(infos))}"
        )
    if size != k:
        said.append(f"not at k = {size}: {k} classes were kept")
    return "; ".join(said)


def refusals(losses: Mapping[str, Loss], info: RunInfo) -> dict[str, str]:
    """Return which losses rows of kept classes do not answer for, by name, and why."""
    found = {}
    for name, loss in losses.items():
        try:
            OverKept(loss, info.kept, info.kept_temperatures)
        except ValueError as error:
            found[name] = str(error)
    return found


def of_samples(info: RunInfo) -> str | None:
    """Return where the loss that trained stands in the tables of samples; see ``trained_fact``."""
    setting = setting_of(info, compared_at(info))
    return trained_fact(info, setting.decoupled | {"kd": setting.bare["kd"]})


def trained_fact(info: RunInfo, compared: Mapping[str, Loss]) -> str | None:
    """Return where the loss that trained stands in the tables, or why not; None of a known one.

    Args:
        info: of the run.
        compared: the losses that every run is looked at with.
    """
    if not info.loss:
        return None
    loss, others = trained_loss(info), "KD, DKD and GDKD stand in the tables alone"
    if loss is None:
        return (
            f"{info.loss:.80} is not known here, so {others}: import the module that defines it, "
            f"a Loss that its repr makes again"
        )
    if loss.scales:
        return f"it is on regions, whose logits tables of samples do not hold, so {others}"
    distilled = distilled_with(info, compared)
    if not distilled:
        return None
    if info.kept and (why := refusals(distilled, info)):
        return f"{others}: {why['trained']}"
    return (
        "in value, magnitude, share, conflict and direction it is the row 'trained'; confidence "
        "and amplification are made of KD, DKD and GDKD alone"
    )


def used_names(info: RunInfo, known: Mapping[str, Loss]) -> tuple[str, ...]:
    """Return the names of the losses that a run was trained with: ce, one of the known, or none."""
    parts = parts_of(info)
    own = [repr(part) for part in parts if not isinstance(part, CrossEntropy)]
    given = {name: [repr(x) for x in getattr(one, "losses", [one])] for name, one in known.items()}
    plain = ["ce"] if len(own) < len(parts) else []
    return (*plain, *(name for name, reprs in given.items() if own and reprs == own))


def parts_of(info: RunInfo) -> list[Loss]:
    """Return the losses that a run's loss adds up, as far as they are known."""
    loss = trained_loss(info)
    return list(loss.losses) if isinstance(loss, Sum) else [loss] if loss is not None else []


def trained_loss(info: RunInfo) -> Loss | None:
    """Return the run's loss; None for a loss of the user's own, or none at all.

    Of a student and its stones it is the base loss, because a run holds the student's logits.
    """
    try:
        loss = restore_loss(info.loss)
        return loss.base if isinstance(loss, Blockwise) else loss
    except ValueError:
        return None


def region_loss_of(info: RunInfo) -> Loss:
    """Return the loss of a region: the base of the run's SDD, else KD at the run's temperature.

    So runs that do not distil regions show what SDD would have done to them.
    """
    base = _base(trained_loss(info))
    return KD(common_settings([info])[0]) if base is None else base


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


def _parts(loss: Loss | None) -> list[Loss]:
    if isinstance(loss, Sum):
        return [part for inner in loss.losses for part in _parts(inner)]
    if isinstance(loss, SDD):
        return _parts(loss.base)
    return [] if loss is None or isinstance(loss, LogitStandardized) else [loss]


def _base(loss: Loss | None) -> Loss | None:
    if isinstance(loss, SDD):
        return loss.base
    inner = loss.losses if isinstance(loss, Sum) else ()
    return next((base for one in inner if (base := _base(one)) is not None), None)
