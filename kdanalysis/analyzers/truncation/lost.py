"""Gradient lost (the first figure of truncation): what each K and convention miss."""

from math import isfinite

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.analyzers.evidence import between, with_ends
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.truncation.part import (
    LOOKS,
    WANTED,
    Looked,
    Truncation,
    at_first,
    listed,
    named,
    share_of,
    state_definition,
    stored_alone,
)
from kdanalysis.core.truncation.algebra import CONVENTIONS
from kdanalysis.core.wording import counted, percent
from kdanalysis.draw.axes import log_axis
from kdanalysis.draw.colours import DASHES, GREY
from kdanalysis.draw.look import PAGE, Figure, new_panels, plain_log, shared_legend
from kdanalysis.draw.marks import banded_line
from kdanalysis.draw.tables import state_left_out

MEASURES = {"l2": "L2 norm", "l1": "L1 norm", "value": "KL value"}
NOTHING = 1e-6  # a smaller share is rounding: the bucket of all that a sparse teacher stores


class LostGradient(Truncation):
    """Share of full KD's gradient that is lost, by T, K and convention.

    Means over rows of the lost gradient's norm over means of full KD's norm:

    - ``l2``: root of the sum of squares over classes; the few large entries of the top decide.
    - ``l1``: sum of absolute entries; a tail of many small ones counts as what it moves.
    - ``value``: KL of all classes less the convention's loss, nats over nats; below 0 where the
      convention's loss is larger.

    ``low`` and ``high`` are an interval of 95 percent of rows as independent draws. ``unknown`` is
    by how much a share may be off, 0 with all of the teacher's logits: of a sparse teacher the tail
    is completed with the student's shape, and the true one is not known (NaN: without bound).
    ``by_definition`` is the part of the rows of which K tokens are all that is stored: in these
    "bucket" loses nothing, whatever the tail.
    """

    noun, title = "truncation", "Gradient lost to truncation"

    def __init__(self, *settings: object, **more: object) -> None:
        super().__init__(*settings, **more)
        shape = len(self.temperatures), len(MEASURES), len(CONVENTIONS), len(self.ks)
        self.add_sum("n")
        self.add_sum("alone", len(self.ks))
        for name in ("lost", "squares", "products"):
            self.add_sum(name, *shape)
        for name in ("full", "full_squares", "unknown"):
            self.add_sum(name, *shape[:2])

    def add_rows(self, looked: Looked) -> None:
        """Add rows at one temperature."""
        found, place = looked.found, looked.place
        gone = found.lost_l2, found.lost_l1, found.full_value[:, None] - found.value
        full = torch.stack((found.full_l2, found.full_l1, found.full_value))
        for measure, lost in enumerate(gone):
            self.lost[place, measure] += lost.sum(1).to(self.lost)
            self.squares[place, measure] += lost.square().sum(1).to(self.lost)
            products = (lost * full[measure, :, None]).sum(1)
            self.products[place, measure] += products.to(self.lost)
        self.full[place] += full.sum(-1).to(self.lost)
        self.full_squares[place] += full.square().sum(-1).to(self.lost)
        if looked.unknown is not None:
            self.unknown[place] += looked.unknown.sum(-1).to(self.lost)
        self.n += len(found.entropy) if place == 0 else 0
        self.alone += stored_alone(looked, self.ks).to(self.alone)

    def compute(self) -> dict[str, Tensor]:
        """``share``, ends, what is said of it by (T, measure, convention, K); n, non_finite."""
        full, squares = (x[..., None, None] for x in (self.full, self.full_squares))
        share, half = share_of(self.lost, self.squares, self.products, full, squares, self.n)
        counts = {"n": self.n.clone(), "non_finite": self.non_finite.clone()}
        unknown = may_be_off(share, (self.unknown / self.full)[..., None, None])
        found = {"share": share, "low": share - half, "high": share + half, "unknown": unknown}
        found["by_definition"] = (self.alone / self.n).expand_as(share)
        return found | counts

    def table(self) -> pd.DataFrame:
        """By temperature, measure, convention and k what :meth:`compute` returns."""
        levels = {"temperature": self.temperatures, "measure": MEASURES}
        return self.grid(**levels, convention=CONVENTIONS, k=self.ks)


def may_be_off(
    share: Float[Tensor, "t 3 v k"], unknown: Float[Tensor, "t 3 1 1"]
) -> Float[Tensor, "t 3 v k"]:
    """Return by how much a share may be off, where both its norms may be so by ``unknown``.

    In L2 either way, so that s moves by u (1 + s) / (1 - u) at most; NaN, without bound, from
    u = 1 on. In L1 the student's shape is the one for which both norms are least, whatever constant
    times q a convention has outside: the share lies between s / (1 + u) and s + u.
    """
    size = share.abs()
    l2 = (unknown * (1 + size) / (1 - unknown)).where(unknown < 1, torch.nan)
    l1 = torch.maximum(unknown, size * unknown / (1 + unknown))
    found = unknown.expand_as(share).clone()
    found[:, 0], found[:, 1] = l2[:, 0], l1[:, 1]
    return found


def least_k(table: pd.DataFrame, measure: str, convention: str, wanted: float) -> int | None:
    """The smallest K looked at from which on no more than a wanted share is lost, or None.

    The upper end of the interval counts, and how far a share may be off.
    """
    rows = table[(table.measure == measure) & (table.convention == convention)].sort_values("k")
    most = rows.high.fillna(rows.share).abs() + rows.unknown
    enough = (most <= wanted)[::-1].cummin()[::-1]
    return int(rows.k[enough].iloc[0]) if enough.any() else None


@LostGradient.reads()
def lost_reading(table: pd.DataFrame) -> Reading:
    """Which convention loses least and which K keeps it below 5 percent; the K of each.

    The upper end of the interval counts, and how far the unknown tail may put a share off; where no
    K is enough by these and some K may be by the lower ends, that is not told.
    """
    columns = ("measure", "convention", "k", "unknown", "by_definition", "share")
    rows, temperature = at_first(table, *columns)
    last = int(rows.k.max())
    each = rows.groupby("k")
    told = each.share.apply(lambda share: share.abs().min() > NOTHING)
    told &= each.by_definition.max() <= WANTED
    compared = int(told.index[told].max()) if told.any() else last  # not where it is by definition
    at_last = rows[rows.k == compared].set_index(["measure", "convention"])
    found = {
        name: {m: least_k(rows, m, name, WANTED) for m in ("l2", "l1")} for name in CONVENTIONS
    }
    by = "upper end of the interval" + ", unknown tail added" * bool((rows.unknown > 0).any())
    at = f"K that loses at most {percent(WANTED, 0)} ({by}) at T = {temperature:g}, in L2 / L1: "
    answers: dict[str, list[str]] = {}
    for name, of in found.items():
        answer = " / ".join(str(k or f"more than {last}") for k in of.values())
        answers.setdefault(answer, []).append(named(name))
    number = at + "; ".join(f"{listed(names)} {answer}" for answer, names in answers.items())
    best = str(at_last.loc["l1"].share.idxmin())
    taken = found[best]["l1"]
    l2, l1 = at_last.loc[("l2", best)], at_last.loc[("l1", best)]
    aim = f"at most {percent(WANTED, 0)} in L1"
    known = rows[(rows.measure == "l1") & (rows.convention == best)]
    alone = known.high.isna().all()  # a single row has no interval
    if taken and not alone:
        advice = f"To lose {aim}, take {named(best)} with K = {taken}"
    elif alone or (known.low.fillna(known.share) - known.unknown <= WANTED).any():
        advice = f"Whether a K up to {last} loses {aim} cannot be told"
    else:
        advice = f"No K up to {last} loses {aim}"
    shape, off = "", ""
    if l1.unknown > NOTHING:
        shape = " where the tail that is not stored has the student's shape"
        most = (one.fillna({"high": one.share}).high + one.unknown for one in (l1, l2))
        up_to = " and ".join(percent(x) if isfinite(x) else "without bound" for x in most)
        off = (
            f". Of that tail the mass alone is known, and with another shape these may be up to "
            f"{up_to}{state_definition(l1.by_definition)}"
        )
    claim = (
        f"{advice}: of the conventions {named(best)} loses least at K = {compared}{shape}, "
        f"{_said(l1)} of the gradient in L1 and {_said(l2)} in L2 "
        f"({counted(int(l1.n), 'row')}){off}"
    )
    apart = between(l1.low - l2.high, l1.high - l2.low)
    flatters = f" That L2 flatters the tail {apart.claim}." if l1.share > NOTHING else ""
    others = at_last.loc["l1"].share.drop(best).sort_values()
    worse = ", ".join(f"{named(name)} {percent(share)}" for name, share in others.items())
    lead = at_last.loc[("l1", str(others.index[0]))]
    more = between(lead.low - l1.high, lead.high - l1.low)
    near = more.claim == "is not seen"  # of the next one; of those beyond it nothing is said
    who = f"{named(str(others.index[0]))} loses" if near else "the others lose"
    claim += f". That {who} more in L1 {more.claim}: {worse}{shape and ' there'}"
    return Reading(f"{claim}.{flatters}", number)


def _said(row: pd.Series) -> str:
    return with_ends(row.share, max(row.low, 0), row.high) if row.share > NOTHING else "nothing"


@LostGradient.shortens
def lost_by_k(table: pd.DataFrame) -> pd.DataFrame:
    """The shares alone, a column a K, and how far they may be off where a tail is not known."""
    index = ["temperature", "measure", "convention"]
    wide = table.pivot(index=index, columns="k", values="share")
    wide = wide.rename(columns=lambda k: f"K = {k}")
    if (table.unknown > NOTHING).any():
        wide["unknown"] = table.groupby(index).unknown.max()
    return wide.reset_index()


@LostGradient.picture("Gradient of full KD that is lost, against K", panels=True)
def lost_over_k(table: pd.DataFrame, temperature: float | None = None) -> Figure:
    """Three panels over K, a line a convention: L2, L1 and KL value that are lost, in percent.

    Bands are intervals of 95 percent, the dotted line is 5 percent. The axis of values is linear
    between -10 and 10 percent and logarithmic beyond; below 0 the convention's loss is larger.

    Args:
        table: as ``LostGradient.table`` gives it.
        temperature: which one to draw; the first of the table if None.
    """
    if temperature is not None:
        table = table[table.temperature == temperature]
    columns = ("measure", "convention", "k", "low", "high", "unknown", "by_definition", "share")
    rows, chosen = at_first(table, *columns)
    off = rows[rows.measure == "l1"].unknown.max()
    whole = not off > NOTHING  # else the bucket of all stored tokens loses nothing by definition
    figure, axes = new_panels(1, 3, figsize=(PAGE, 3.3), sharex=True)
    for ax, (measure, label) in zip(axes, MEASURES.items(), strict=True):
        for name, look in LOOKS.items():
            line = rows[(rows.measure == measure) & (rows.convention == name)].sort_values("k")
            line = line.where((line.share.abs() > NOTHING) | (measure == "value") & whole)
            line = line.where((name != "bucket") | (line.by_definition <= WANTED))
            low, middle, high = (100 * line[x] for x in ("low", "share", "high"))
            banded_line(ax, line.k, middle, low, high, label=name, **look)
        look = {"color": GREY, "linewidth": 1.2, "linestyle": DASHES[2], "zorder": 0}
        ax.axhline(100 * WANTED, label=percent(WANTED, 0), **look)
        ax.set_title(f"lost {label}", loc="left")
        log_axis(ax, sorted(rows.k.unique().tolist()), "{x:.0f}")
    lengths = 100 * rows[rows.measure != "value"]
    low, high = (lengths[end].fillna(lengths.share) for end in ("low", "high"))
    bottom = 0.7 * min(100 * WANTED, low[low > 100 * NOTHING].min())
    for ax in axes[:2]:
        plain_log(ax)
        ax.set_ylim(bottom, 1.4 * max(high.max(), 100))
    axes[1].tick_params(labelleft=False, which="both")
    axes[2].axhline(0, color=GREY, linewidth=0.8, zorder=0)
    axes[2].set_yscale("symlog", linthresh=10)
    axes[2].yaxis.set_major_formatter("{x:g}")
    axes[0].set_ylabel("lost share of full KD's (%)")
    said = "" if whole else f"; unknown tail: up to {percent(off, 0)} off in L1"
    label = f"K, known classes (T = {chosen:g}{said}){state_left_out(table)}"
    figure.supxlabel(label, fontsize=10)
    shared_legend(figure, axes[0], "upper center", ncols=5)
    return figure
