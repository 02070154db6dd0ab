"""Class profiles (figure 8): which classes the teacher sees in the images of one."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, Labels, Logits
from kdanalysis.analyzers.by_step import deviation
from kdanalysis.analyzers.evidence import between, wilson
from kdanalysis.analyzers.frames import flat_columns
from kdanalysis.analyzers.noun import Names, Reading
from kdanalysis.analyzers.student_t import wide
from kdanalysis.core.wording import percent
from kdanalysis.draw.colours import BLUE, FAINT, VERMILION
from kdanalysis.draw.look import PAGE, Axes, Figure, few_ticks, fine
from kdanalysis.draw.names import names_in, short
from kdanalysis.draw.order import like_together
from kdanalysis.draw.panels import panel_grid
from kdanalysis.draw.tables import require, state_left_out

PANELS = 12  # of more classes only so many are drawn
BARS = 8  # and of each only the most probable classes


class ClassProfile(Analyzer):
    """Mean of softmax(teacher / T) over the samples of every true class, shape (c, c).

    A class's row shows which other classes its images resemble to the teacher: its modes.

    Args:
        num_classes: c, at least 2; the state holds 2 c * c numbers.
        temperature: T > 0.
    """

    noun, title = "profile", "Class profiles"
    needs = ("teacher_logits", "target")
    made_for = ("num_classes", "temperature")

    def __init__(self, num_classes: int, temperature: float | int = 4.0) -> None:
        super().__init__(num_classes=num_classes, temperature=temperature)
        for state in ("probability", "squares"):
            self.add_sum(state, num_classes, num_classes)
        self.add_sum("count", num_classes)

    def add(self, teacher: Logits, target: Labels) -> None:
        """Add the finite samples of a batch."""
        p, label = (teacher.double() / self.temperature).softmax(-1), target.long()
        empty = torch.zeros_like(self.probability, device=p.device)
        self.accumulate(
            probability=empty.index_add(0, label, p),
            squares=empty.index_add(0, label, p.square()),
            count=label.bincount(minlength=self.num_classes),
        )

    def measures(self) -> dict[str, Tensor]:
        """``probability`` and its standard error (true class, class), NaN where none; ``n``."""
        n = self.count.unsqueeze(-1)
        return {
            "probability": self.probability / n,
            "probability_se": deviation(self.probability, self.squares, n) / n.sqrt(),
            "n": self.count.clone(),
        }

    def table(self) -> pd.DataFrame:
        """Columns target, class, probability, probability_se, rank, n, non_finite, temperature.

        One row per pair of classes (c * c rows), rank 1 the most probable; ``n`` is the number of
        samples of the target, ``probability_se`` the standard error over them. NaN where there are
        none.
        """
        values = self.compute()
        profile = values["probability"]
        rank = profile.argsort(dim=-1, descending=True, stable=True).argsort(-1).double() + 1
        values["rank"] = rank.masked_fill(profile.isnan(), torch.nan)
        classes = range(self.num_classes)
        frame = pd.DataFrame(product(classes, classes), columns=["target", "class"])
        n = values["n"].unsqueeze(-1)
        frame = frame.assign(**flat_columns(values | {"n": n.expand_as(profile)}))
        order = ["target", "class", "probability", "probability_se", "rank", "n", "non_finite"]
        return frame[order].assign(temperature=self.temperature)


@ClassProfile.reads()
def profile_reading(table: pd.DataFrame) -> Reading:
    """Whether classes have modes beside the true one: rivals of the median class, the strongest.

    A rival is another class whose mean probability is at least twice what an even spread of the
    mass beside the true class would give it. That most classes have one is seen where the share of
    those whose samples show one, at a level for all other classes, lies above a half with its 95 %
    interval, in which a class is one observation; and not so where that of those which may have one
    lies below. The strongest rival is told by the part of the mass beside the class it holds.
    """
    require(table, "target", "class", "probability", number="probability")
    rest = table[table.target != table["class"]].dropna(subset="probability")
    mass = rest.groupby("target").probability.transform("sum")
    part = rest.probability / mass.where(mass > 0)
    even = 1 / (table["class"].nunique() - 1)
    each = (part >= 2 * even).groupby(rest.target).sum()
    middle = each.median()
    strongest = part.groupby(rest.target).max().median()
    rivals = f"{middle:g} rival" if middle == 1 else f"{middle:g} rivals"
    held = percent(strongest, 0 if strongest >= 0.1 else 1)
    number = (
        f"{rivals} above twice an even spread (median class); the strongest "
        f"holds {held} of the mass beside the true class"
    )
    if np.isnan(strongest):
        claim = "The teacher leaves no mass beside the true class, so there are no modes to see."
        return Reading(claim, number)
    if even == 1:
        return Reading("With two classes the other one is no rival: it has all that is left.")
    reach = _with_rivals(rest, 2 * even * mass)
    ends = " to ".join(percent(end, 0) for end in reach)
    return Reading(
        f"That most classes have a rival {between(*reach).above(0.5).claim}: {(each > 0).sum()} of "
        f"{len(each)} classes (95 % interval {ends}) give another one at least "
        f"twice the probability of an even spread; the median class has {rivals}, its "
        f"strongest holds {held} of the mass beside it.",
        number,
    )


def _with_rivals(rest: pd.DataFrame, least: pd.Series) -> tuple[float, float]:
    """Ends of the share of classes with a probability above ``least``, over classes and samples.

    Of tables without standard errors over classes alone.
    """
    reach = pd.Series(0.0, rest.index)
    if "probability_se" in rest:
        others = len(rest) // rest.target.nunique()
        reach = rest.probability_se * [wide(n, others) for n in rest.n]
    sure, may = (rest.probability - reach > least), ~(rest.probability + reach < least)
    shares = [found.groupby(rest.target).any().mean() for found in (sure, may)]
    low, high = (wilson(share, rest.target.nunique()) for share in shares)
    return low[0], high[1]


@ClassProfile.picture(
    "Mean teacher probability for every class, by true class", names=True, panels=True
)
def class_profiles(
    table: pd.DataFrame,
    names: Names = None,
    classes: Sequence[int] | None = None,
    k: int = 5,
) -> Figure:
    """One panel a class: the teacher's mean probability for every class, given that it is true.

    The k most probable classes are blue, the true class vermilion. Up to 12 classes are drawn in
    full, those that the teacher takes for each other side by side. Of more classes, 12 are drawn,
    evenly spaced from the most to the least concentrated profile, and of each its 8 most probable
    classes, with the mass of all others as a number; the title says so.

    Args:
        table: as ``ClassProfile.table`` gives it.
        names: a name for every class.
        classes: which classes to draw instead.
        k: how many classes to colour.
    """
    columns = ("target", "class", "probability", "rank", "temperature")
    require(table, *columns, number="probability")
    seen = table.dropna(subset="probability")
    labels = names_in(table, names)
    whole = len(labels) <= PANELS
    order = likeness_order(table) if whole else []
    chosen = spread_classes(table) if classes is None else list(classes)
    if classes is None and whole:
        chosen = [target for target in order if target in chosen]
    bars, across = (len(labels), 5 if len(chosen) in (5, 9, 10) else 4) if whole else (BARS, 3)
    figure, grid = panel_grid(len(chosen), across, PAGE, 0.55 + 0.16 * bars, 0.9, sharey=whole)
    profiles = dict(tuple(seen.groupby("target")))
    for ax, target in zip(grid, chosen, strict=True):
        if target not in profiles:
            raise ValueError(f"class {target} has no samples in the table")
        _panel(ax, profiles[target], target, labels, k, order)
    _legend(figure, table, k, whole)
    if len(chosen) < (total := seen.target.nunique()):
        how = ", evenly spaced from the most to the least concentrated" if classes is None else ""
        figure.suptitle(f"{len(chosen)} of {total} classes{how}", fontsize="medium")
    return figure


def likeness_order(table: pd.DataFrame) -> list[int]:
    """All classes, those side by side to which the teacher gives each other's probability."""
    taken = table.pivot(index="target", columns="class", values="probability")
    groups = like_together(taken.to_numpy(dtype=float))
    return [member for group in groups for member in group]


def spread_classes(table: pd.DataFrame, count: int = PANELS) -> list[int]:
    """Up to ``count`` classes with samples, evenly spaced by the entropy of their profile."""
    seen = table.dropna(subset="probability")
    p = seen.probability.to_numpy()
    entropy = pd.Series(-p * np.log(np.maximum(p, 1e-300))).groupby(seen.target.to_numpy()).sum()
    if len(entropy) <= count:
        return sorted(int(target) for target in entropy.index)
    order = entropy.sort_values(kind="stable").index.to_numpy()
    return [int(order[i]) for i in np.linspace(0, len(order) - 1, count).round().astype(int)]


def _panel(
    ax: Axes, rows: pd.DataFrame, target: int, labels: list[str], k: int, order: list[int]
) -> None:
    """Bars of all classes in this order; without one of the most probable classes."""
    whole = bool(order)
    shown = rows.sort_values("rank").head(BARS)
    if whole:
        shown = rows.set_index("class").loc[order].reset_index()
    colours = [
        VERMILION if c == target else BLUE if rank <= k else FAINT
        for c, rank in zip(shown["class"], shown["rank"], strict=True)
    ]
    places = range(len(shown))
    ax.barh(places, shown.probability, color=colours, height=0.75)
    ax.set_yticks(
        places, labels=[short(labels[c], 13, labels) for c in shown["class"]], parse_math=False
    )
    ax.set_ylim(len(shown) - 0.4, -0.6)
    room = {4: 15, 5: 12}.get(ax.get_gridspec().ncols, 22)  # letters
    ax.set_title(short(labels[target], room, labels), loc="left", parse_math=False)
    few_ticks(ax.xaxis, 3)
    if not whole:
        rest = 1 - shown.probability.sum()
        ax.text(
            0.98, 0.03, f"others {rest:.2f}", transform=ax.transAxes, ha="right", fontsize=fine()
        )


def _legend(figure: Figure, table: pd.DataFrame, k: int, whole: bool) -> None:
    from matplotlib.patches import Patch

    meanings = {VERMILION: "true class", BLUE: f"other class among the {k} most probable"}
    if whole or k < BARS:
        meanings[FAINT] = "the rest"
    temperature = table.temperature.iloc[0]
    figure.legend(
        handles=[Patch(color=colour, label=label) for colour, label in meanings.items()],
        loc="outside lower center",
        ncols=3,
        frameon=False,
        title=f"mean teacher probability at T = {temperature:g}{state_left_out(table)}",
        title_fontsize="medium",
    )
