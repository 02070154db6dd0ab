"""How far each loss steps, and the factors that make all step as far as the first."""

from collections.abc import Callable, Mapping

import pandas as pd

from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.terms.direction_reading import against_first
from kdanalysis.analyzers.terms.magnitude import TermMagnitude
from kdanalysis.core.wording import TIMES, numeral
from kdanalysis.losses import Loss

Tables = Mapping[str, pd.DataFrame]
NORMS = ("mean", "std", "q25", "median", "q75")


def matching_weights(table: pd.DataFrame) -> dict[str, float]:
    """Return the factor on each loss that brings its mean gradient norm to that of the first.

    Args:
        table: as ``LossDirection.table`` gives it.

    Raises:
        ValueError: a loss has no gradient on these logits.
    """
    rows = against_first(table)
    for row in rows.itertuples():
        for name, norm in ((row.loss_a, row.norm_a), (row.loss_b, row.norm_b)):
            if not norm > 0:
                raise ValueError(
                    f"the loss {name!r} has no gradient on these logits, so that no factor "
                    f"matches its norm with another's"
                )
    weights = {row.loss_b: 1 / row.multiplier for row in rows.itertuples()}
    return {rows.loss_a.iloc[0]: 1.0, **weights}


def at_matched_norm(tables: Tables, owners: Mapping[str, str]) -> dict[str, pd.DataFrame]:
    """Return the tables with the terms' norms of every loss times its matching weight.

    ``magnitude`` has a column ``weight`` more, and the norms as the loss weighs them beside, in
    ``raw_mean`` and so on. Shares and cosines do not depend on it.

    Args:
        tables: by noun.
        owners: of names in ``magnitude`` that are parts of a loss, the loss.
    """
    weights = matching_weights(tables["direction"])
    weight = tables["magnitude"].loss.replace(owners).map(weights)
    raw = {name: tables["magnitude"][name] for name in NORMS}
    scaled = {name: norm * weight for name, norm in raw.items()}
    beside = {f"raw_{name}": norm for name, norm in raw.items()}
    matched = tables["magnitude"].assign(**scaled, weight=weight, **beside)
    return {**tables, "magnitude": matched}


def summary(tables: Tables, losses: Mapping[str, Loss], match: bool = False) -> pd.DataFrame:
    """Return one row a loss: its norm, how it lies to the first, and what it is.

    Args:
        tables: by noun.
        losses: by label.
        match: add the column ``weight`` that matches the norm of the first.
    """
    rows = against_first(tables["direction"])
    itself = {"norm": rows.norm_a.iloc[0], "multiplier": 1.0, "cosine": 1.0, "cosine_batch": 1.0}
    others = rows.rename(columns={"norm_b": "norm"})[[*itself, "conflict"]]
    frame = pd.concat([pd.DataFrame([itself | {"conflict": 0.0}]), others], ignore_index=True)
    frame.insert(0, "loss", list(losses))
    if match:
        frame["weight"] = list(matching_weights(tables["direction"]).values())
    return frame.assign(definition=[repr(loss) for loss in losses.values()])


def matching_sentence(frame: pd.DataFrame) -> str:
    """Say which factor makes each loss step as far as the first; of the summary with weights."""
    first, *others = frame.itertuples()
    factors = ", ".join(f"{row.loss} {TIMES} {numeral(row.weight)}" for row in others)
    return f"To step as far as {first.loss}, at equal mean norms: {factors}."


def matched_reading(first: str, read: Callable[..., Reading]) -> Callable[..., Reading]:
    """Return the reading of magnitude that says which norm all losses were brought to.

    Args:
        first: the loss whose norm it is.
        read: gives what ``TermMagnitude.reading``, its first argument, says of a table.
    """

    def reading(table: pd.DataFrame, names: object = None) -> Reading:
        said = read(TermMagnitude.reading, table, names)
        where = f"These norms are with every loss brought to the mean norm of {first}."
        return Reading(f"{where} {said.sentence}", said.number)

    return reading


def unequal_temperatures(losses: Mapping[str, Loss]) -> str | None:
    """Say which losses are at which temperature; None where all are at one."""
    at: dict[float, list[str]] = {}
    for name, loss in losses.items():
        if loss.temperature is not None:
            at.setdefault(loss.temperature, []).append(name)
    if len(at) < 2:
        return None
    told = "; ".join(f"T = {t:g} of {', '.join(names)}" for t, names in at.items())
    return (
        f"not the same, {told}, which turns gradients and changes their length by itself: "
        f"--temperature, or temperature=, is that of every loss that names none"
    )
