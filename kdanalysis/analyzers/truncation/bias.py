"""Bias against noise (the fifth figure of truncation): top-K beside sampling, at equal bytes."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.by_step import deviation
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.student_t import wide
from kdanalysis.analyzers.truncation.lost import NOTHING
from kdanalysis.analyzers.truncation.part import LOOKS, Looked, Truncation, named
from kdanalysis.core.truncation.algebra import CONVENTIONS
from kdanalysis.core.truncation.means import add_at_known, add_at_others, lost_sums
from kdanalysis.core.wording import numeral, percent
from kdanalysis.draw.axes import log_axis
from kdanalysis.draw.colours import BLACK, DASHES
from kdanalysis.draw.look import PAGE, Figure, plain_log, shared_legend
from kdanalysis.draw.panels import panel_grid
from kdanalysis.draw.tables import require, state_left_out

DRAWS = 2  # sampled tokens in the bytes of a kept one: an id alone, against an id and its value
MOST = 3  # K of which mean gradients are held: 6 vectors of the vocabulary each, and 3 more
TOKENS = tuple(10**power for power in range(7))
SAMPLED = "sampling"
CROSSING = ("crossing", "crossing_low", "crossing_high")


class TruncationBias(Truncation):
    """Error of the mean gradient over tokens: the bias of top-K and the noise of sampling, by K.

    The gradient in the logits, averaged over tokens, is that of the output layer's bias. Over n
    tokens drawn at random the lost gradient g has the squared mean |E g|^2 + (E |g|^2 - |E g|^2)/n,
    of which the first part stays; tokens sampled from the teacher, N a token, are right on average
    and have the noise E (1 - |p|^2) / (N n), where N = 2 K draws take the bytes of K kept tokens
    (4 for an id, 4 for a log-probability). T^2 included.

    - ``error``: root of that over the root of the same of full KD's gradient, for n = ``tokens``.
    - ``crossing``: n from which sampling has the smaller error; inf where it never has, 1 where it
      has at once. Beyond the rows looked at it is a guess.
    - ``crossing_low``, ``crossing_high``: its 95 % interval over rows, at most too wide.

    At the first temperature, for at most 3 of the K, whose mean gradients are held.
    """

    whole = True
    noun, title = "truncation_bias", "Bias of top-K against the noise of sampling"

    def __init__(self, *settings: object, **more: object) -> None:
        super().__init__(*settings, **more)
        places = np.linspace(0, len(self.ks) - 1, min(MOST, len(self.ks))).round().astype(int)
        self.few = tuple(self.ks[place] for place in places)
        self.add_sum("n")
        self.add_sum("at_known", 1 + len(CONVENTIONS) * len(self.few), self.num_classes)
        self.add_sum("at_others", 2 + 2 * len(self.few), self.num_classes)
        self.add_sum("squares", len(CONVENTIONS), len(self.few))
        self.add_sum("gaps", len(CONVENTIONS), len(self.few))
        self.add_sum("full_squares")
        self.add_sum("noise")

    def add_rows(self, looked: Looked) -> None:
        """Add rows at the first temperature."""
        if looked.place:
            return
        rows, found = looked.rows, looked.found
        add_at_known(self.at_known, rows, self.few)
        add_at_others(self.at_others, rows, self.few)
        at = [self.ks.index(k) for k in self.few]
        one = found.noise[:, None] / (DRAWS * torch.tensor(self.few, device=found.noise.device))
        self.accumulate(
            n=torch.tensor(len(rows.p)),
            squares=(found.lost_l2[..., at] ** 2).sum(1),
            gaps=(one - found.lost_l2[..., at] ** 2).square().sum(1),
            full_squares=(found.full_l2**2).sum(),
            noise=found.noise.sum(),
        )

    def compute(self) -> dict[str, Tensor]:
        """``error`` and ``crossing`` by (K, way, tokens), sampling last; n, non_finite."""
        squares = torch.cat((self.squares, self.full_squares.expand(1, len(self.few)))) / self.n
        sums = self.temperatures[0] * lost_sums(self.at_known, self.at_others)
        bias = (sums**2).sum(-1) / self.n**2
        bias = ((self.n * bias - squares) / (self.n - 1)).clamp(min=0)  # of the mean, unbiased
        tokens = torch.tensor(TOKENS, dtype=torch.float64, device=bias.device)
        errors = bias[..., None] + (squares - bias)[..., None] / tokens
        one = self.noise / self.n / (DRAWS * torch.tensor(self.few, device=bias.device))
        ways = torch.cat((errors[:-1], (one[:, None] / tokens)[None]))
        crossing = ((one - squares + bias) / bias)[:-1].clamp(min=1)
        ends = self._ends(one - squares[:-1], bias[:-1], (squares - bias)[:-1])
        nothing = torch.full_like(crossing[:1], torch.nan)
        crossing, *ends = (torch.cat((one, nothing)) for one in (crossing, *ends))
        found = (ways / errors[-1:].where(errors[-1:] > 0, torch.nan)).sqrt()
        return {
            "error": found.transpose(0, 1),
            **{
                name: values.t()[..., None].expand(-1, -1, len(TOKENS))
                for name, values in zip(CROSSING, (crossing, *ends), strict=True)
            },
            "n": self.n.clone(),
            "non_finite": self.non_finite.clone(),
        }

    def _ends(self, gap: Tensor, bias: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
        """Ends of the interval of a crossing, 1 + gap / bias.

        The squared length of a mean over n rows has at most the variance
        4 bias spread / n + 2 spread^2 / n^2, all of the rows' spread lying along their mean.
        """
        reach = wide(float(self.n))
        far = reach * deviation(self.n * gap, self.gaps, self.n) / self.n.sqrt()
        off = reach * (4 * bias * spread / self.n + 2 * (spread / self.n) ** 2).sqrt()
        least = 1 + (gap - far).clamp(min=0) / (bias + off)
        most = 1 + (gap + far).clamp(min=0) / (bias - off).clamp(min=0)
        return least, most.where(gap + far > 0, torch.ones_like(most))

    def table(self) -> pd.DataFrame:
        """Columns k, way (a convention or "sampling"), tokens, error, crossing, ..., non_finite.

        And temperature. More tokens than there are rows have no line: their mean is not known.
        """
        frame = self.grid(k=self.few, way=(*CONVENTIONS, SAMPLED), tokens=TOKENS)
        known = frame[frame.tokens <= frame.n.clip(lower=1)].reset_index(drop=True)
        return known.assign(temperature=self.temperatures[0])


@TruncationBias.reads()
def bias_reading(table: pd.DataFrame) -> Reading:
    """Over how many tokens sampling in the same bytes is nearer to full KD's mean gradient."""
    _check(table)
    k = middle(table)
    rows = table[table.k == k]
    first = rows[rows.tokens == 1].set_index("way")
    last = rows[rows.tokens == rows.tokens.max()].set_index("way")
    count = int(rows.n.max())
    crossing = {name: float(first.crossing[name]) for name in CONVENTIONS}
    told = {
        name: "at once"
        if n == 1
        else f"from {n:,.0f} tokens on"
        if n <= count
        else f"nowhere up to {count:,} tokens"
        for name, n in crossing.items()
    }
    best = min(crossing, key=lambda name: (-crossing[name], CONVENTIONS.index(name)))
    where = told[best] + _ends_told(first.loc[best], count)
    sentence = (
        f"At K = {k}, {DRAWS * k} tokens sampled from the teacher take the same bytes. Sampling is "
        f"nearer to full KD's mean gradient than {named(best)} {where}: of one token sampling is "
        f"{percent(first.error[SAMPLED])} of it off and {named(best)} "
        f"{percent(first.error[best])}, of the mean over {rows.tokens.max():,} "
        f"{percent(last.error[SAMPLED])} and {percent(last.error[best])}."
    )
    number = "; ".join(f"{named(name)}: {when}" for name, when in told.items())
    return Reading(sentence, f"K = {k}, means of {count:,} rows, sampling is nearer than {number}")


def _check(table: pd.DataFrame) -> None:
    if (table.get("n", pd.Series(2)) == 1).all():
        raise ValueError("the bias of a mean gradient needs two rows, and there is one")
    require(table, "k", "way", "tokens", "crossing", "n", number="error")


def _ends_told(row: pd.Series, count: int) -> str:
    low, high = (float(row.get(name, np.nan)) for name in CROSSING[1:])
    if np.isnan(low) or np.isnan(high):
        return " (interval unknown)"
    if np.isinf(low):
        return ""
    guess = f": a guess, of more than the {count:,} looked at" if low > count else ""
    return f" (95 % interval {_tokens_told(low)} to {_tokens_told(high)}{guess})"


def _tokens_told(count: float) -> str:
    if np.isinf(count):
        return "never"
    return f"{count:,.0f}" if count < 1e6 else numeral(count, 2)


def middle(table: pd.DataFrame) -> int:
    """The middle K of the table."""
    there = sorted(table.k.unique().tolist())
    return int(there[len(there) // 2])


@TruncationBias.picture("Error of the mean gradient, as tokens are averaged", panels=True)
def error_over_tokens(table: pd.DataFrame) -> Figure:
    """A panel a K: error over full KD's mean gradient against the number of tokens averaged.

    What stays level is bias; the black line is sampling, whose noise falls with the root of n.

    Args:
        table: as ``TruncationBias.table`` gives it.
    """
    _check(table)
    ks = sorted(table.k.unique().tolist())
    figure, axes = panel_grid(len(ks), 3, PAGE, 2.6, 0.8)
    for ax, k in zip(axes, ks, strict=True):
        rows = table[table.k == k]
        for name, look in LOOKS.items():
            line = rows[rows.way == name]
            ax.plot(line.tokens, _drawn(line.error), label=name, **look)
        line = rows[rows.way == SAMPLED]
        look = {"color": BLACK, "linestyle": DASHES[1], "label": f"{SAMPLED} {DRAWS} K tokens"}
        ax.plot(line.tokens, _drawn(line.error), **look)
        ax.set_title(f"K = {k}", loc="left")
        places = sorted(rows.tokens.unique().tolist())
        log_axis(ax, places if len(places) < 5 else places[::2], "{x:,.0f}")
    plain_log(axes[0])
    axes[0].set_ylabel("error of the mean\ngradient (%)")
    said = f"tokens averaged (T = {table.temperature.iloc[0]:g}, {int(table.n.max()):,} rows)"
    figure.supxlabel(said + state_left_out(table), fontsize=10)
    shared_legend(figure, axes[0], "upper center", ncols=5)
    return figure


def _drawn(error: pd.Series) -> pd.Series:
    """An error of 0, or of rounding alone, has no place on a logarithmic axis: a gap."""
    return 100 * error.where(error > NOTHING)
