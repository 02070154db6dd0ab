"""What a truncated teacher says of itself: the mass of its tokens, its tail, bounds on its entropy.

Rows that hold more than tokens may say the entropy itself. Else, with m the mass outside the K
known tokens of a vocabulary of V, and b a bound on every probability there, it is that of the known
ones, -sum p log p, and of the others m log(1/b) at least and m log((V - K) / m) at most.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.special import entr

from kdanalysis.analyzers.noun import Noun, Reading
from kdanalysis.analyzers.teacher.reliability import calibration_error, sums_by_confidence
from kdanalysis.core.bins import QUARTILES
from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.core.wording import UNKNOWN, numeral, percent
from kdanalysis.draw.axes import k_axis
from kdanalysis.draw.colours import ladder_colours
from kdanalysis.draw.look import PAGE, Axes, new_axes, side_legend
from kdanalysis.draw.marks import banded_line
from kdanalysis.draw.tables import require

MOST_K = 100  # rows of the table a temperature


class KnownTokens(Noun):
    """Quantities a temperature; made by ``known_card``."""

    noun, title = "known", "What is known of the teacher"


class KnownMass(Noun):
    """Mass of the most probable known tokens; made by ``known_mass``."""

    noun, title = "known_mass", "Mass of the known tokens"


class Exact(NamedTuple):
    """What rows say of the whole teacher at a temperature, in nats."""

    entropy: Float[Tensor, " n"]
    label: Float[Tensor, " n"]  # log of the label's probability; NaN where there is no label


def known_card(
    ladder: Sequence[SparseTeacher],
    target: Int[Tensor, " n"] | None,
    exact: Mapping[float, Exact] | None = None,
) -> pd.DataFrame:
    """Return columns quantity, temperature, value; means over the rows.

    - ``n``: rows. ``tokens``: known tokens of a row. ``confidence``: the largest probability.
    - ``tail``: mass outside the known tokens; ``tail_largest`` that of the worst row.
    - ``entropy``, nats, where the rows say it; else ``entropy_low`` and ``entropy_high``, bounds,
      of which the upper one is NaN without a vocabulary.

    And of the rows that have a label (``labelled``, a target from 0 on):

    - ``label_known``: share whose label is among the tokens.
    - ``accuracy``: share whose label is the most probable token. ``ece_15``: expected calibration
      error over 15 bins of confidence.
    - ``nll``: mean of -log p_label, nats, where the rows say it; else ``nll_low``, a bound from
      below, as p of a label that is not known is not above that of a known one, nor the tail.

    Args:
        ladder: the teacher at every temperature, its tail known.
        target: labels (n,), below 0 where there is none.
        exact: what is known of the whole teacher, by temperature.
    """
    rows = []
    for teacher in ladder:
        whole = (exact or {}).get(teacher.temperature)
        values = _free(teacher)
        values |= _entropy_bounds(teacher) if whole is None else {"entropy": whole.entropy.mean()}
        if target is not None and (chosen := target >= 0).any():
            values |= _labelled(teacher[chosen], target[chosen])
            label = _label_bound(teacher, target) if whole is None else whole.label
            values["nll_low" if whole is None else "nll"] = -label[chosen].mean()
        rows += [(name, teacher.temperature, float(value)) for name, value in values.items()]
    return pd.DataFrame(rows, columns=["quantity", "temperature", "value"])


def _free(teacher: SparseTeacher) -> dict[str, int | Tensor]:
    mass = teacher.tail().exp()
    return {
        "n": len(teacher),
        "tokens": teacher.present.sum(-1).double().mean(),
        "confidence": teacher.inside().amax(-1).exp().mean(),
        "tail": mass.mean(),
        "tail_largest": mass.max(),
    }


def _entropy_bounds(teacher: SparseTeacher) -> dict[str, int | Tensor]:
    tail, own = teacher.tail(), entr(teacher.inside().exp()).sum(-1)
    mass = tail.exp()
    low = own - mass * torch.where(mass > 0, bound_outside(teacher), 0.0)
    most = torch.full_like(low, torch.nan)
    if teacher.vocabulary is not None:
        places = (teacher.vocabulary - teacher.present.sum(-1)).clamp(min=1).double().log()
        most = own + torch.where(mass > 0, mass * (places - tail), 0.0)
    return {"entropy_low": low.mean(), "entropy_high": most.mean()}


def bound_outside(teacher: SparseTeacher) -> Float[Tensor, " n"]:
    """Log of what no unknown token's probability exceeds.

    That is the tail, and the second smallest of the known ones: one token, which was sampled, may
    stand among the K largest although it is none of them.
    """
    ordered, known = teacher.inside().sort(-1, descending=True).values, teacher.present.sum(-1)
    second = ordered.gather(-1, (known - 2).clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return torch.where(known > 1, torch.minimum(second, teacher.tail()), teacher.tail())


def _label_bound(teacher: SparseTeacher, target: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Log of what the label's probability does not exceed, which it is where it is known."""
    is_label = teacher.ids == target.unsqueeze(-1)
    log_p = teacher.inside().masked_fill(~is_label, -torch.inf).amax(-1)
    return torch.where(is_label.any(-1), log_p, bound_outside(teacher))


def _labelled(teacher: SparseTeacher, target: Int[Tensor, " n"]) -> dict[str, int | Tensor]:
    is_label = teacher.ids == target.unsqueeze(-1)
    confidence, first = teacher.inside().max(-1)
    correct = is_label.gather(-1, first.unsqueeze(-1)).squeeze(-1)
    return {
        "labelled": len(target),
        "label_known": is_label.any(-1).double().mean(),
        "accuracy": correct.double().mean(),
        "ece_15": _error(confidence.exp(), correct),
    }


def _error(confidence: Float[Tensor, " n"], correct: Bool[Tensor, " n"]) -> Tensor:
    bins = sums_by_confidence(confidence.unsqueeze(0), correct)
    return calibration_error(bins["confidence"], bins["correct"], bins["count"].sum(-1))


def known_mass(ladder: Sequence[SparseTeacher]) -> pd.DataFrame:
    """Return columns temperature, k, mean, q25, median, q75 (masses in [0, 1]), n.

    Of the k most probable known tokens of a row, of all where it has fewer; for every k up to 100,
    then for some up to the most that a row has.
    """
    frames = []
    for teacher in ladder:
        widest = int(teacher.present.sum(-1).max())
        more = np.geomspace(MOST_K, max(widest, MOST_K), 20).round().astype(int)
        ks = sorted({*range(1, min(widest, MOST_K) + 1), *more[more <= widest].tolist(), widest})
        ordered = teacher.inside().sort(-1, descending=True).values.exp().cumsum(-1)
        mass = ordered[:, torch.tensor(ks, device=ordered.device) - 1]
        edges = np.quantile(mass.cpu().numpy(), list(QUARTILES.values()), axis=0)
        columns = {"temperature": teacher.temperature, "k": ks, "mean": mass.mean(0).tolist()}
        columns |= dict(zip(QUARTILES, edges, strict=True))
        frames.append(pd.DataFrame(columns).assign(n=len(teacher)))
    return pd.concat(frames, ignore_index=True)


@KnownTokens.reads()
def known_reading(card: pd.DataFrame) -> Reading:
    """How much the tokens hold, between what the entropy lies, and where labels stand."""
    values = card.set_index(["temperature", "quantity"]).value
    parts, numbers = [], []
    for t in card.temperature.unique():
        one = values[t]
        held = f"{numeral(one['tokens'])} known token" + "s" * bool(one["tokens"] != 1)
        parts.append(
            f"{numeral(one['tail'], 2)} of the mass is outside the {held} of a row at T = {t:g}, "
            f"and the entropy is {_entropy_text(one)} nats"
        )
        worst = one["tail_largest"]
        numbers.append(
            f"T = {t:g}: tail {numeral(one['tail'], 2)}, of the worst row {numeral(worst, 2)}"
        )
    text, first = f"On average {'; '.join(parts)}.", values[card.temperature.iloc[0]]
    if "label_known" in first:
        text += (
            f" The label is among the tokens of {percent(first['label_known'])} of the rows, "
            f"and the most probable one of {percent(first['accuracy'])}."
        )
    return Reading(text, "; ".join(numbers))


def _entropy_text(values: pd.Series) -> str:
    if "entropy" in values:
        return numeral(values["entropy"])
    low, high = (numeral(values[f"entropy_{end}"]) for end in ("low", "high"))
    return f"{low} or more" if high == UNKNOWN else f"between {low} and {high}"


@KnownMass.reads()
def known_mass_reading(table: pd.DataFrame) -> Reading:
    """The smallest k that holds nine tenths of the mass, by temperature."""
    found = []
    for t, rows in table.groupby("temperature"):
        enough = rows[rows["mean"] >= 0.9]
        last = rows.iloc[-1]
        found.append(
            f"k = {enough.k.iloc[0]} at T = {t:g}"
            if len(enough)
            else f"no known k at T = {t:g}, where all {int(last.k)} hold {last['mean']:.2f}"
        )
    return Reading(
        f"Nine tenths of the teacher's mass, on average, are held by {'; '.join(found)}."
    )


@KnownMass.picture("Teacher probability held by the k most probable known tokens")
def known_mass_by_k(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Mean mass against k, one curve a temperature; the band is the middle half of the rows."""
    require(table, "temperature", "k", "mean", "q25", "q75", number="mean")
    ax = ax or new_axes(PAGE, 3.0)
    colours = ladder_colours(table.temperature)
    for t, rows in table.groupby("temperature"):
        label = f"T = {t:g}: {rows['mean'].iloc[-1]:.2f}"
        banded_line(ax, rows.k, rows["mean"], rows.q25, rows.q75, colours[t], label=label)
    ax.set_ylim(0, 1.02)
    k_axis(ax, sorted(set(table.k)))
    ax.set_xlabel("k, the number of most probable known tokens\n(line: mean; band: middle half)")
    ax.set_ylabel("teacher mass of the top k")
    side_legend(ax, "mass of all")
    return ax
