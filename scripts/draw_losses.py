"""Draw docs/losses.svg, the picture of the README, from the CIFAR-10 logits that lie beside it.

    python scripts/draw_losses.py
    python scripts/draw_losses.py --check

Every loss's gradient against plain KD's: where it points, and how far it goes. ``--check`` draws
nothing: it says which numbers of the picture are not those of the logits, and ends with 1.
"""

import argparse
import re
import sys
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import kdanalysis as kd

ROOT = Path(__file__).parents[1]
LOGITS, PICTURE = ROOT / "notebooks" / "logits" / "cifar10.npz", ROOT / "docs" / "losses.svg"
LOSSES = {  # plain KD first; T = 4 and k = 5, the papers'
    "KD": kd.KD(),
    "KD, weight 6": kd.KD(weight=6),
    "DKD, weights 1/1": kd.DKD(beta=1),
    "DKD, weights 1/8": kd.DKD(beta=8),
    "GDKD, weights 1/1/1": kd.GDKD(weights=(1, 1, 1)),
    "GDKD, weights 1/1/8": kd.GDKD(weights=(1, 1, 8)),
}
COLOURS = {"KD": "#e69f00", "DKD": "#7755ff", "GDKD": "#dd1155"}  # as on every page
INK, GREY = "#14213d", "#6b6b6b"


def against_kd(table: pd.DataFrame) -> pd.DataFrame:
    """Cosine, multiplier and the middle half of the samples' own ratios, a row a loss."""
    rows = table[(table.loss_a == "KD") & (table.teacher == "all")].set_index("loss_b")
    return rows[["cosine", "multiplier", "ratio_q25", "ratio_q75"]]


def numbers(rows: pd.DataFrame) -> list[str]:
    """What is written beside the dots."""
    return [f"cosine {row.cosine:.2f}, step x {row.multiplier:.1f}" for row in rows.itertuples()]


def draw(rows: pd.DataFrame) -> Figure:
    """One dot a loss, its name and numbers beside it, a line for the middle half of the samples."""
    figure = Figure((7.0, 3.7), layout="constrained")
    ax: Axes = figure.subplots()
    ax.spines[["top", "right"]].set_visible(False)
    ax.plot(1, 1, "o", markersize=10, color=COLOURS["KD"])
    ax.annotate("KD", (1, 1), (0, 9), ha="center", size=12, weight="bold", **beside(INK))
    for row, text in zip(rows.itertuples(), numbers(rows), strict=True):
        colour = COLOURS[row.Index.split(",")[0]]
        ax.hlines(row.cosine, row.ratio_q25, row.ratio_q75, color=colour, linewidth=1.6, alpha=0.6)
        ax.plot(row.multiplier, row.cosine, "o", markersize=10, color=colour)
        end = max(row.multiplier, row.ratio_q75), row.cosine
        ax.annotate(row.Index, end, (10, 2), size=11.5, weight="bold", **beside(colour))
        ax.annotate(text, end, (10, -11), size=10.5, **beside(GREY))
    for start, tip in (((1.12, 1), (5.3, 1)), ((1, 0.92), (1, 0.3))):
        ax.annotate("", tip, start, arrowprops={"arrowstyle": "-|>", "color": GREY, "shrinkA": 0})
    ax.annotate("only a longer step", (2.4, 1), (0, 5), ha="center", size=11, **beside(GREY))
    ax.annotate("another direction", (1, 0.4), (8, 0), size=11, **beside(GREY))
    ax.set(xscale="log", xlim=(0.85, 60), ylim=(0, 1.14))
    ax.set_xticks([1, 2, 5, 10, 20], labels=["1", "2", "5", "10", "20"], size=11)
    ax.set_xticks([], minor=True)
    ax.set_yticks([0, 0.5, 1], labels=["0", "0.5", "1"], size=11)
    ax.set_xlabel(
        "step: length of the gradient over that of KD (line: middle half of the images)", size=11.5
    )
    ax.set_ylabel("direction: cosine to KD", size=11.5)
    return figure


def beside(colour: str) -> dict[str, str]:
    """How a text beside a dot looks."""
    return {"textcoords": "offset points", "color": colour}


def main() -> None:
    """Draw the picture, or say which of its numbers the logits do not give."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare the picture with the logits")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="an SVG file")
    options = parser.parse_args()
    rows = against_kd(kd.compare(LOGITS, losses=LOSSES).tables["direction"])
    if not options.check:
        with mpl.rc_context({"svg.hashsalt": "kdanalysis", "svg.fonttype": "none"}):
            draw(rows).savefig(options.picture, metadata={"Date": None, "Creator": None})
        return
    shown = re.findall(r">(cosine [^<]*)<", options.picture.read_text(encoding="utf-8"))
    if shown != numbers(rows):
        sys.exit(f"the picture has {shown}, the logits give {numbers(rows)}")


if __name__ == "__main__":
    main()
