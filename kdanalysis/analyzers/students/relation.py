"""Relations (figure 12): how alike student and teacher relate the non-top classes."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, flat_columns
from kdanalysis.analyzers.by_step import check_steps, epoch_column, epoch_sums, place_steps
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.setting import Setting
from kdanalysis.core.association import MEASURES, associations
from kdanalysis.core.partition import Partition, Target, Top1, TopK
from kdanalysis.core.streams import Bins
from kdanalysis.draw.look import require

BINS = Bins(-1.0, 1.0, 200)  # quartiles are good to 0.01
QUARTILES = {"q25": 0.25, "median": 0.5, "q75": 0.75}
Z = 1.96  # standard errors to either side of a 95 % interval
COURSE = 4  # fewer epochs than this show no course: the steps do
ENTRIES = 100_000  # logits of a chunk: its arrays stay in the cache


class NonTopRelation(Analyzer):
    """Association of the student's and the teacher's logits over the non-top classes, by step.

    The measures of ``kdanalysis.core.association``, per sample: Spearman's rank correlation,
    Kendall's tau-b, the cosine of the logits centred over the non-top classes, and the share of
    pairs of non-top classes that both sides order the same way, among the pairs that neither side
    ties. None depends on the temperature. Logits tie where their stored values are equal. The
    classes left out are, by notion: the target; the teacher's top-1; its top-k. A notion called
    "top-5" looks at all but the teacher's top 5.

    A sample whose remaining logits are all equal on a side, or of which fewer than two remain,
    has no relation under that notion: it is counted in ``no_relation`` and left out.

    The mean and the standard deviation over samples are exact. The quartiles come from 200 bins
    on [-1, 1]: each is within 0.01 of the sample's own.

    1000 samples of 1000 classes, all notions and measures, were measured at 0.9 s on one core.

    Args:
        k: size of the top-k that is left out, below the number of classes.
        steps: every captured step; a single one for logits that come from no training.
    """

    noun, title = "relation", "Relations among the non-top classes"
    needs = ("student_logits", "teacher_logits")
    takes = ("target", "step", "epoch")

    def __init__(self, k: int = 5, steps: Sequence[int] = (0,)) -> None:
        ordered = check_steps(steps)
        super().__init__(k, ordered)
        self.notions = {"target": Target(), "top-1": Top1(), f"top-{k}": TopK(k)}
        self.steps = ordered
        shape = len(ordered), len(self.notions)
        self.add_sum("no_relation", *shape)
        for state in ("total", "squares"):
            self.add_sum(state, *shape, len(MEASURES))
        self.add_sum("counts", *shape, len(MEASURES), BINS.size)
        self.add_sum("epochs", 2, len(ordered))

    @classmethod
    def for_setting(cls, setting: Setting) -> "NonTopRelation":
        """Return the analyzer for this k and these steps."""
        return cls(setting.k, setting.steps)

    def update(
        self,
        student_logits: Float[Tensor, "n c"],
        teacher_logits: Float[Tensor, "n c"],
        target: Int[Tensor, " n"] | None = None,
        step: Int[Tensor, " n"] | None = None,
        epoch: Int[Tensor, " n"] | None = None,
    ) -> None:
        """Add one batch; without targets nothing is added to the notion "target".

        Raises:
            ValueError: as :meth:`Analyzer.keep`, a step not announced, or k of all classes.
        """
        kept = self.keep(teacher_logits, student_logits, target)
        label = teacher_logits.argmax(-1) if target is None else target
        place = place_steps(self.steps, step, label)
        self.accumulate(epochs=epoch_sums(len(self.steps), place, epoch))
        if not kept.any():
            return
        rows = max(1, ENTRIES // teacher_logits.shape[-1])
        sides = (student_logits, teacher_logits, label, place)
        for chunk in zip(*(side[kept].split(rows) for side in sides), strict=True):
            for number, (notion, partition) in enumerate(self.notions.items()):
                if notion != "target" or target is not None:
                    self._add(number, partition, *chunk)

    def _add(
        self, notion: int, partition: Partition, student: Tensor, teacher: Tensor, *rows: Tensor
    ) -> None:
        """Add the rows of a chunk under one notion; ``rows`` are their targets and places."""
        target, place = rows
        rest = partition(teacher, target) == 1
        values, defined = associations(*(x[rest].view(len(x), -1) for x in (student, teacher)))
        values, there = values[defined], place[defined]
        self.no_relation[:, notion].index_add_(0, place, (~defined).double())
        self.total[:, notion].index_add_(0, there, values)
        self.squares[:, notion].index_add_(0, there, values.square())
        measure = torch.arange(len(MEASURES), device=place.device)
        cell = there.unsqueeze(-1), torch.full_like(measure, notion), measure, BINS.index(values)
        self.counts.index_put_(cell, torch.ones_like(values), accumulate=True)

    def compute(self) -> dict[str, Tensor]:
        """Mean, standard deviation, quartiles and n by (step, notion, measure); NaN without n.

        Beside them no_relation by (step, notion), epoch by step, and non_finite.
        """
        n = self.counts.sum(-1)
        spread = (self.squares - self.total.square() / n).clamp(min=0)
        quartiles = {name: BINS.quantile(self.counts, q) for name, q in QUARTILES.items()}
        return {
            "mean": self.total / n,
            "std": (spread / (n - 1)).sqrt(),
            **quartiles,
            "n": n,
            "no_relation": self.no_relation.clone(),
            "epoch": self.epochs[0] / self.epochs[1],
            "non_finite": self.non_finite.clone(),
        }

    def table(self) -> pd.DataFrame:
        """Columns step, epoch, notion, measure, mean, std, q25, median, q75, n, and those left out.

        One row a (step, notion, measure). ``std`` is the standard deviation over the n samples
        (divided by n - 1). Left out are ``no_relation`` and ``non_finite`` samples.
        """
        values = self.compute()
        epoch, non_finite = values.pop("epoch"), int(values.pop("non_finite"))
        values["no_relation"] = values["no_relation"].unsqueeze(-1).expand_as(values["n"])
        index = [(s, notion, m) for s in self.steps for notion in self.notions for m in MEASURES]
        frame = pd.DataFrame(index, columns=["step", "notion", "measure"])
        frame.insert(1, "epoch", epoch_column(epoch, len(self.notions) * len(MEASURES)))
        return frame.assign(**flat_columns(values), non_finite=non_finite)


@NonTopRelation.reads()
def relation_reading(table: pd.DataFrame) -> Reading:
    """How much of the teacher's order the student has, and whether it grew.

    The number is every measure at the end, all but the target / the top-1 / the top-k.
    """
    end, time = at_end(table), time_of(table)
    notions = list(end.index.get_level_values("notion").unique())
    means = (
        f"{measure} " + " / ".join(f"{v:.3f}" for v in end["mean"].xs(measure, level="measure"))
        for measure in MEASURES
    )
    seen = table[table.n > 0]
    when, notion = _named(_last_of(table), seen.iloc[-1]), seen.notion.unique()[-1]
    number = f"{when}, without {' / '.join(notions)}: {', '.join(means)}"
    row, order = end.loc[(notion, "kendall")], end.loc[(notion, "order")]
    claim = (
        f"outside the teacher's {notion} the student orders {order['mean']:.1%} of the pairs of "
        f"classes as its teacher does (tau-b {interval(row)})"
    )
    course = pooled(table, time).query("measure == 'kendall' and notion == @notion")
    if len(course) < 2:
        return Reading(f"{claim[0].upper()}{claim[1:]}.", number)
    first = course.iloc[0]
    told = "These data do not show the student take over the non-top relations"
    if row.low > first.high:
        told = "The student takes over the teacher's non-top relations"
    before = f"{when}, against {interval(first)} {_named(time, first)}"
    return Reading(f"{told}: {claim} {before}.", number)


def time_of(table: pd.DataFrame) -> str:
    """``epoch`` where the table has a course of them, else ``step``.

    Raises:
        ValueError: the table lacks a column, or no sample in it has a relation.
    """
    require(table, "step", "epoch", "notion", "measure", "mean", "std", "n")
    if table["mean"].isna().all():
        raise ValueError(
            "the table has no value of 'mean': all samples hold NaN or inf, leave fewer than two "
            "classes, or have equal logits on a side"
        )
    return "epoch" if table.epoch.notna().all() and table.epoch.nunique() >= COURSE else "step"


def at_end(table: pd.DataFrame) -> pd.DataFrame:
    """Mean, interval (low, high) and n by notion and measure, over the last epoch.

    Over the last step where epochs are not known.
    """
    time_of(table)
    time, seen = _last_of(table), table[table.n > 0]
    last = seen[seen[time] == seen[time].max()]
    return pooled(last, time).set_index(["notion", "measure"])


def pooled(table: pd.DataFrame, time: str) -> pd.DataFrame:
    """Columns time, notion, measure, mean, low, high, n: all samples of an epoch or step together.

    ``low`` to ``high`` is the 95 % interval of the mean; NaN for a single sample.
    """
    rows = table[table.n > 0]
    total = rows["mean"] * rows.n
    spread = (rows["std"] ** 2 * (rows.n - 1)).fillna(0)  # of one sample: 0, not NaN
    sums = rows.assign(total=total, squares=spread + rows["mean"] * total)
    sums = sums.groupby([time, "notion", "measure"], sort=False)[["n", "total", "squares"]].sum()
    mean = sums.total / sums.n
    variance = (sums.squares - mean * sums.total).clip(lower=0) / (sums.n - 1).replace(0, np.nan)
    half = Z * (variance / sums.n) ** 0.5
    return sums.assign(mean=mean, low=mean - half, high=mean + half).reset_index()


def interval(row: pd.Series) -> str:
    """A mean with half of its interval, as it is read."""
    return f"{row['mean']:.3f} ± {row.high - row['mean']:.3f}"


def _last_of(table: pd.DataFrame) -> str:
    return "epoch" if table.epoch.notna().all() else "step"


def _named(time: str, row: pd.Series) -> str:
    return f"{'in' if time == 'epoch' else 'at'} {time} {row[time]:,}"
