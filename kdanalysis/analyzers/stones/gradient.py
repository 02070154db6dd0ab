"""What the stones of a ladder send into the student's blocks (figure 18), from inner products."""

from collections.abc import Mapping, Sequence
from math import nan

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.analyzers.evidence import Interval, mean_of
from kdanalysis.analyzers.noun import Noun, Reading, last_epoch
from kdanalysis.analyzers.stones.ladder import said
from kdanalysis.analyzers.stones.ladder_pictures import side_lines
from kdanalysis.analyzers.student_t import for_all
from kdanalysis.core.wording import numeral, percent, written
from kdanalysis.draw.colours import FAINT
from kdanalysis.draw.look import Axes, Figure, new_axes
from kdanalysis.draw.marks import block_map
from kdanalysis.draw.panels import layer_panels, terms_legend
from kdanalysis.draw.tables import require

PIECE = 100  # samples whose step is told apart from others'
COLUMNS = ("block", "side", "norm", "cosine", "share")


class LadderGradient(Noun):
    """What every stone sends: the table of ``gradient_table``."""

    noun, title = "ladder_gradient", "What every stone sends into the student's blocks"


class LadderGradientTraining(Noun):
    """The table of ``gradient_table`` with a column epoch."""

    noun, title = "ladder_gradient_training", "What every stone sends, over training"


def gradient_table(
    grams: Mapping[str, Float[Tensor, "s s"]],
    sides: Sequence[str],
    count: int,
    pieces: Mapping[str, Float[Tensor, "p s"]] | None = None,
) -> pd.DataFrame:
    """Columns block, side, norm, cosine, cosine_student, share, share_half, n; a row a block, side.

    - ``norm``: L2 norm of the side's gradient in the block's parameters, of the mean over the n
      samples, weighted as the loss weighs it.
    - ``cosine``: with the gradient of all sides together, ``cosine_student`` with that of the
      student's own terms; NaN where one of the two is zero.
    - ``share``: <g_side, g_total> / ||g_total||^2, the part of the step along the total that the
      side makes; the shares of a block add up to 1, and a side that pulls back has one below 0.
    - ``share_half``: half of the 95 % t interval of the mean share in the steps of pieces of the
      samples, widened to hold it around ``share``: chance moves all samples' share otherwise than
      theirs, whose gradients may be noise for the most part. NaN of fewer than two.

    Args:
        grams: inner products of the sides' gradients, by block.
        sides: names, the student's own first.
        count: n.
        pieces: shares of the sides in the step of each of several pieces of the samples, by block.

    Raises:
        ValueError: a matrix of another size than there are sides.
    """
    frames = []
    for block, gram in grams.items():
        if gram.shape != (len(sides), len(sides)):
            raise ValueError(
                f"the matrix of block {block!r} is {tuple(gram.shape)}, there are {len(sides)} "
                f"sides"
            )
        norm, along, total = gram.diagonal().sqrt(), gram.sum(1), gram.sum()
        values = {
            "norm": norm,
            "cosine": _cosine(along, norm * total.sqrt()),
            "cosine_student": _cosine(gram[0], norm * norm[0]),
            "share": along / total.where(total > 0, torch.nan),
        }
        shares = (pieces or {}).get(block, gram.new_empty(0, len(sides)))
        each = [mean_of(one.tolist()) for one in shares.T]
        apart = (values["share"] - values["share"].new_tensor([one.value for one in each])).abs()
        values["share_half"] = apart + apart.new_tensor([one.half for one in each])
        columns = {name: value.tolist() for name, value in values.items()}
        frames.append(pd.DataFrame({"block": block, "side": list(sides), **columns, "n": count}))
    return pd.concat(frames, ignore_index=True)


def _cosine(product: Tensor, norms: Tensor) -> Tensor:
    return (product / norms.where(norms > 0, torch.nan)).clamp(-1, 1)


@LadderGradient.reads()
@LadderGradientTraining.reads()
def gradient_reading(table: pd.DataFrame) -> Reading:
    """Whether shallow blocks are fed by many stones, and who pulls back.

    In the last epoch, where there are several, with 95 % intervals over pieces of 100 samples; the
    number is the share of the stones together in every block.
    """
    require(table, *COLUMNS, number="norm")
    table = last_epoch(table)
    stones = together(table)
    shares = {block: one.value for block, one in stones.items()}
    number = "share of the stones: " + "; ".join(f"{b} {percent(s, 0)}" for b, s in shares.items())
    first, last = next(iter(shares)), list(shares)[-1]
    more = stones[first].less(stones[last])
    claim = (
        f"The stones make {stones[first].percent()} of the step of the shallowest block {first} "
        f"and {stones[last].percent()} of that of the deepest, {last}: that they make more in the "
        f"shallow one {more.claim}, {more.points()}"
    )
    against = table[table.cosine < 0]
    if against.empty:
        return Reading(f"{claim}; no side pulls against the whole in any block.", number)
    worst = against.loc[against.cosine.idxmin()]
    count = int(table.share.notna().sum())
    share = Interval(float(worst.share), float(worst.get("share_half", nan))).chosen_of(
        count, max(2, worst.n // PIECE)
    )
    told = (
        f"{claim}; that {said(worst.side)} pulls against the whole in {worst.block} "
        f"{share.negated.claim} (cosine {written(worst.cosine, '.2f')}, {share.percent()} of the "
        f"step{for_all(share.half, count, 'shares')})."
    )
    return Reading(told, number)


def together(table: pd.DataFrame) -> dict[str, Interval]:
    """Share of all stones together by block: what is left of the student's, and its interval."""
    found = {}
    for block, rows in table.groupby("block", sort=False):
        own = rows[rows.side == "student"]
        half = float(own.share_half.iloc[0]) if "share_half" in own and len(own) else nan
        found[str(block)] = Interval(float(rows.share[rows.side != "student"].sum()), half)
    return found


@LadderGradient.picture("Gradient norm by side and block")
def gradient_by_block(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Heat map: the norm of every side's gradient in every student block, and its share there.

    Blocks that a side has no path to are left empty.
    """
    require(table, *COLUMNS, "n", number="norm")
    norms = _grid(table, "norm")
    shares = _grid(table, "share")
    norms.index = [said(side) for side in norms.index]
    ax = ax or new_axes(2.6 + 1.0 * norms.shape[1], 1.3 + 0.62 * len(norms))
    texts = [
        [
            f"{numeral(norm, 2)}\n{percent(share, 0)}" if norm > 0 else "no path"
            for norm, share in row
        ]
        for row in np.dstack([norms, shares])
    ]
    block_map(ax, norms.where(norms > 0), texts, "norm of the gradient (nats)", None)
    ax.set_xlabel(
        f"block of the student\ncell: norm; share of the step ({table.n.iloc[0]:,} samples)"
    )
    return ax


def _grid(table: pd.DataFrame, values: str) -> pd.DataFrame:
    """Sides as rows, the stones in their order and the student last; blocks as columns."""
    sides = list(dict.fromkeys(table.side))
    order = [side for side in sides if side != "student"] + ["student"] * ("student" in sides)
    grid = table.pivot(index="side", columns="block", values=values)
    return grid.loc[order, list(dict.fromkeys(table.block))]


@LadderGradientTraining.picture("Share of every side in the step, by epoch", panels=True)
def gradient_over_training(table: pd.DataFrame) -> Figure:
    """Share of every side in the step of each student block, against the epoch; a panel a block."""
    require(table, "epoch", "block", "side", "share", number="share")
    reached = table[(table.norm > 0) | (table.side == "student")]
    rows = ordered(reached.rename(columns={"block": "layer"}))
    figure, panels = layer_panels(rows)
    stones = sorted({*rows.side} - {"student"}, key=lambda side: (len(side), side))
    sides = [*stones, *(["student"] if "student" in set(rows.side) else [])]
    for block, ax in panels.items():
        side_lines(ax, rows[rows.layer == block], "share", 100, sides)
        ax.axhline(0, color=FAINT, linewidth=1, zorder=0)
    figure.supxlabel("epoch", fontsize="medium")
    figure.supylabel("share of the step (%)", fontsize="medium")
    terms_legend(figure, [said(side) for side in sides])
    return figure


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Put the student's rows last, as it stands at the end of the ladder."""
    student = table.side == "student"
    return pd.concat([table[~student], table[student]])
