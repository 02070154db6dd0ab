"""Temperature (the sixth figure of truncation): the tail a cache knows, what opposes."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.by_step import deviation
from kdanalysis.analyzers.evidence import Interval, share_of
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.student_t import wide
from kdanalysis.analyzers.truncation.lost import NOTHING
from kdanalysis.analyzers.truncation.part import LOOKS, Looked, Truncation, listed, named
from kdanalysis.core.sparse_tail import tail_bounds
from kdanalysis.core.truncation.algebra import CONVENTIONS
from kdanalysis.core.wording import counted, percent, percent_range
from kdanalysis.draw.axes import log_axis
from kdanalysis.draw.colours import BLACK, BLUE, DASHES
from kdanalysis.draw.look import PAGE, Figure, new_panels, side_legend
from kdanalysis.draw.marks import banded_line
from kdanalysis.draw.tables import require, state_left_out

SQUARES = ("mass_square", "apart_square")
OPPOSED = tuple(f"opposed_{name}" for name in CONVENTIONS)
WIDE = 1.2  # an upper bound of more than this times the lower one does not tell a mass


class TruncatedTemperature(Truncation):
    """Tail and gradients of every T and K, beside what a cache of the first temperature knows.

    Means and shares of rows:

    - ``mass``: teacher's mass outside its top K at T.
    - ``least``, ``most``: means of the bounds of that mass for a cache that holds the K largest
      log-probabilities and the mass of the others at the first temperature (``tail_bounds``). A
      logsumexp stored for T makes them exact.
    - ``opposed_*``: rows in which the convention's gradient has a cosine below 0 to full KD's.
    - ``clamped``: rows in which the loss of ``none`` is below 0; where it is clamped at 0, as some
      trainers do, the row teaches nothing.
    """

    noun, title = "truncation_temperature", "Truncation over the temperature"

    def __init__(self, *settings: object, **more: object) -> None:
        super().__init__(*settings, **more)
        self.add_sum("n")
        for name in ("mass", "least", "most", "clamped", *OPPOSED, *SQUARES):
            self.add_sum(name, len(self.temperatures), len(self.ks))

    def add_rows(self, looked: Looked) -> None:
        """Add rows at one temperature."""
        found, place = looked.found, looked.place
        ratio = self.temperatures[place] / self.temperatures[0]
        rows, stored = looked.first
        logs, tails = rows.top[0].log(), stored.tail.log().unbind(-1)
        bounds = [
            tail_bounds(logs[:, :k], tail, ratio, self.num_classes, ranked=True)
            for k, tail in zip(self.ks, tails, strict=True)
        ]
        least, most = (torch.stack(x, -1).exp() for x in zip(*bounds, strict=True))
        sums = {"mass": found.tail, "least": least, "most": most}
        sums["clamped"] = (found.value[CONVENTIONS.index("none")] < 0).double()
        sums |= dict(zip(OPPOSED, (found.cosine < 0).double(), strict=True))
        apart = most - WIDE * least
        sums |= {"mass_square": found.tail.square(), "apart_square": apart.square()}
        for name, values in sums.items():
            getattr(self, name)[place] += values.sum(0).to(self.n)
        self.n += len(found.entropy) if place == 0 else 0

    def compute(self) -> dict[str, Tensor]:
        """Means and shares by (T, K); n, non_finite."""
        names = ("mass", "least", "most", *OPPOSED, "clamped")
        counts = {"n": self.n.clone(), "non_finite": self.non_finite.clone()}
        apart = self.most - WIDE * self.least
        sums = (self.mass, self.mass_square), (apart, self.apart_square)
        errors = [deviation(*pair, self.n) / self.n.sqrt() for pair in sums]
        errors = dict(zip(("mass_se", "apart_se"), errors, strict=True))
        return {name: getattr(self, name) / self.n for name in names} | errors | counts

    def table(self) -> pd.DataFrame:
        """Columns temperature, k, mass, least, most, opposed_CONVENTION, clamped, ..., n, ...

        ``mass_se`` and ``apart_se`` are standard errors of mass and of most - 1.2 least; the last
        column is non_finite.
        """
        return self.grid(temperature=self.temperatures, k=self.ks)


@TruncatedTemperature.reads()
def temperature_reading(table: pd.DataFrame) -> Reading:
    """What a cache of the first temperature knows of the tail at the last one; who opposes KD."""
    require(table, "temperature", "k", "least", "most", *OPPOSED, "clamped", number="mass")
    last = telling_k(table)
    rows = table[table.k == last]
    first, end = rows.iloc[0], rows.iloc[-1]
    n = int(first.n)
    against = {name: round(float(end[f"opposed_{name}"]) * n) for name in CONVENTIONS}
    most = max(against.values())
    worst = [named(name) for name, count in against.items() if count == most]
    opposed = (
        f"{listed(worst)} {'opposes' if len(worst) == 1 else 'oppose'} full KD in {most:,} of "
        f"{counted(n, 'row')}, {share_of(most / n, n)}"
        if most
        else f"no convention opposes full KD in {'the one row' if n == 1 else f'any of {n:,} rows'}"
    )
    clamped = round(float(end.clamped) * n)
    gone = (
        f"the loss of {named('none')} is below 0 in {f'{clamped:,}' if clamped else 'none'}, "
        f"{share_of(clamped / n, n)}{', which a clamp at 0 would silence' * bool(clamped)}"
    )
    number = "; ".join(
        f"T = {row.temperature:g}: tail {percent(row.mass)}, known to be "
        f"{percent_range(row.least, row.most)}"
        for _, row in rows.iterrows()
    )
    where = f"At T = {end.temperature:g} and K = {last}"
    if len(rows) == 1:
        return Reading(f"{where} {opposed}; {gone}.", number)
    apart, error = (wide(n) * float(end.get(name, np.nan)) for name in ("apart_se", "mass_se"))
    tells = Interval(float(WIDE * end.least - end.most), apart)
    mass = Interval(float(end.mass), error).share()
    return Reading(
        f"That a cache of T = {first.temperature:g} tells the tail at T = {end.temperature:g} "
        f"{tells.claim}: of K = {last} it bounds the mean mass outside between "
        f"{percent(end.least)} and {percent(end.most)}, and it is {mass}. {where} {opposed}; "
        f"{gone}.",
        f"K = {last}: {number}",
    )


def telling_k(table: pd.DataFrame) -> int:
    """The largest K whose bounds leave something open: one class outside has all of the tail."""
    told = table[table.most - table.least > NOTHING * table.most]
    return int((table if told.empty else told).k.max())


@TruncatedTemperature.picture(
    "Tail with its bounds, and gradients that oppose full KD", panels=True
)
def tail_over_temperature(table: pd.DataFrame, k: int | None = None) -> Figure:
    """Two panels over T: tail mass with the bounds of a cache; rows that oppose or are clamped.

    Args:
        table: as ``TruncatedTemperature.table`` gives it.
        k: which K to draw; the largest whose bounds leave something open if None.

    Raises:
        ValueError: the table lacks the K.
    """
    require(table, "temperature", "k", "least", "most", *OPPOSED, "clamped", number="mass")
    there = sorted(table.k.unique().tolist())
    if k is not None and k not in there:
        raise ValueError(f"the table has no K = {k}, it has {there}")
    chosen = telling_k(table) if k is None else k
    rows = table[table.k == chosen].sort_values("temperature")
    stored = table.temperature.iloc[0]
    figure, (tail, against) = new_panels(2, 1, figsize=(PAGE, 4.8), sharex=True)
    shown = [100 * rows[name] for name in ("mass", "least", "most")]
    banded_line(tail, rows.temperature, *shown, BLUE, marker="o", label="the tail itself")
    for name in ("least", "most"):
        label = f"bounds, stored at T = {stored:g}" if name == "least" else None
        look = {"color": BLUE, "linestyle": DASHES[2], "label": label}
        tail.plot(rows.temperature, 100 * rows[name], **look)
    for name, look in LOOKS.items():
        share = 100 * rows[f"opposed_{name}"]
        against.plot(rows.temperature, share, label=f"{name} opposes", **look)
    look = {"color": BLACK, "marker": ".", "linestyle": DASHES[2], "label": "loss of none below 0"}
    against.plot(rows.temperature, 100 * rows.clamped, **look)
    tail.set_ylabel("mass outside the\ntop K (%)")
    against.set_ylabel("rows (%)")
    for ax in (tail, against):
        ax.set_ylim(0, max(1.0, ax.get_ylim()[1]))
        side_legend(ax)
    log_axis(against, rows.temperature.tolist())
    against.set_xlabel(f"temperature T (K = {chosen}){state_left_out(table)}")
    return figure
