"""Spread of the sweep over samples: quartiles, for unsure and for confident teachers."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from kdanalysis.analyzers.base import Logits
from kdanalysis.analyzers.chunks import chunks
from kdanalysis.analyzers.medians import difference_of_medians
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.sweep.sweep import EveryK, rows_at
from kdanalysis.core.bins import QUARTILES, Bins
from kdanalysis.core.limits import announce_memory
from kdanalysis.core.sweep.algebra import DEFINED, PLAIN
from kdanalysis.core.sweep.sums import of_every_sample
from kdanalysis.core.wording import percent, percents
from kdanalysis.draw.axes import k_axis
from kdanalysis.draw.colours import DASHES, ladder_colours
from kdanalysis.draw.look import PAGE, Figure, new_panels, side_legend
from kdanalysis.draw.marks import banded_line
from kdanalysis.draw.tables import require, state_left_out

NORMS = ("norm_high", "norm_low_top", "norm_low_other", "norm_kd", "norm_total")
PARTS = ("cosine_total_kd", "share_low_other", "kd_share_low_other")
LOG_BINS = Bins(-12.0, 6.0, 18 * 64)  # log10 of a norm; quartiles are good to 3.7 percent
BINS = Bins(-1.0, 1.0, LOG_BINS.count)  # quartiles are good to 0.002
FEW = 20  # samples of a group that a curve needs
DRAWN = {
    "kd_share_low_other": "relation share\nin KD (%)",
    "share_low_other": "relation share\nas weighted (%)",
    "cosine_total_kd": "cosine of the\ntotal to KD",
}
SHARES = list(DRAWN)[:2]


class SweepSpread(EveryK):
    """Mean and quartiles over samples of norms, cosine and shares, by T, k and confidence.

    The quantities are those of ``TermSweep``. The groups are of the teacher's max p at T = 1, cut
    at ``edges``; the last row of each is all samples together. A sample without a quantity (a
    gradient of zero has no direction) is left out of it. Means are exact. The quartiles come from
    1152 bins, 64 a decade between 1e-12 and 1e6 for norms (a quartile below reads 0, above inf),
    0.002 wide for cosines and shares.

    Args:
        edges: ascending confidences in (0, 1) between the groups.

    Raises:
        ValueError: more bins than this machine's memory holds, or as ``TermSweep``.
    """

    noun, title = "spread", "Spread over samples, by the teacher's confidence"

    def __init__(
        self,
        num_classes: int,
        temperatures: Sequence[float | int] = (1, 2, 4, 8),
        ks: str | Sequence[int] = "all",
        weights: Sequence[float | int] = (1.0, 1.0, 8.0),
        edges: Sequence[float] = (0.5, 0.9, 0.99),
    ) -> None:
        super().__init__(num_classes, temperatures, ks, weights, edges=check_edges(edges))
        shape = len(self.temperatures), len(NORMS) + len(PARTS), len(self.ks), len(self.edges) + 1
        what = f"the spread at {len(self.ks):,} k and {shape[0]} temperatures"
        announce_memory(
            8 * prod(shape) * BINS.size, what, "name fewer ks, such as ks=(1, 2, 5, 10)"
        )
        self.add_sum("sums", *shape)
        self.add_sum("counts", *shape, BINS.size)

    def add(self, student: Logits, teacher: Logits) -> None:
        """Add the finite samples of a batch."""
        for side, other in chunks(student, teacher):
            confidence = other.double().softmax(-1).amax(-1)
            edges = torch.tensor(self.edges, dtype=torch.float64, device=other.device)
            group = torch.bucketize(confidence, edges, right=True)
            each = of_every_sample(side, other, self.temperatures, self.ks, self.weights)
            for row, of_t in enumerate(each):
                self._count(row, of_t, group)

    def _count(self, row: int, each: Float[Tensor, "s k n"], group: Int[Tensor, " n"]) -> None:
        """Add the samples' statistics at one temperature."""
        names, groups, first = (*PLAIN, *DEFINED), len(self.edges) + 1, 0
        values = each[[names.index(name) for name in (*NORMS, *PARTS)]]
        norms, parts = values.split([len(NORMS), len(PARTS)])
        # a cosine of 1 may be a rounding above 1, where no bin of its own is
        for bins, scaled in ((LOG_BINS, norms.log10()), (BINS, parts.clamp(-1, 1))):
            last = first + len(scaled)
            place = torch.arange(len(scaled) * len(self.ks), device=group.device)
            place = group + groups * place.view(len(scaled), -1, 1)
            bins.add(self.counts[row, first:last], scaled, place)
            first = last
        members = functional.one_hot(group, groups).to(values)
        self.sums[row] += (values.nan_to_num(0.0) @ members).to(self.sums)

    def measures(self) -> dict[str, Tensor]:
        """``mean``, quartiles, ``n`` by (T, quantity, k, group), all samples last."""
        sums, counts = (
            torch.cat((state, state.sum(3, keepdim=True)), 3) for state in (self.sums, self.counts)
        )
        n = counts.sum(-1)
        logs, shares = counts[:, : len(NORMS)], counts[:, len(NORMS) :]
        norms = LOG_BINS.quartiles(logs) | LOG_BINS.median_ends(logs)
        parts = BINS.quartiles(shares) | BINS.median_ends(shares)
        quartiles = {name: torch.cat((10 ** norms[name], parts[name]), 1) for name in norms}
        return {"mean": sums / n, **quartiles, "n": n}

    def table(self) -> pd.DataFrame:
        """Columns temperature, quantity, k, confidence, mean, q25, median, q75, median_low, ...

        Last median_high, n, non_finite.

        ``confidence`` names the group, such as "below 0.5", "0.5 to 0.9", "0.99 and above", "all".
        """
        quantities, groups = (*NORMS, *PARTS), (*group_names(self.edges), "all")
        levels = {"temperature": self.temperatures, "quantity": quantities}
        return self.grid(**levels, k=self.ks, confidence=groups)


def group_names(edges: Sequence[float]) -> list[str]:
    """Names of the groups between the edges, least confident first."""
    inner = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    return [f"below {edges[0]:g}", *inner, f"{edges[-1]:g} and above"]


def check_edges(edges: Sequence[float]) -> tuple[float, ...]:
    """Return the edges; a ValueError unless they are ascending numbers in (0, 1)."""
    found = tuple(float(edge) for edge in edges)
    if not found or list(found) != sorted(set(found)) or not 0 < found[0] <= found[-1] < 1:
        raise ValueError(f"confidence edges must ascend within (0, 1), got {found}")
    return found


@SweepSpread.reads()
def spread_reading(table: pd.DataFrame) -> Reading:
    """Whether KD's relation share falls from the least to the most confident samples.

    Of the groups of 20 samples or more, with the interval of the difference of their medians. The
    number holds the medians inside KD and as weighted by group, at one T and k.
    """
    rows, temperature = at_temperature(table)
    rows, _ = where_it_may_vary(rows)
    of_k, k = rows_at(rows, "k")
    medians = of_k.set_index(["quantity", "confidence"])["median"]
    told = {
        group: [float(medians[quantity, group]) for quantity in SHARES]
        for group in rows.confidence.unique()
        if samples(rows, group)
    }
    number = f"T = {temperature:g}, k = {k}: " + "; ".join(
        f"{group}: {percent(kd)} in KD, {percent(weighted)} as weighted"
        for group, (kd, weighted) in told.items()
    )
    groups = [group for group in told if group != "all" and samples(rows, group) >= FEW]
    if len(groups) < 2:
        return Reading("These samples are of one group of confidence: nothing to compare.", number)
    first, last = groups[0], groups[-1]
    kd, weighted = (percents(*ends) for ends in zip(told[first], told[last], strict=True))
    claim = (
        f"at T = {temperature:g} and k = {k} its median inside KD goes from {kd[0]} ({first}) to "
        f"{kd[1]} ({last})"
    )
    inside = of_k[of_k.quantity == SHARES[0]].set_index("confidence")
    fall = difference_of_medians(inside.loc[first], inside.loc[last])
    return Reading(
        f"That the relation share inside KD falls with the teacher's confidence {fall.claim}: "
        f"{claim}, {fall.negated.points()}; as weighted from {weighted[0]} to {weighted[1]}.",
        number,
    )


def at_temperature(
    table: pd.DataFrame, wanted: float | int | None = None
) -> tuple[pd.DataFrame, float | int]:
    """Rows of one temperature, and which it is; a ValueError where they show nothing."""
    require(table, "temperature", "k", "confidence", "quantity", "mean", number="median")
    rows, chosen = rows_at(table, "temperature", wanted)
    if not rows["mean"][rows.quantity.isin(SHARES)].max() > 0:
        raise ValueError("no sample has a gradient of low_other, as with two classes")
    if rows.n[rows.confidence != "all"].max() < FEW:
        raise ValueError(f"no group of confidence has {FEW} samples")
    return rows, chosen


def where_it_may_vary(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Leave out the k at which low_other is 0 by construction, as c - 1; and name them.

    The mean tells: a quartile of zeros reads as one inside the bin that they are counted in.
    """
    most = rows[rows.quantity == "share_low_other"].groupby("k")["mean"].max()
    gone = most.index[~(most > 0)]
    return rows[~rows.k.isin(gone)], ", ".join(map(str, gone))


def samples(rows: pd.DataFrame, group: str) -> int:
    """Number of samples of a group of confidence."""
    return int(rows.n[rows.confidence == group].max())


@SweepSpread.picture("Relation shares and cosine by how sure the teacher is", panels=True)
def spread_over_k(table: pd.DataFrame, temperature: float | int | None = None) -> Figure:
    """Three panels over k, one curve a group of confidence: both relation shares, and the cosine.

    Curves are medians, bands the middle half of a group's samples. Groups of fewer than 20 samples
    are left out, and named in the axis label.

    Args:
        table: as ``SweepSpread.table`` gives it.
        temperature: which one to draw; 4 where the table has it, else its middle one.
    """
    rows, chosen = at_temperature(table, temperature)
    rows, masked = where_it_may_vary(rows)
    groups = [g for g in rows.confidence.unique() if g != "all"]
    drawn = [g for g in groups if samples(rows, g) >= FEW]
    colours = dict(zip(groups, ladder_colours(range(len(groups))).values(), strict=True))
    figure, axes = new_panels(3, 1, figsize=(PAGE, 6.0), sharex=True)
    axes[0].set_title(f"T = {chosen:g}", loc="left")
    for ax, (quantity, label) in zip(axes, DRAWN.items(), strict=True):
        scale = 100 if quantity in SHARES else 1
        of_quantity = rows[rows.quantity == quantity]
        for place, group in enumerate(drawn):
            part = of_quantity[of_quantity.confidence == group].sort_values("k")
            low, middle, high = (scale * part[name] for name in QUARTILES)
            look = {"linestyle": DASHES[place % len(DASHES)], "marker": "o"}
            look["label"] = f"{group} (n = {samples(rows, group):,})"
            banded_line(ax, part.k, middle, low, high, colours[group], 0.15, **look)
        ax.set_ylabel(label)
        lowest = min([0.0, *of_quantity.q25.dropna()])
        ax.set_ylim(1.02 * scale * lowest - 0.02 * scale, 1.02 * scale)
    side_legend(axes[0], "teacher's max p at T = 1")
    small = ", ".join(group for group in groups if group not in drawn)
    said = f"\n(fewer than {FEW} samples, not drawn: {small})" if small else ""
    said += f"\n(without k = {masked}, where low_other is always 0)" if masked else ""
    axes[-1].set_xlabel(
        "k, the number of classes in the top group\n"
        f"(line: median; band: middle half of the samples){said}{state_left_out(table)}"
    )
    k_axis(axes[-1], rows.k.drop_duplicates())
    return figure
