"""Uptake: whether the student's region says what its teacher's region says, by case."""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch

from kdanalysis.analyzers.base import Labels
from kdanalysis.analyzers.by_region import (
    ByCase,
    Regions,
    inner_scales,
    tell_complementary,
    with_means,
)
from kdanalysis.analyzers.noun import Reading, last_epoch
from kdanalysis.core.cases import KINDS, region_kinds
from kdanalysis.draw.look import require

SHARES = ("local", "whole", "own", "label")
SAID = ("local", "whole")  # what is read and drawn
COLUMNS = ("epoch", "scale", "case", "by_class", "n", *SAID)


class RegionUptake(ByCase):
    """What the student names in a cell, by epoch, scale and the teacher's case there.

    Shares of (sample, cell) pairs in which the student's class of the cell is

    - ``local``: the teacher's class of that cell: what the loss on the cell asks for;
    - ``whole``: the teacher's class of the whole image: equal to ``local`` in the cases that are
      consistent by class, its rival in the others;
    - ``own``: the student's own class of the whole image;
    - ``label``: the label.

    Args:
        num_classes: of the logits.
        scales: of the regions.
        epochs: every epoch.
    """

    noun, title = "uptake", "Uptake of the cells' classes"
    made_for = ("num_classes", "scales", "steps")

    def __init__(
        self, num_classes: int, scales: Sequence[int] = (1, 2, 4), epochs: Sequence[int] = (0,)
    ) -> None:
        super().__init__(num_classes, scales, epochs)
        places = len(self.epochs), len(self.scales), len(KINDS)
        self.add_sum("sums", *places, 1 + len(SHARES))

    def add(self, student: Regions, teacher: Regions, target: Labels, place: Labels) -> None:
        """Add the finite samples of a batch, with the places of their epochs."""
        label = target.long().unsqueeze(-1)
        kind = region_kinds(teacher, label.squeeze(-1))
        said, asked = student.argmax(1), teacher.argmax(1)
        rivals = asked, asked[:, :1], said[:, :1], label
        same = [torch.ones_like(said), *(said == rival for rival in rivals)]
        rows = torch.stack([x.double() for x in same], -1).flatten(0, 1)
        scale = place.unsqueeze(-1) * len(self.scales) + self.scale_places().to(kind)
        self.add_rows("sums", scale * len(KINDS) + kind, rows)

    def table(self) -> pd.DataFrame:
        """Columns epoch, scale, case, by_class, by_correctness, n, local, whole, own, label, ...

        ``by_class`` and ``by_correctness`` tell whether the case is complementary; n counts
        (sample, cell) pairs, and a share of none is NaN. The last column is non_finite.
        """
        index = [(e, m, kind) for e in self.epochs for m in self.scales for kind in KINDS]
        frame = tell_complementary(pd.DataFrame(index, columns=["epoch", "scale", "case"]))
        frame = with_means(frame, self.sums.cpu().flatten(0, 2), SHARES)
        return frame.assign(non_finite=int(self.non_finite))


@RegionUptake.reads()
def uptake_reading(table: pd.DataFrame) -> Reading:
    """Whether the student takes up the local class where it is not the image's.

    At the last epoch; the number is how often it names the teacher's class of the cell, by scale.
    """
    found = by_scale(table)
    number = "; ".join(f"scale {m}: {_told(*parts)}" for m, parts in found.items())
    scale = max(found)
    same, other = found[scale]
    if not other["n"]:
        return Reading(f"At scale {scale} no cell names another class than its image.", number)
    first = (
        f"Where the teacher's cell at scale {scale} names another class than the image, the "
        f"student names that class in {other['local']:.0%} of these {other['n']:,} cells and the "
        f"image's in {other['whole']:.0%}"
    )
    rest = f"; where cell and image agree, it follows in {same['local']:.0%}." if same["n"] else "."
    return Reading(f"{first}{rest} {_verdict(other['local'], other['whole'])}", number)


def _told(same: Mapping, other: Mapping) -> str:
    told = [f"{same['local']:.1%} where it is the image's"] if same["n"] else []
    if other["n"]:
        told.append(
            f"{other['local']:.1%} where it is another (the image's class {other['whole']:.1%})"
        )
    return ", ".join(told)


def _verdict(local: float, whole: float) -> str:
    if local == whole:
        return "The local class and the image's are named equally often."
    if local > whole:
        return "The local class is taken up more often than the image's."
    return "The image's class is named more often than the local one."


def by_scale(table: pd.DataFrame) -> dict[int, tuple[dict, dict]]:
    """Return by scale n, local and whole where the cell names the image's class, and another.

    Scales beyond the whole image, where there are any; shares weigh the cases by their pairs.
    """
    require(table, *COLUMNS, number="local")
    rows = last_epoch(table)
    return {
        m: tuple(
            pooled(rows[(rows.scale == m) & (rows.by_class == other)]) for other in (False, True)
        )
        for m in inner_scales(rows)
    }


def pooled(rows: pd.DataFrame) -> dict[str, int | float]:
    """Return n, local and whole over the pairs of all rows; NaN where there are none."""
    n = int(rows.n.sum())
    sums = {name: float((rows[name].fillna(0.0) * rows.n).sum()) for name in SAID}
    return {"n": n} | {name: total / n if n else float("nan") for name, total in sums.items()}


@RegionUptake.reads(of_all=True)
def runs_reading(tables: Mapping[str, pd.DataFrame]) -> Reading:
    """Which student takes up most of what its teacher says in cells of their own.

    The number is the share of cells of another class in which each student names that class.
    """
    rows = run_shares(tables)
    other = rows[(rows.kind == "other") & (rows.n > 0)]
    number = "; ".join(
        f"{row.run}: {row.local:.1%}, the image's class {row.whole:.1%} (n = {row.n:,})"
        for row in other.itertuples()
    )
    if len(other) < 2:
        told = "There are no two students with cells that name another class than their image."
        return Reading(told, number)
    ranked = other.sort_values("local", kind="stable")
    least, most = ranked.iloc[0], ranked.iloc[-1]
    told = (
        f"Where a cell names another class than the whole image at scale {most.scale}, "
        f"{most.run} says so most often, in {most.local:.1%} of the cells, and {least.run} least "
        f"often, in {least.local:.1%}. Between single trainings a small difference is chance."
    )
    return Reading(told, number)


def run_shares(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return run, scale, kind ("same" or "other"), n, local, whole, at the finest common scale."""
    found = {run: by_scale(table) for run, table in tables.items()}
    common = set.intersection(*(set(scales) for scales in found.values()))
    if not common:
        raise ValueError("the students' regions have no scale in common")
    scale = max(common)
    return pd.DataFrame(
        {"run": run, "scale": scale, "kind": kind, **part}
        for run, scales in found.items()
        for kind, part in zip(("same", "other"), scales[scale], strict=True)
    )


RegionUptake.shortens(last_epoch)
