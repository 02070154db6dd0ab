"""Figures of what stones send into the student's blocks (figure 18), and of aligned features."""

import numpy as np
import pandas as pd

from kdanalysis.analyzers.stones.ladder_figure import last_epoch, said, side_lines
from kdanalysis.draw.look import (
    FAINT,
    INK,
    Axes,
    Figure,
    new_axes,
    require,
    short,
    slant_ticks,
    styled,
)
from kdanalysis.draw.panels import layer_panels, terms_legend

COLUMNS = ("block", "side", "norm", "cosine", "share")


@styled
def gradient_by_block(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Heat map: the norm of every side's gradient in every student block, and its share there.

    Blocks that a side has no path to are left empty.

    Args:
        table: columns block, side, norm, cosine, share, n (``gradient_table``).
        ax: axes to draw on; a new figure when None.
    """
    require(table, *COLUMNS, "n", number="norm")
    norms = _grid(table, "norm")
    shares = _grid(table, "share")
    ax = ax or new_axes(2.6 + 1.0 * norms.shape[1], 1.3 + 0.62 * len(norms))
    cells = norms.where(norms > 0)
    image = ax.imshow(cells, cmap="viridis_r", vmin=0, aspect="auto")
    for (row, column), norm in np.ndenumerate(cells):
        text = (
            "no path" if np.isnan(norm) else f"{norm:.2g}\n{100 * shares.iloc[row, column]:.0f} %"
        )
        dark = not np.isnan(norm) and norm > 0.5 * np.nanmax(cells)
        colour = "white" if dark else INK
        ax.text(column, row, text, ha="center", va="center", fontsize=9, color=colour)
    _name(ax, [said(side) for side in norms.index], list(norms.columns))
    ax.set_xlabel(
        f"block of the student\ncell: norm; share of the step ({table.n.iloc[0]:,} samples)"
    )
    ax.figure.colorbar(image, ax=ax, label="norm of the gradient (nats)")
    return ax


@styled
def gradient_over_training(table: pd.DataFrame) -> Figure:
    """Share of every side in the step of each student block, against the epoch; a panel a block.

    Args:
        table: columns epoch, block, side, share (``gradient_table``, by epoch).
    """
    require(table, "epoch", "block", "side", "share", number="share")
    reached = table[(table.norm > 0) | (table.side == "student")]
    rows = ordered(reached.rename(columns={"block": "layer"}))
    figure, panels = layer_panels(rows)
    for block, ax in panels.items():
        side_lines(ax, rows[rows.layer == block], "share", 100)
        ax.axhline(0, color=FAINT, linewidth=1, zorder=0)
    figure.supxlabel("epoch", fontsize=10)
    figure.supylabel("share of the step (%)", fontsize=10)
    terms_legend(figure)
    return figure


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Put the student's rows last, as it stands at the end of the ladder."""
    student = table.side == "student"
    return pd.concat([table[~student], table[student]])


@styled
def alignment_by_block(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Heat map: linear CKA of every student block with every teacher block.

    Args:
        table: columns student_block, teacher_block, cka, n (``FeatureAlignment``).
        ax: axes to draw on; a new figure when None.
    """
    require(table, "student_block", "teacher_block", "cka", "n", number="cka")
    cells = table.pivot(index="student_block", columns="teacher_block", values="cka")
    cells = cells.loc[list(dict.fromkeys(table.student_block))]
    cells = cells[list(dict.fromkeys(table.teacher_block))]
    ax = ax or new_axes(2.6 + 0.9 * cells.shape[1], 1.3 + 0.55 * len(cells))
    image = ax.imshow(cells, cmap="viridis_r", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(cells):
        text, colour = f"{value:.2f}", "white" if value > 0.5 else INK
        ax.text(column, row, text, ha="center", va="center", fontsize=9, color=colour)
    _name(ax, list(cells.index), list(cells.columns))
    ax.set_xlabel(f"block of the teacher ({table.n.iloc[0]:,} samples)")
    ax.set_ylabel("block of the student")
    ax.figure.colorbar(image, ax=ax, label="linear CKA")
    return ax


def gradient_number(table: pd.DataFrame) -> str:
    """Share of the stones together in every block, in the last epoch where there are several."""
    require(table, *COLUMNS, number="norm")
    table = last_epoch(table)
    stones = table[table.side != "student"].groupby("block", sort=False).share.sum()
    return "share of the stones: " + "; ".join(f"{b} {s:.0%}" for b, s in stones.items())


def gradient_sentence(table: pd.DataFrame) -> str:
    """What to read: whether shallow blocks are fed by many stones, and who pulls back."""
    require(table, *COLUMNS, number="norm")
    table = last_epoch(table)
    stones = table[table.side != "student"]
    shares = stones.groupby("block", sort=False).share.sum()
    first, last = shares.index[0], shares.index[-1]
    word = "more" if shares[first] > shares[last] else "no more"
    claim = (
        f"The stones make {shares[first]:.0%} of the step of the shallowest block {first} and "
        f"{shares[last]:.0%} of that of the deepest, {last}: {word} in the shallow one"
    )
    against = table[table.cosine < 0]
    if against.empty:
        return f"{claim}; no side pulls against the whole in any block."
    worst = against.loc[against.cosine.idxmin()]
    return (
        f"{claim}; {said(worst.side)} pulls against the whole in {worst.block} "
        f"(cosine {worst.cosine:.2f})."
    )


def alignment_number(table: pd.DataFrame) -> str:
    """CKA of every student block with its nearest teacher block."""
    best = nearest_blocks(table)
    return "; ".join(
        f"{r.student_block} and {r.teacher_block} {r.cka:.2f}" for r in best.itertuples()
    )


def alignment_sentence(table: pd.DataFrame) -> str:
    """What to read: whether each block is most alike the block of its own place."""
    best = nearest_blocks(table)
    ours = list(dict.fromkeys(table.student_block))
    theirs = list(dict.fromkeys(table.teacher_block))
    own = [
        ours.index(row.student_block) == theirs.index(row.teacher_block)
        for row in best.itertuples()
    ]
    if all(own):
        return "Every block of the student is most alike the teacher's block of its own place."
    return (
        f"{sum(own)} of {len(own)} blocks of the student are most alike the teacher's block of "
        f"their own place; the others are nearer to another."
    )


def nearest_blocks(table: pd.DataFrame) -> pd.DataFrame:
    """Return the row of the most alike teacher block, for every student block that has one."""
    require(table, "student_block", "teacher_block", "cka", number="cka")
    known = table[table.cka.notna()]
    return known.loc[known.groupby("student_block", sort=False).cka.idxmax()]


def _grid(table: pd.DataFrame, values: str) -> pd.DataFrame:
    """Sides as rows, the stones in their order and the student last; blocks as columns."""
    sides = list(dict.fromkeys(table.side))
    order = [side for side in sides if side != "student"] + ["student"] * ("student" in sides)
    grid = table.pivot(index="side", columns="block", values=values)
    return grid.loc[order, list(dict.fromkeys(table.block))]


def _name(ax: Axes, rows: list[str], columns: list[str]) -> None:
    ax.set_yticks(range(len(rows)), labels=[short(name) for name in rows], parse_math=False)
    ax.set_xticks(range(len(columns)), labels=[short(name) for name in columns], parse_math=False)
    if max(map(len, columns)) > 9:
        slant_ticks(ax)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
