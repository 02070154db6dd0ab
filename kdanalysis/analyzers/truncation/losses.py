"""Losses beside full KD: where the gradient of any loss points, and how far, against K."""

from collections.abc import Collection, Mapping, Sequence
from inspect import signature

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, Logits
from kdanalysis.analyzers.by_term import total_gradients
from kdanalysis.analyzers.chunks import chunks
from kdanalysis.analyzers.evidence import difference_of_shares, share_of, told_apart
from kdanalysis.analyzers.medians import difference_of_medians, median_of
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.sweep.checks import check_ks
from kdanalysis.analyzers.targets import Targets
from kdanalysis.analyzers.truncation.direction import (
    COSINE_BINS,
    QUANTITIES,
    floor_of,
    quartiles_drawn,
    summed_up,
    tally,
)
from kdanalysis.analyzers.truncation.part import KS, LOOKS
from kdanalysis.core.wording import counted, numeral, percent, written
from kdanalysis.draw.axes import log_axis
from kdanalysis.draw.colours import CYCLE, GREY, OLIVE, WINE
from kdanalysis.draw.look import NARROW, Figure, new_panels, plain_log, top_legend
from kdanalysis.draw.marks import banded_line, line_look
from kdanalysis.draw.tables import require, state_left_out
from kdanalysis.losses import KD, Loss

ENTRIES = 2**18  # rows x classes of a chunk: some float64 copies of it are alive at a time


class TruncatedLosses(Analyzer):
    """Cosine and norm of losses' gradients beside full KD's, over rows, by loss and K.

    Full KD is at the loss's own temperature, T^2 included on both sides. A loss that takes a number
    of tokens ``k`` is looked at with every K, one of ``stated`` with its own alone, and one that
    takes none has a K of 0. ``cosine`` and
    ``ratio`` as in ``TruncatedDirection``; ``opposed`` is the share of rows with a cosine below 0,
    ``silent`` that of rows with a gradient of full KD and none of the loss, such as clamped ones.

    Args:
        num_classes: c.
        losses: by name; each is looked at in the rows whose targets serve it.
        ks: each from 1 to c - 1.
        stated: names of losses of which k was said.

    Raises:
        ValueError: a K, or the k of a loss of ``stated``, is not one of 1 to c - 1.
    """

    noun, title, of_runs = "truncation_losses", "Losses beside full KD", False
    needs = ("student_logits", "teacher_logits")
    takes, mixed = ("target", "soft_target"), True

    def __init__(
        self,
        num_classes: int,
        losses: Mapping[str, Loss],
        ks: Sequence[int] = KS,
        stated: Collection[str] = (),
    ) -> None:
        super().__init__(num_classes=num_classes, losses=dict(losses), ks=check_ks(ks, num_classes))
        for name in stated:
            k = getattr(losses[name], "k", None)
            if isinstance(k, int) and not 0 < k < num_classes:
                raise ValueError(
                    f"the loss {name!r} has k = {k}: need 1 to {num_classes - 1} where there are "
                    f"{num_classes} classes"
                )
        each = {n: with_its_ks(loss, self.ks, n in stated) for n, loss in losses.items()}
        looked = {(name, k): one for name, ones in each.items() for k, one in ones}
        self.entries = list(looked)
        self.full = [one.temperature or 1.0 for one in looked.values()]
        self.losses = {str(entry): loss for entry, loss in looked.items()}
        self.losses |= {str(t): KD(t) for t in self.full}  # what they are held against
        self.add_sum("sums", 1, len(QUANTITIES), len(self.entries), 1)
        for name in ("counts", "binned"):
            self.add_sum(name, 1, len(QUANTITIES), len(self.entries), 1, COSINE_BINS.size)
        for name in ("opposed", "silent", "there"):
            self.add_sum(name, len(self.entries))

    @torch.no_grad()
    def add(self, student: Logits, teacher: Logits, targets: Targets) -> None:
        """Add the finite rows of a batch."""
        together = student.numel() if getattr(self, "of_kept", False) else ENTRIES
        every = torch.arange(len(student), device=student.device)
        for side, other, rows in chunks(student, teacher, every, entries=together):
            side, other, known = side.double(), other.double(), targets.of_rows(rows)
            slopes = total_gradients(self.losses, side, other, known)
            slopes = dict(zip(self.losses, slopes, strict=True))
            pairs = [
                beside_kd(slopes[str(entry)], slopes[str(t)])
                for entry, t in zip(self.entries, self.full, strict=True)
            ]
            cosine, ratio = (torch.stack(x)[..., None] for x in zip(*pairs, strict=True))
            tally(cosine, ratio, self.sums[0], self.counts[0], self.binned[0])
            self.accumulate(
                opposed=(cosine < 0).sum((1, 2)),
                silent=(ratio == 0).sum((1, 2)),
                there=ratio.isfinite().sum((1, 2)),
            )

    def compute(self) -> dict[str, Tensor]:
        """``mean``, quartiles, ``n`` by (quantity, entry); shares by entry; non_finite."""
        found = summed_up(self.sums, self.counts, self.binned)
        found = {n: x[0, ..., 0] for n, x in found.items()}
        shares = {name: getattr(self, name) / self.there for name in ("opposed", "silent")}
        shares = {name: share.expand_as(found["n"]) for name, share in shares.items()}
        return found | shares | {"non_finite": self.non_finite.clone()}

    def table(self) -> pd.DataFrame:
        """Columns quantity, loss, k, mean, quartiles, median_low, median_high, n, opposed, ..."""
        index = [(q, name, k) for q in QUANTITIES for name, k in self.entries]
        return self.frame(index, ["quantity", "loss", "k"])


def with_its_ks(loss: Loss, ks: Sequence[int], stated: bool = False) -> list[tuple[int, Loss]]:
    """Return a loss with every number of tokens, or its own where stated; with 0 if it has none."""
    names = signature(type(loss)).parameters
    own = getattr(loss, "k", None)
    if own is None or "k" not in names:
        return [(0, loss)]
    if stated:
        return [(own if isinstance(own, int) else 0, loss)]
    given = {name: getattr(loss, name) for name in names}
    return [(k, type(loss)(**(given | {"k": k}))) for k in ks]


def beside_kd(
    gradient: Float[Tensor, "n d"], full: Float[Tensor, "n d"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Return cosine to full KD and norm over full KD's of every row; NaN where it has none."""
    norm, whole = gradient.norm(dim=-1), full.norm(dim=-1)
    cosine = (gradient * full).sum(-1) / (norm * whole)
    ratio = torch.where(whole > 0, norm / whole, torch.nan)
    return torch.where(norm * whole > 0, cosine, torch.nan).clamp(-1, 1), ratio


@TruncatedLosses.reads()
def losses_reading(table: pd.DataFrame) -> Reading:
    """Which loss is nearest to full KD in direction at the largest K, differs most, opposes it.

    Each with whether it is seen to be ahead of the next one, as of independent rows. Losses that
    are full KD itself are left out.
    """
    require(table, "quantity", "loss", "k", "opposed", "silent", "n", number="median")
    same = table.loss[(table.quantity == "cosine") & (table["mean"] > 1 - 1e-12)]
    table = table[~table.loss.isin(same)]
    if table.empty:
        return Reading("These losses are full KD itself.")
    last = table.loc[table.groupby(["quantity", "loss"]).k.idxmax()]
    if last.k[last.k > 0].nunique() > 1:
        at = last.k.map(lambda k: f" at K = {k}" if k else "")
        last = last.assign(loss=last.loss + at, k=0)
    of = {name: rows.set_index("loss") for name, rows in last.groupby("quantity")}
    cosine, ratio = of["cosine"]["median"], of["ratio"]["median"]
    nearest = str(cosine.idxmax())
    n = int(of["ratio"].n.max())
    turned = {name: median_of(row) for name, row in of["cosine"].iterrows()}
    claim = f"{nearest} points where full KD does with a median cosine of {turned[nearest].text()}"
    if others := [name for name in cosine.sort_values().index if name != nearest]:
        lead = difference_of_medians(*(of["cosine"].loc[name] for name in (nearest, others[-1])))
        first, second = told_apart(turned[nearest], turned[others[-1]])
        claim = (
            f"That {nearest} points most nearly where full KD does {lead.claim}, with a median "
            f"cosine of {first} (next {others[-1]}, {second})"
        )
    number = "; ".join(
        f"{name}{f' at K = {row.k}' if row.k else ''} cosine {written(row['median'], '.3f')}, norm "
        f"{numeral(ratio[name])} times, {percent(row.opposed)} opposed, "
        f"{percent(row.silent)} silent"
        for name, row in of["cosine"].iterrows()
    )
    return Reading(
        f"{claim} over {counted(n, 'row')}; {_in_length(of['ratio'])}; {_against(of['cosine'])}.",
        number,
    )


def _in_length(rows: pd.DataFrame) -> str:
    """Say which loss's length is furthest from full KD's, and whether it is so by evidence."""
    off = {name: median_of(row).above(1) for name, row in rows.iterrows()}
    off = {name: one.negated if one.value < 0 else one for name, one in off.items()}
    first, *rest = sorted(off, key=lambda name: -off[name].value)
    told = f"{median_of(rows.loc[first]).text('.3g')} times full KD's"
    if not rest:
        return f"its length is {told}"
    lead, other = off[first].less(off[rest[0]]), median_of(rows.loc[rest[0]]).text(".3g")
    return f"that {first} differs most in length {lead.claim}: {told} (next {rest[0]}, {other})"


def _against(rows: pd.DataFrame) -> str:
    """Say which loss opposes full KD in most rows, and whether it is more than the next one."""
    first, *rest = (row for _, row in rows.sort_values("opposed", ascending=False).iterrows())
    told = f"in {share_of(first.opposed, first.n)} of the rows"
    if not first.opposed > 0:
        return "none of them opposes it" if rest else "it opposes it in no row"
    if not rest:
        return f"it opposes it {told}"
    lead = difference_of_shares(first.opposed, first.n, rest[0].opposed, rest[0].n)
    return f"that {first.name} opposes it most often {lead.claim}: {told} (next {rest[0].name})"


@TruncatedLosses.picture("Cosine and norm of losses beside full KD, against K", panels=True)
def losses_over_k(table: pd.DataFrame) -> Figure:
    """Two panels over K, a line a loss; one that takes no K is a level line.

    Lines are medians, bands the middle half of the rows, the dashed line is full KD itself.

    Args:
        table: as ``TruncatedLosses.table`` gives it.
    """
    require(table, "quantity", "loss", "k", "q25", "q75", number="median")
    ks = sorted(table.k[table.k > 0].unique().tolist()) or [1]
    floor = floor_of(table)
    conventions = {look["color"] for look in LOOKS.values()}  # have theirs on the same page
    hues = [hue for hue in (*CYCLE, OLIVE, WINE) if hue not in (*conventions, GREY)]
    figure, axes = new_panels(2, 1, figsize=(NARROW, 4.8), sharex=True)
    for ax, (quantity, label) in zip(axes, QUANTITIES.items(), strict=True):
        ax.axhline(1, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        rows = table[table.quantity == quantity]
        for place, (name, line) in enumerate(rows.groupby("loss", sort=False)):
            if (line.k == 0).all():
                line = pd.concat([line.assign(k=k) for k in (ks[0], ks[-1])])
            line = line.sort_values("k")
            low, middle, high = quartiles_drawn(line, quantity, floor)
            look = line_look(place, len(line)) | {"color": hues[place % len(hues)]}
            banded_line(ax, line.k, middle, low, high, label=name, **look)
        ax.set_ylabel(label)
        log_axis(ax, ks, "{x:.0f}")
    top_legend(axes[0], min(rows.loss.nunique(), 3))
    plain_log(axes[1])
    axes[1].set_ylim(bottom=floor)
    axes[1].set_xlabel(
        f"K, known classes (line: median, band: middle half of the rows){state_left_out(table)}"
    )
    return figure
