"""Direction (the second figure of truncation): where each K and convention points, and how far."""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.analyzers.evidence import told_apart
from kdanalysis.analyzers.medians import difference_of_medians, median_of
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.truncation.lost import NOTHING
from kdanalysis.analyzers.truncation.part import (
    LOOKS,
    WANTED,
    Looked,
    Truncation,
    at_first,
    listed,
    named,
    state_definition,
    stored_alone,
)
from kdanalysis.core.bins import QUARTILES, Bins
from kdanalysis.core.truncation.algebra import CONVENTIONS
from kdanalysis.core.wording import counted, percent, ratios, written
from kdanalysis.draw.axes import log_axis
from kdanalysis.draw.colours import GREY
from kdanalysis.draw.look import PAGE, Figure, new_panels, plain_log, shared_legend
from kdanalysis.draw.marks import banded_line
from kdanalysis.draw.tables import state_left_out

QUANTITIES = {"cosine": "cosine to full KD", "ratio": "norm over full KD's"}
RATIO_BINS = Bins(-6.0, 6.0, 12 * 64)  # log10; quartiles are good to 3.7 percent
COSINE_BINS = Bins(-1.0, 1.0, RATIO_BINS.count)  # quartiles are good to 0.0027
KEPT, STEP = 0.99, 0.1  # a cosine and a change of length up to these keep the gradient


class TruncatedDirection(Truncation):
    """Cosine and norm of each convention's gradient beside full KD's, over rows, by T and K.

    ``cosine`` is that of the two gradients of a row, ``ratio`` the norm of the convention's over
    that of full KD. A row without a gradient of full KD enters neither, one without a gradient of
    the convention (``renormalise`` at K = 1) has no cosine and a ratio of 0. Means are exact,
    quartiles come from 768 bins and the mean of each: 0.0026 wide for cosines, 64 a decade for
    ratios, where a quartile below 1e-6 reads 0. ``unknown`` is by what part of its length full
    KD's own gradient may be another, 0 with all of the teacher's logits.
    """

    noun, title = "truncation_direction", "Where a truncated gradient points"

    def __init__(self, *settings: object, **more: object) -> None:
        super().__init__(*settings, **more)
        shape = len(self.temperatures), len(QUANTITIES), len(CONVENTIONS), len(self.ks)
        self.add_sum("sums", *shape)
        for name in ("counts", "binned"):
            self.add_sum(name, *shape, COSINE_BINS.size)
        for name in ("full", "unknown"):
            self.add_sum(name, len(self.temperatures))
        self.add_sum("rows")
        self.add_sum("alone", len(self.ks))

    def add_rows(self, looked: Looked) -> None:
        """Add rows at one temperature."""
        found = looked.found
        ratio = found.kept_l2 / found.full_l2[:, None]
        ratio = ratio.where(found.full_l2[:, None] > 0, torch.nan)
        tally(
            found.cosine, ratio, *(x[looked.place] for x in (self.sums, self.counts, self.binned))
        )
        self.full[looked.place] += found.full_l2.sum().to(self.full)
        self.rows += len(found.entropy) if looked.place == 0 else 0
        self.alone += stored_alone(looked, self.ks).to(self.alone)
        if looked.unknown is not None:
            self.unknown[looked.place] += looked.unknown[0].sum().to(self.full)

    def compute(self) -> dict[str, Tensor]:
        """``mean``, quartiles, ``n``, ``unknown`` by (T, quantity, convention, K); non_finite."""
        found = summed_up(self.sums, self.counts, self.binned)
        unknown = (self.unknown / self.full)[:, None, None, None].expand_as(found["n"])
        found |= {"unknown": unknown, "by_definition": (self.alone / self.rows).expand_as(unknown)}
        return found | {"non_finite": self.non_finite.clone()}

    def table(self) -> pd.DataFrame:
        """By temperature, quantity, convention and k what :meth:`compute` returns."""
        levels = {"temperature": self.temperatures, "quantity": QUANTITIES}
        return self.grid(**levels, convention=CONVENTIONS, k=self.ks)


def tally(
    cosine: Float[Tensor, "v n k"],
    ratio: Float[Tensor, "v n k"],
    sums: Float[Tensor, "2 v k"],
    counts: Float[Tensor, "2 v k b"],
    binned: Float[Tensor, "2 v k b"],
) -> None:
    """Add cosines and ratios to their sums over rows and bins; NaN where a row has none.

    ``binned`` gets what the values of each bin add up to, of ratios their logarithms to base 10.
    """
    kinds, _, ks = cosine.shape
    place = torch.arange(kinds * ks, device=cosine.device).view(kinds, 1, ks)
    for of, values in enumerate((cosine, ratio)):
        known = values.where(values.abs() < torch.inf, torch.nan)
        bins, scaled = (RATIO_BINS, known.log10()) if of else (COSINE_BINS, known)
        bins.add(counts[of], scaled, place, (binned[of],))
        sums[of] += known.nansum(1).to(sums)


def summed_up(
    sums: Float[Tensor, "t 2 v k"],
    counts: Float[Tensor, "t 2 v k b"],
    binned: Float[Tensor, "t 2 v k b"],
) -> dict[str, Tensor]:
    """Return mean, quartiles, the median's interval and n of what ``tally`` gave."""
    n = counts.sum(-1)
    cosines, ratios = (counts[:, :1], (binned[:, :1],)), (counts[:, 1:], (binned[:, 1:],))
    cosine = COSINE_BINS.quartiles(*cosines) | COSINE_BINS.median_ends(*cosines)
    ratio = RATIO_BINS.quartiles(*ratios) | RATIO_BINS.median_ends(*ratios)
    quantiles = {q: torch.cat((cosine[q], 10 ** ratio[q]), 1) for q in cosine}
    return {"mean": sums / n, **quantiles, "n": n}


@TruncatedDirection.reads()
def direction_reading(table: pd.DataFrame) -> Reading:
    """Which conventions keep direction and length of full KD at the largest K, and which do not."""
    columns = ("quantity", "convention", "k", "mean", "unknown", "by_definition", "median")
    rows, temperature = at_first(table, *columns)
    off = rows["mean"].sub(1).abs().groupby([rows.k, rows.convention]).max()
    told = off.groupby("k").min() > NOTHING  # not where one is full KD itself, by definition
    told &= rows.groupby("k").by_definition.max() <= WANTED
    last = int(told.index[told].max() if told.any() else rows.k.max())
    at = rows[rows.k == last].set_index(["quantity", "convention"])
    told, kept = [], []
    for name in CONVENTIONS:
        cosine, ratio = at.loc[("cosine", name)], at.loc[("ratio", name)]
        middle, low, high = ratios(ratio["median"], ratio.q25, ratio.q75)
        told.append(
            f"{named(name)} cosine {_middle(cosine)}, norm {middle} times ({low} to {high})"
        )
        far = median_of(ratio)
        if median_of(cosine).low >= KEPT and max(far.high - 1, 1 - far.low) <= STEP:
            kept.append(named(name))
    n = int(rows.n.max())
    number = f"T = {temperature:g}, K = {last}, median (middle half) of {counted(n, 'row')}: "
    keeps = "keeps" if len(kept) == 1 else "keep"
    head = f"At K = {last} {listed(kept)} {keeps}" if kept else f"Even K = {last} does not keep"
    head = f"It cannot be tested here whether K = {last} keeps" if n < 2 else head
    shape = ""
    if (unknown := float(rows.unknown.max())) > NOTHING:
        shape = (
            f" So it is where the tail that is not stored has the student's shape; with another "
            f"one full KD's own gradient may be another by {percent(unknown)} of its length"
            f"{state_definition(at.by_definition.max())}."
        )
    return Reading(
        f"{head} the direction and the length of full KD for the median row (cosine at least "
        f"{KEPT:g}, length within {percent(STEP, 0)}, over their whole 95 % intervals); "
        f"{_lowest(at.loc['cosine'])}.{shape}",
        number + "; ".join(told),
    )


def _middle(row: pd.Series) -> str:
    if np.isnan(row["median"]):
        return "unknown, without a gradient"
    middle, low, high = (written(row[name], ".3f") for name in ("median", "q25", "q75"))
    return f"{middle} ({low} to {high})"


def _lowest(cosines: pd.DataFrame) -> str:
    """Say which conventions have the lowest median cosine, and whether the next one has more."""
    known = cosines.dropna(subset="median").sort_values("median", kind="stable")
    if known.empty:
        return "no convention has a cosine"
    last = known["median"] <= known["median"].min() + NOTHING
    worst, others = known.index[last], known[~last]
    which = listed([named(name) for name in CONVENTIONS if name in worst])
    has = f"{which} {'has' if len(worst) == 1 else 'have'} the lowest cosine"
    least = median_of(known.iloc[0])
    if others.empty:
        return f"{has}, {least.text()}"
    more = difference_of_medians(others.iloc[0], known.iloc[0])
    lowest, following = told_apart(least, median_of(others.iloc[0]))
    return f"that {has} {more.claim}, {lowest} (next {named(others.index[0])}, {following})"


def floor_of(rows: pd.DataFrame) -> float:
    """A little below the least ratio above 0: where a logarithmic axis of ratios begins."""
    ratios = rows.loc[rows.quantity == "ratio", [*QUARTILES]]
    least = float(ratios[ratios > 0].min(axis=None))
    return 0.7 * (least if least > 0 else 1.0)


def quartiles_drawn(line: pd.DataFrame, quantity: str, floor: float) -> list[pd.Series]:
    """Quartiles as a panel shows them: of ratios a median of 0 is a gap, a band ends at the floor.

    Args:
        line: of one convention or loss.
        quantity: cosine or ratio.
        floor: as ``floor_of`` gives it.
    """
    low, middle, high = (line[q] for q in QUARTILES)
    if quantity == "cosine":
        return [low, middle, high]
    return [one.where(middle > 0) for one in (low.mask(low == 0, floor), middle, high)]


@TruncatedDirection.picture("Cosine and norm beside full KD, against K", panels=True)
def direction_over_k(table: pd.DataFrame, temperature: float | None = None) -> Figure:
    """Two panels over K, a line a convention: cosine to full KD, and norm over full KD's.

    Lines are medians, bands the middle half of the rows, the dashed line is full KD itself. What
    is so by definition, the bucket of all that a sparse teacher stores, has no mark.

    Args:
        table: as ``TruncatedDirection.table`` gives it.
        temperature: which one to draw; the first of the table if None.
    """
    if temperature is not None:
        table = table[table.temperature == temperature]
    columns = ("quantity", "convention", "k", "mean", "by_definition", "q25", "q75", "median")
    rows, chosen = at_first(table, *columns)
    floor = floor_of(rows)
    itself = (rows.convention == "bucket") & (rows.by_definition > WANTED)
    figure, axes = new_panels(1, 2, figsize=(PAGE, 3.3), sharex=True)
    for ax, (quantity, label) in zip(axes, QUANTITIES.items(), strict=True):
        ax.axhline(1, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        for name, look in LOOKS.items():
            line = rows[(rows.quantity == quantity) & (rows.convention == name)].sort_values("k")
            line = line.where(~itself)
            low, middle, high = quartiles_drawn(line, quantity, floor)
            banded_line(ax, line.k, middle, low, high, label=name, **look)
        ax.set_title(label, loc="left")
        log_axis(ax, sorted(rows.k.unique().tolist()), "{x:.0f}")
    plain_log(axes[1])
    axes[1].set_ylim(bottom=floor)
    figure.supxlabel(
        f"K, known classes (T = {chosen:g}; line: median, band: middle half of the rows)"
        f"{state_left_out(table)}",
        fontsize=10,
    )
    shared_legend(figure, axes[0], "upper center", ncols=4)
    return figure
