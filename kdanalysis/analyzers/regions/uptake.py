"""Uptake: whether the student's region says what its teacher's region says, by case."""

from collections.abc import Mapping

import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.base import Labels
from kdanalysis.analyzers.by_region import (
    ByCase,
    Regions,
    inner_scales,
    scale_slices,
    tell_complementary,
    with_means,
)
from kdanalysis.analyzers.evidence import SEEN, Interval, share_interval
from kdanalysis.analyzers.noun import Reading, Tables, last_epoch
from kdanalysis.analyzers.student_t import wide
from kdanalysis.analyzers.students.seeds import (
    above_base,
    base_of,
    by_seed,
    what_intervals_are_over,
)
from kdanalysis.core.cases import KINDS, region_kinds
from kdanalysis.core.wording import percent, percents
from kdanalysis.draw.tables import require

SHARES = ("local", "whole", "own", "label")
SAID = ("local", "whole")  # what is read and drawn
COLUMNS = ("epoch", "scale", "case", "by_class", "n", *SAID)
LEADS = ("images", "lead", "cells", "square", "product", "cells_square")  # by image


class RegionUptake(ByCase):
    """What the student names in a cell, by epoch, scale and the teacher's case there.

    Shares of (sample, cell) pairs in which the student's class of the cell is

    - ``local``: the teacher's class of that cell: what the loss on the cell asks for;
    - ``whole``: the teacher's class of the whole image: equal to ``local`` in the cases that are
      consistent by class, its rival in the others;
    - ``own``: the student's own class of the whole image;
    - ``label``: the label.

    Arguments as for ``Regional``.
    """

    noun, title = "uptake", "Uptake of the cells' classes"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """By epoch and scale: sums of every case, of all images, and of squares by case."""
        places = len(self.epochs), len(self.scales)
        return {
            "sums": (*places, len(KINDS), 1 + len(SHARES)),
            "leads": (*places, len(LEADS)),
            "squares": (*places, len(KINDS)),
        }

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
        other = (asked != asked[:, :1]).double()
        lead = other * (same[1].double() - same[2].double())
        kinds = torch.arange(len(KINDS), device=kind.device)
        of_kind = kind.unsqueeze(-1) == kinds  # (n, r, kinds)
        for number, part in enumerate(scale_slices(self.scales).values()):
            d, m = lead[:, part].sum(-1), other[:, part].sum(-1)
            of_images = torch.stack([(m > 0).double(), d, m, d * d, d * m, m * m], -1)
            row = place * len(self.scales) + number
            self.add_rows("leads", row, of_images)
            self.add_rows("squares", row, of_kind[:, part].sum(1).double() ** 2)

    def table(self) -> pd.DataFrame:
        """Columns epoch, scale, case, by_class, by_correctness, n, local, whole, own, label, ...

        ``by_class`` and ``by_correctness`` tell whether the case is complementary; n counts
        (sample, cell) pairs, and a share of none is NaN; ``case_images`` is the number of images
        that tell as much if the cells of one all agree, n^2 / sum m^2 of m cells an image. Of all
        cells of the epoch and scale that name another class than their image, the same in every
        case: ``images`` that have such cells, ``lead``, the share that names ``local`` less that of
        ``whole``, and ``lead_se``, its standard error, the cells of one image taken together; two
        images more of as many cells as the mean, one for and one against, are counted in it (Bonett
        and Price), as few that agree would have none at all. The last column is non_finite.
        """
        index = [(e, m, kind) for e in self.epochs for m in self.scales for kind in KINDS]
        frame = tell_complementary(pd.DataFrame(index, columns=["epoch", "scale", "case"]))
        frame = with_means(frame, self.sums.cpu().flatten(0, 2), SHARES)
        images, *lead = (x.repeat_interleave(len(KINDS)) for x in self._lead())
        more = {"images": images.long(), "lead": lead[0], "lead_se": lead[1]}
        n = self.sums.cpu().flatten(0, 2)[:, 0]
        squares = self.squares.cpu().flatten()
        more |= {"case_images": n**2 / squares.where(squares > 0, 1.0)}
        more = {name: value.tolist() for name, value in more.items()}
        return frame.assign(**more, non_finite=int(self.non_finite))

    def _lead(self) -> tuple[Tensor, Tensor, Tensor]:
        """Images, the ratio sum d / sum m over them, and its standard error, by epoch and scale."""
        images, d, m, dd, dm, mm = self.leads.cpu().flatten(0, 1).unbind(-1)
        lead = d / m
        spread = (dd - 2 * lead * dm + lead**2 * mm).clamp(min=0) * images / (images - 1)
        more = (m / images) ** 2 * ((1 - lead) ** 2 + (1 + lead) ** 2)
        return images, lead, ((spread + more).sqrt() / m).where(images > 1, torch.nan)


@RegionUptake.reads()
def uptake_reading(table: pd.DataFrame) -> Reading:
    """Whether the student takes up the local class where it is not the image's.

    At the last epoch, with Student's 95 % interval of the difference over images; the number is how
    often it names the teacher's class of the cell, by scale.
    """
    found = by_scale(table)
    number = "; ".join(f"scale {m}: {_told(*parts)}" for m, parts in found.items())
    scale = max(found)
    same, other = found[scale]
    if not other["n"]:
        return Reading(f"At scale {scale} no cell names another class than its image.", number)
    local, whole = percents(other["local"], other["whole"])
    first = (
        f"Where the teacher's cell at scale {scale} names another class than the image, the "
        f"student names that class in {local} of these {other['n']:,} cells and the image's in "
        f"{whole}"
    )
    follows = f"; where cell and image agree, it follows in {percent(same['local'])}"
    rest = follows * bool(same["n"]) + "."
    row = _of_scale(table, scale)
    lead = Interval(float(row.lead), wide(row.images) * float(row.lead_se))
    return Reading(f"{first}{rest} {_verdict(lead)}", number)


def _told(same: Mapping, other: Mapping) -> str:
    told = [f"{percent(same['local'])} where it is the image's"] if same["n"] else []
    if other["n"]:
        told.append(
            f"{percent(other['local'])} where it is another (the image's class "
            f"{percent(other['whole'])})"
        )
    return ", ".join(told)


def _verdict(lead: Interval) -> str:
    if lead.negated.verdict == SEEN:
        more = lead.negated.points()
        return f"The image's class more often than the local one is {SEEN}: {more}."
    return f"The local class more often than the image's {lead.claim}: {lead.points()}."


def by_scale(table: pd.DataFrame) -> dict[int, tuple[dict, dict]]:
    """Return what is :func:`pooled` by scale where the cell names the image's class, and another.

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
    """Return n, images, local and whole over the pairs of all rows; NaN where there are none.

    The rows are of one epoch and scale, and of cells that name the image's class or of such that
    name another.
    """
    n = int(rows.n.sum())
    sums = {name: float((rows[name].fillna(0.0) * rows.n).sum()) for name in SAID}
    means = {name: total / n if n else float("nan") for name, total in sums.items()}
    return {"n": n, "images": _images(rows)} | means


def _images(rows: pd.DataFrame) -> float:
    """How many images tell as much if the cells of one agree; at least, where two cases mix.

    Right and wrong images are apart; sum (a + b)^2 <= (root sum a^2 + root sum b^2)^2.
    """
    if "case_images" not in rows:
        return float("nan")
    seen = rows[rows.n > 0]
    roots = (seen.n / seen.case_images**0.5).groupby(seen.case.str[:2]).sum()
    return float(seen.n.sum() ** 2 / (roots**2).sum()) if len(seen) else 0.0


@RegionUptake.reads(of_all=True)
def runs_reading(tables: Tables) -> Reading:
    """Whether students take up more than plain KD's of what the teacher says in cells of their own.

    Than the first one's where there is no plain KD. The interval takes the cells of an image as if
    they agreed; the number is the share of cells of another class in which each student names that
    class.
    """
    rows = run_shares(tables)
    other = rows[(rows.kind == "other") & (rows.n > 0)]
    number = "; ".join(
        f"{row.run}: {percent(row.local)}, the image's class {percent(row.whole)} (n = {row.n:,})"
        for row in other.itertuples()
    )
    if len(by_seed(other.run)) < 2:
        told = "There are no two losses with cells that name another class than their image."
        return Reading(told, number)
    scale = int(other.scale.iloc[0])
    found = {row.run: share_interval(row.local, row.images) for row in other.itertuples()}
    claims = [f"{loss} {one.points()} ({one.verdict})" for loss, one in above_base(found).items()]
    told = (
        f"Where a cell names another class than the whole image at scale {scale}, saying so more "
        f"often than {base_of(by_seed(found))}: {', '.join(claims)}."
    )
    return Reading(f"{told} {what_intervals_are_over(found)}", number)


def _of_scale(table: pd.DataFrame, scale: int) -> pd.Series:
    """The first row of a scale at the last epoch, with what is the same in every case."""
    require(table, "images", "lead", "lead_se")
    rows = last_epoch(table)
    return rows[rows.scale == scale].iloc[0]


def run_shares(tables: Tables) -> pd.DataFrame:
    """Return run, scale, kind ("same" or "other") and what is :func:`pooled` of it.

    At the finest common scale.
    """
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
