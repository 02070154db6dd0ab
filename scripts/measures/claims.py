"""What four papers say, held against the tables of a matrix of students: one verdict a claim."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import ttest_1samp

Tables = Mapping[str, pd.DataFrame]
POINTS = 0.02  # accuracies that differ by less are not told apart
NO_WORSE = -POINTS


@dataclass(frozen=True)
class Claim:
    """One sentence of a paper, and the number here that could contradict it.

    Args:
        paper: short name; "control" where the question is ours.
        says: the claim in our words.
        number: what is measured.
        values: the number from the tables, one a seed or a network; above ``above`` it agrees.
        above: what the whole 95 % t interval has to lie above; ``NO_WORSE`` for "as good as".
        least: a mean nearer to ``above`` than this is not claimed, whatever its interval.
    """

    paper: str
    says: str
    number: str
    values: Callable[[Tables], pd.Series]
    above: float = 0.0
    least: float = 0.0

    def row(self, tables: Tables) -> dict[str, object]:
        """Return the claim with mean, 95 % t interval and verdict."""
        told = {"paper": self.paper, "claim": self.says, "number": self.number}
        try:
            found = self.values(tables).dropna()
        except KeyError:  # a table, a student or a column that nobody trained
            found = pd.Series(dtype=float)
        low, high = interval(found)
        told |= {"mean": found.mean(), "low": low, "high": high, "n": len(found)}
        return told | {"verdict": self.verdict(found, low, high)}

    def verdict(self, found: pd.Series, low: float, high: float) -> str:
        """Return "holds", "does not hold", "not seen" (less than what counts), or why neither."""
        if found.empty:
            return "cannot be tested: not trained here"
        if len(found) == 1:
            return "cannot be tested: one seed"
        if np.isnan(low):
            return "cannot be tested: its seeds do not differ"
        if low <= self.above <= high:
            return "not seen"
        if abs(found.mean() - self.above) < self.least:
            return f"not seen: less than {self.least:g}"
        return "holds" if low > self.above else "does not hold"


def interval(found: pd.Series) -> tuple[float, float]:
    """95 % t interval of the mean; NaN for one value, or for several with no spread to judge by."""
    if len(found) < 2 or np.ptp(found) < 1e-9:
        return np.nan, np.nan
    return tuple(ttest_1samp(found, 0).confidence_interval(0.95))


def accuracy(one: str, other: str) -> Callable[[Tables], pd.Series]:
    """Accuracy of one student less another's, seed by seed."""

    def values(tables: Tables) -> pd.Series:
        found = tables["accuracy"].pivot(index="seed", columns="student", values="accuracy")
        return found[one] - found[other]

    return values


def relation(one: str, other: str) -> Callable[[Tables], pd.Series]:
    """Kendall's tau-b to the teacher outside its top 5, one student's less another's, by seed."""

    def values(tables: Tables) -> pd.Series:
        table = tables["relation"]
        kept = table[(table.measure == "kendall") & (table.notion == "top-5")]
        found = kept.pivot(index="seed", columns="student", values="mean")
        return found[one] - found[other]

    return values


def heard_less(tables: Tables) -> pd.Series:
    """Share of nckd in KD's gradient, least less most confident tenth, by seed."""
    table = tables["confidence"]
    kept = table[
        (table.student == "kd") & (table.loss == "kd parts by target") & (table.term == "nckd")
    ]
    found = kept.pivot(index="seed", columns="decile", values="share")
    return found[1] - found[10]


def by_size(tables: Tables) -> pd.Series:
    """Mean 1 - p of the label at T = 4, each teacher's less that of the next larger one."""
    table = tables["teacher_suppression"]
    kept = table[(table.of == "label") & (table.temperature == 4)]
    found = kept.drop_duplicates("network").set_index("network")["mean"]
    if len(found) < 2:
        raise KeyError("one teacher")
    return -found.sort_index().diff().dropna()


def nearer(tables: Tables) -> pd.Series:
    """Mean distance of the classes' correlations from the teacher's, KD's less DKD's, by seed."""
    table = tables["discrepancy"]
    table = table[table.given != table["class"]]
    apart = (table.student_correlation - table.teacher_correlation).abs()
    found = apart.groupby([table.seed, table.student]).mean().unstack()
    return found["kd"] - found["dkd 8"]


def more_conflict(tables: Tables) -> pd.Series:
    """Share of samples where label and low_other oppose, teacher wrong less right, by seed."""
    table = tables["conflict"]
    pair = (table.term_a == "ce") & (table.term_b == "low_other")
    table = table[pair & (table.student == "gdkd 1/1/8") & (table.n > 0)]
    weighed = (table.conflict * table.n).groupby([table.seed, table.teacher]).sum()
    found = (weighed / table.groupby(["seed", "teacher"]).n.sum()).unstack()
    return found["wrong"] - found["right"]


def complementary(column: str, least_share: bool) -> Callable[[Tables], pd.Series]:
    """Of cells below the whole image: 0.5 less the share that differs, or loss ratio less 1."""

    def values(tables: Tables) -> pd.Series:
        table = tables["regions_anatomy"]
        table = table[(table.part == "cell") & (table.scale > 1) & (table.student == "kd")]
        table = table.assign(loss=table.value * table.n)
        found = table.groupby(["seed", column])[["n", "loss"]].sum().unstack()
        if least_share:
            return 0.5 - found.n[True] / found.n.sum(axis=1)
        return found.loss[True] / found.n[True] / (found.loss[False] / found.n[False]) - 1

    return values


def cancels(tables: Tables) -> pd.Series:
    """Norm that is left of an image's cell gradients, no cell differing less most, by seed."""
    table = tables["regions_cancellation"]
    table = table[(table.student == "kd") & (table.scale == table.scale.max())]
    many = table.differing >= table.differing.max() / 2
    table = table.assign(many=many, kept=table.ratio * table.n)
    found = table.groupby(["seed", "many"])[["kept", "n"]].sum()
    left = (found.kept / found.n).unstack()
    return left[False] - left[True]


def points(paper: str, one: str, other: str, says: str, above: float = 0.0) -> Claim:
    """A claim about two students' accuracies."""
    number = f"accuracy, {one} less {other}"
    return Claim(paper, says, number, accuracy(one, other), above, 0.0 if above else POINTS)


def tau(paper: str, one: str, other: str, says: str) -> Claim:
    """A claim about two students' relations among the other classes."""
    number = f"tau-b to the teacher outside its top 5, {one} less {other}"
    return Claim(paper, says, number, relation(one, other))


CLAIMS = [
    points("DKD", "nckd", "tckd", "the other classes teach more than the target against them"),
    points("DKD", "nckd", "kd", "the other classes alone are as good as KD", NO_WORSE),
    Claim(
        "DKD",
        "KD hears less of the other classes where the teacher is sure",
        "share of nckd in KD's gradient, least less most confident tenth",
        heard_less,
    ),
    points("DKD", "nckd sure", "nckd unsure", "they teach more where the teacher is sure"),
    points("DKD", "dkd 8", "dkd 1", "a weight of 8 on them beats a weight of 1"),
    points("DKD", "dkd 8", "kd", "DKD beats KD"),
    Claim(
        "DKD",
        "a larger teacher is surer of the label",
        "mean 1 - p of the label at T = 4, each teacher less the next larger",
        by_size,
    ),
    Claim(
        "DKD",
        "classes correlate more like the teacher's than under KD",
        "mean distance of the correlations, kd less dkd 8",
        nearer,
    ),
    points("control", "dkd 8", "kd x 6", "DKD beats KD with longer steps"),
    tau(
        "GDKD", "gdkd 1/1/1", "dkd-top1 1", "relations: the top k split them better than the top 1"
    ),
    tau("GDKD", "gdkd 1/1/8", "dkd-top1 8", "relations: so they do at weight 8"),
    tau("GDKD", "gdkd 1/1/8", "gdkd 1/1/1", "relations: a weight of 8 is better than 1"),
    tau("control", "kd x 6", "kd", "relations: longer steps are better"),
    points("GDKD", "gdkd 1/1/8", "kd", "GDKD beats KD"),
    points("GDKD", "gdkd 1/1/8", "dkd 8", "GDKD beats DKD"),
    Claim(
        "control",
        "label and other classes oppose more often where the teacher is wrong",
        "share of samples with opposed gradients of ce and low_other, wrong less right",
        more_conflict,
    ),
    Claim(
        "SDD",
        "complementary cells are few",
        "half less their share of the cells, by class",
        complementary("by_class", True),
    ),
    Claim(
        "SDD",
        "a complementary cell has more loss than another",
        "ratio of mean losses less 1, by class",
        complementary("by_class", False),
    ),
    Claim(
        "SDD",
        "so it has where one of cell and image is right",
        "ratio of mean losses less 1, by correctness",
        complementary("by_correctness", False),
    ),
    points("SDD", "sdd 1-2", "kd", "SDD beats KD"),
    points("SDD", "sdd complementary", "sdd consistent", "complementary cells teach more"),
    Claim(
        "control",
        "cells that differ pull apart",
        "norm left of an image's mean cell gradient, few differing cells less many",
        cancels,
    ),
    points("block-wise", "blocks", "kd", "stepping stones beat KD"),
]


def verdicts(tables: Tables) -> pd.DataFrame:
    """Hold every claim against the tables."""
    return pd.DataFrame([claim.row(tables) for claim in CLAIMS])
