"""Modality (figure 9): how many classes a teacher holds likely at once, by true class."""

from math import log

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, Labels, Logits
from kdanalysis.analyzers.chance import spread_told
from kdanalysis.analyzers.evidence import share_of
from kdanalysis.analyzers.noun import Names, Reading
from kdanalysis.analyzers.setting import Setting
from kdanalysis.core.bins import Bins
from kdanalysis.core.octaves import exponentials
from kdanalysis.core.partition import AutoK
from kdanalysis.core.wording import numeral, numerals
from kdanalysis.draw.colours import BLUE, FAINT, GREY, SKY
from kdanalysis.draw.look import PAGE, Figure, new_panels, shared_legend
from kdanalysis.draw.marks import stacked_bars
from kdanalysis.draw.names import names_in, said, short
from kdanalysis.draw.tables import require, state_left_out

LADDER = tuple(2.0 ** (step / 2) for step in range(-2, 9))  # half octaves from 0.5 to 16
PEAK = 0.1  # of the largest probability: a class at least so likely is a peak
COUNTED = ("peaks_1", "peaks_2", "peaks_more")
SUMS = ("peaks", "modes")
ROWS = 30  # more classes than this are cut to the ends
LEAST_END = 1.1  # of the axis of exp(entropy), below which the bins of its quartiles would show
ENDS = 12  # so many with the fewest and so many with the most samples of several peaks
LOOKS = {"peaks_1": (FAINT, "1"), "peaks_2": (SKY, "2"), "peaks_more": (BLUE, "3 or more")}


class Modality(Analyzer):
    """Peaks and effective number of classes of p = softmax(logits / T), by true class.

    - ``peaks``: the classes with p of at least a tenth of the sample's largest.
    - ``modes``: exp of the entropy of p, 1 for a sure sample and c for one that knows nothing; as
      many equally likely classes would have the same entropy.

    Both at the T of the ladder where NLL over all samples is least, at which p means what it says:
    half octaves from 0.5 to 16. Quartiles are within a quarter percent.

    ``auto_k`` is another number: the k that GDKD-auto would choose at its own T and cap. That rule
    looks for a jump among the least probable classes, so that it counts no modes.

    Args:
        num_classes: c, at least 2; the state holds some 2600 c numbers.
        rule: GDKD's auto-k with its ratio, cap and temperature.
    """

    noun, title = "modality", "Modality"
    needs = ("teacher_logits", "target")

    def __init__(self, num_classes: int, rule: AutoK | None = None) -> None:
        super().__init__(num_classes=num_classes, rule=rule or AutoK())
        self.bins = Bins(0.0, log(num_classes), 400)  # of the entropy, nats
        for name, *shape in (
            ("nll",),
            *((name, num_classes) for name in SUMS),
            ("counts", num_classes, len(COUNTED)),
            ("entropies", num_classes, self.bins.size),
        ):
            self.add_sum(name, len(LADDER), *shape)
        for name in ("n", "auto_k"):
            self.add_sum(name, num_classes)

    @classmethod
    def for_setting(cls, setting: Setting) -> "Modality":
        """Return the analyzer with auto-k at the temperature of the losses."""
        return cls(setting.num_classes, AutoK(temperature=setting.temperature))

    def add(self, teacher: Logits, target: Labels) -> None:
        """Add the finite samples of a batch."""
        logits, label = teacher.double(), target.long()
        below = logits - logits.amax(-1, keepdim=True)
        for place, powers in exponentials(below, LADDER):
            self._add_at(place, below, powers, label)
        by_class = logits.new_zeros(2, self.num_classes)
        ones = torch.ones(len(label), dtype=torch.float64, device=label.device)
        found = by_class.index_add(1, label, torch.stack([ones, self.rule.sizes(logits).double()]))
        self.accumulate(n=found[0], auto_k=found[1])

    def _add_at(self, place: int, below: Tensor, powers: Tensor, label: Tensor) -> None:
        """Add the samples at one T of the ladder, of ``powers``, exp(below / T), at most 1."""
        total = powers.sum(-1)
        mean = torch.linalg.vecdot(powers, below) / total  # of the logits below the largest
        entropy = total.log() - mean / LADDER[place]
        peaks = (powers >= PEAK).sum(-1)
        kind = peaks.clamp(max=len(COUNTED)) - 1
        sums = {"peaks": peaks.double(), "modes": entropy.exp()}
        for name, values in sums.items():
            getattr(self, name)[place].index_add_(0, label, values.to(self.nll))
        own = below.gather(-1, label.unsqueeze(-1)).squeeze(-1)
        self.nll[place] += (total.log() - own / LADDER[place]).sum().to(self.nll)
        pairs = (label * len(COUNTED) + kind).bincount(minlength=self.counts[place].numel())
        self.counts[place] += pairs.view_as(self.counts[place]).to(self.nll)
        self.bins.add(self.entropies[place], entropy, label)

    def measures(self) -> dict[str, Tensor]:
        """Every column of the table but its index: all classes together, then each."""
        best = int(self.nll.argmin())
        counts, entropies = _with_all(self.counts[best]), _with_all(self.entropies[best])
        n = _with_all(self.n)
        low, high = torch.zeros(()), torch.tensor(log(self.num_classes))
        quartiles = {
            f"modes_{name}": value.clamp(low, high).exp()
            for name, value in self.bins.quartiles(entropies).items()
        }
        shares = dict(zip(COUNTED, (counts / n.unsqueeze(-1)).unbind(-1), strict=True))
        return {
            "n": n,
            **shares,
            "peaks_mean": _with_all(self.peaks[best]) / n,
            "modes_mean": _with_all(self.modes[best]) / n,
            **quartiles,
            "temperature": torch.full_like(n, LADDER[best]),
            "auto_k": _with_all(self.auto_k) / n,
        }

    def table(self) -> pd.DataFrame:
        """Columns target, n, peaks_1, peaks_2, peaks_more, peaks_mean, modes_mean, and more.

        One row a true class that has samples, before them one of all, whose target is <NA>.
        ``peaks_*`` are the shares of samples with one, two and more peaks; modes_q25,
        modes_median, modes_q75 quartiles of exp(entropy); ``temperature`` that of least NLL. The
        last columns are auto_k (mean of what GDKD-auto would choose), auto_k_temperature,
        auto_k_cap and non_finite.
        """
        cap = self.num_classes - 1
        cap = cap if self.rule.max_k is None else min(cap, int(self.rule.max_k))
        told = {"auto_k_temperature": float(self.rule.temperature), "auto_k_cap": cap}
        rows = [(pd.NA,), *((c,) for c in range(self.num_classes))]
        frame = self.frame(rows, ["target"], **told)
        return frame[frame.n > 0].reset_index(drop=True).astype({"target": "Int64"})


def _with_all(state: Tensor) -> Tensor:
    """Put the sum over all classes first."""
    return torch.cat((state.sum(0, keepdim=True), state))


def check_table(table: pd.DataFrame) -> pd.Series:
    """Return the row of all samples; a ValueError where there is nothing to read."""
    columns = ("target", "n", *COUNTED, "modes_q25", "modes_median", "modes_q75", "temperature")
    require(table, *columns, "auto_k")
    return table[table.target.isna()].iloc[0]


def by_class(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the classes, fewest samples with several peaks first."""
    rows = table[table.target.notna()]
    several = 1 - rows.peaks_1
    return rows.assign(several=several).sort_values(["several", "modes_median"], kind="stable")


@Modality.reads(names=True)
def modality_reading(table: pd.DataFrame, names: Names = None) -> Reading:
    """How many samples have several peaks, whether that differs by class; auto-k beside it.

    It differs where the chi-square statistic of the classes' shares is above what 95 of 100 sets
    of labels given by chance would have.
    """
    whole, rows = check_table(table), by_class(table)
    at = f"T = {numeral(whole.temperature)}"
    several = share_of(1 - whole.peaks_1, whole.n)
    low, middle, high = numerals(*(whole[f"modes_{name}"] for name in ("q25", "median", "q75")))
    number = (
        f"{several} of samples with two peaks or more, exp(entropy) {low} / {middle} / {high} "
        f"(quartiles) at {at}; GDKD-auto would choose k = {whole.auto_k:.1f} at T = "
        f"{whole.auto_k_temperature:g}, cap {whole.auto_k_cap:.0f}"
    )
    told = (
        f"At {at}, where NLL is least on the ladder, {several} of the samples have two peaks or "
        f"more (p of at least a tenth of the largest), and the middle half of all samples is "
        f"spread over {' to '.join(dict.fromkeys((low, high)))} classes, exp(entropy)."
    )
    labels = names_in(table.dropna(subset="target"), names, "target")
    of = [said(labels[int(target)]) for target in rows.target]
    claim = f"Whether that share differs by class: {spread_told(of, rows.several, rows.n)}"
    return Reading(f"{told} {claim}.", number)


@Modality.shortens
def rounded(table: pd.DataFrame) -> pd.DataFrame:
    """The table without what is the same in every row."""
    same = ("temperature", "auto_k_temperature", "auto_k_cap", "non_finite")
    label = np.where(table.target.isna(), "all", table.target.astype(str))
    return table.drop(columns=list(same)).assign(target=label)


@Modality.picture("Peaks and effective classes, by true class", names=True, panels=True)
def modality_by_class(table: pd.DataFrame, names: Names = None) -> Figure:
    """Left the samples by their number of peaks, right the quartiles of exp(entropy); by class.

    Sorted by the samples with several peaks. Of more than 30 classes only the 12 with the fewest
    and the 12 with the most are drawn; the title says so.
    """
    whole, rows = check_table(table), by_class(table)
    shown = rows if len(rows) <= ROWS else pd.concat([rows.iloc[:ENDS], rows.iloc[-ENDS:]])
    size = (PAGE, 1.5 + 0.24 * len(shown))
    figure, (left, right) = new_panels(1, 2, figsize=size, sharey=True, width_ratios=(1.5, 1))
    start, places = np.zeros(len(shown)), range(len(shown))
    for name in COUNTED:
        width = 100 * shown[name].to_numpy()
        colour, label = LOOKS[name]
        stacked_bars(left, places, width, start, 0.78, colour, label=label)
        start = start + width
    right.hlines(places, shown.modes_q25, shown.modes_q75, color=GREY, linewidth=2.5)
    right.plot(shown.modes_median, places, "o", color=BLUE, markersize=5)
    right.set_xlim(right=max(right.get_xlim()[1], LEAST_END))
    right.axvline(1, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    labels = names_in(table.dropna(subset="target"), names, "target")
    left.set_yticks(
        places, labels=[short(labels[int(c)], among=labels) for c in shown.target], parse_math=False
    )
    left.set_ylim(len(shown) - 0.5, -0.5)
    left.set_xlim(0, 100)
    left.set_ylabel("true class")
    left.set_xlabel(f"samples (%) by number of peaks\n(p ≥ {PEAK:g} max p){state_left_out(table)}")
    right.set_xlabel("exp(entropy): median,\nline: middle half")
    title = f"peaks at T = {numeral(whole.temperature)}, of least NLL"
    if len(shown) < len(rows):
        left.axhline(ENDS - 0.5, color="0.3", linewidth=1, linestyle=(0, (4, 3)))
        title += f"\n{ENDS} classes at either end, of {len(rows)}"
    shared_legend(figure, left, "upper left", ncols=3, title=title, alignment="left")
    for ax in (left, right):
        ax.tick_params(axis="y", length=0)
    return figure
