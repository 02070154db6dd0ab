"""Direction or step: do two losses pull elsewhere, or does one only pull harder?"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, flat_columns
from kdanalysis.analyzers.by_step import check_steps, epoch_column, epoch_sums, place_steps
from kdanalysis.analyzers.by_term import label_columns, labels_for, total_gradients
from kdanalysis.analyzers.terms.conflict import TEACHER
from kdanalysis.core.gram import HasGradients, sample_grams
from kdanalysis.core.streams import Bins

BINS = Bins(-4.0, 4.0, 8 * 64)  # log10 of a ratio of norms; quantiles are good to 3.7 percent
MATRICES = ("cosine", "conflicts", "directed", "inner")
SUMS = (*MATRICES, "norm", "ratios", "samples")
QUARTILES = {"ratio_q25": 0.25, "ratio_median": 0.5, "ratio_q75": 0.75}


class LossDirection(Analyzer):
    r"""Total per-sample gradients of losses, in the student's logits, held against each other.

    a_i and b_i are the gradients of two losses for sample i: all terms added up, weighted as the
    loss weighs them, T^2 included, ramp 1, not divided by the batch size.

    - ``cosine``: mean over i of cos(a_i, b_i); ``conflict``: share of samples where it is negative.
      A sample in which either is zero has none; ``no_gradient`` counts those.
    - ``cosine_batch``: cosine of the whole batch's gradients, all samples laid end to end,
      sum_i <a_i, b_i> / sqrt(sum_i \|a_i\|^2 sum_j \|b_j\|^2). It is 1 only where one factor for
      all samples turns a into b; 1 - cosine_batch^2 is the part of b that no multiple of a gives.
      The logits of different samples are different variables, so this, and not the cosine of the
      gradients' mean over samples, is the view of a batch: that mean is the gradient of the last
      layer's bias alone. What shared parameters make of it, logits do not tell.
    - ``norm_a``, ``norm_b``: mean L2 norms; ``multiplier`` = norm_b / norm_a, how many times as far
      as a the loss b steps. The ratio of means is what a factor on the loss undoes exactly, and
      follows the long gradients as training does; a mean of ratios would be set by the samples
      where a is next to zero, and would not be one over that of (b, a).
    - ``ratio_q25``, ``ratio_median``, ``ratio_q75``: quartiles over samples of \|b_i\| / \|a_i\|,
      equal where b only scales a. From 64 bins a decade between 1e-4 and 1e4: within 3.7 percent;
      below they read 0, above inf.

    Args:
        losses: two or more by a name of your own, the one to hold the others against first.
        steps: every captured step; a single one for logits that come from no training.
    """

    def __init__(self, losses: Mapping[str, HasGradients], steps: Sequence[int] = (0,)) -> None:
        if len(losses) < 2:
            raise ValueError(f"need at least two losses to compare, got {list(losses)}")
        ordered, count = check_steps(steps), len(losses)
        super().__init__(list(losses.items()), ordered)
        self.losses, self.steps = dict(losses), ordered
        self.also_needed = label_columns(losses)
        self.pairs = list(combinations(losses, 2))
        for state in MATRICES:
            self.add_sum(state, len(ordered), len(TEACHER), count, count)
        self.add_sum("norm", len(ordered), len(TEACHER), count)
        self.add_sum("ratios", len(ordered), len(TEACHER), len(self.pairs), BINS.size)
        self.add_sum("samples", len(ordered), len(TEACHER))
        self.add_sum("epochs", 2, len(ordered))

    def update(
        self,
        student_logits: Float[Tensor, "n c"],
        teacher_logits: Float[Tensor, "n c"],
        target: Int[Tensor, " n"] | None = None,
        step: Int[Tensor, " n"] | None = None,
        epoch: Int[Tensor, " n"] | None = None,
    ) -> None:
        """Add one batch, with labels where a loss needs them or the teacher is to be judged.

        Raises:
            ValueError: as :meth:`Analyzer.keep`, a step not announced, or no labels for a loss
                that needs them.
        """
        kept = self.keep(teacher_logits, student_logits, target)
        place = place_steps(self.steps, step, kept.long())
        self.accumulate(epochs=epoch_sums(len(self.steps), place, epoch))
        student, teacher = student_logits[kept], teacher_logits[kept]
        labels = labels_for(self.losses, target, student_logits)[kept]
        judged = (teacher.argmax(-1) != labels).long()
        judged = judged if target is not None else torch.full_like(judged, 2)
        sums = self._of_samples(total_gradients(self.losses, student, teacher, labels))
        touched, row = (3 * place[kept] + judged).unique(return_inverse=True)
        for name, values in sums.items():
            added = values.new_zeros(len(touched), *values.shape[1:]).index_add(0, row, values)
            self._rows(name).index_add_(0, touched, added)
        self._count_ratios(sums["norm"], touched, row)

    def _of_samples(self, gradients: Float[Tensor, "l n c"]) -> dict[str, Tensor]:
        """What is summed over the samples, first dimension n."""
        inner = sample_grams(gradients)
        norm = inner.diagonal(dim1=1, dim2=2).sqrt()
        both = norm.unsqueeze(1) * norm.unsqueeze(2)
        directed = both > 0
        cosine = inner / both.where(directed, 1.0)
        return {
            "cosine": cosine,
            "conflicts": ((cosine < 0) & directed).double(),
            "directed": directed.double(),
            "inner": inner,
            "norm": norm,
            "samples": norm.new_ones(len(norm)),
        }

    def _count_ratios(self, norm: Tensor, touched: Tensor, row: Tensor) -> None:
        a, b = torch.triu_indices(len(self.losses), len(self.losses), 1, device=norm.device)
        ratio = norm.log10()[:, b] - norm.log10()[:, a]
        group = row.unsqueeze(-1) * len(a) + torch.arange(len(a), device=norm.device)
        known = ~ratio.isnan()  # both are zero: no ratio
        counts = BINS.counts(ratio[known], group[known], len(touched) * len(a))
        shaped = counts.view(len(touched), len(a), BINS.size).to(self.ratios)
        self._rows("ratios").index_add_(0, touched, shaped)

    def _rows(self, name: str) -> Tensor:
        """View of a state with one row a (step, teacher)."""
        return getattr(self, name).flatten(0, 1)

    def compute(self) -> dict[str, Tensor]:
        """Every column of the table by (step, teacher right/wrong/all, pair), the counts included.

        Of several steps a last one holds all of them together. NaN where no sample counts. Beside
        them epoch by step, and non_finite.
        """
        a, b = torch.triu_indices(len(self.losses), len(self.losses), 1)
        sums = {name: self._with_all(getattr(self, name)) for name in SUMS}
        square = sums["inner"].diagonal(dim1=2, dim2=3)
        pair = {name: sums[name][..., a, b] for name in ("cosine", "conflicts", "directed")}
        n = sums["samples"].unsqueeze(-1).expand(pair["cosine"].shape)
        quartiles = {name: 10 ** BINS.quantile(sums["ratios"], q) for name, q in QUARTILES.items()}
        return {
            "cosine": pair["cosine"] / pair["directed"],
            "conflict": pair["conflicts"] / pair["directed"],
            "cosine_batch": sums["inner"][..., a, b] / (square[..., a] * square[..., b]).sqrt(),
            "norm_a": sums["norm"][..., a] / n,
            "norm_b": sums["norm"][..., b] / n,
            "multiplier": sums["norm"][..., b] / sums["norm"][..., a],
            **quartiles,
            "n": n.clone(),
            "no_gradient": n - pair["directed"],
            "epoch": self._epochs(),
            "non_finite": self.non_finite.clone(),
        }

    def _with_all(self, state: Tensor) -> Tensor:
        """The sums where the teacher is right, wrong, and over all; by step, and over all steps."""
        state = torch.cat((state[:, :2], state.sum(1, keepdim=True)), 1)
        several = len(self.steps) > 1
        return torch.cat((state, state.sum(0, keepdim=True))) if several else state

    def _epochs(self) -> Tensor:
        epochs = self.epochs[0] / self.epochs[1]
        none = epochs.new_tensor([torch.nan] * (len(self.steps) > 1))
        return torch.cat((epochs, none))

    def table(self) -> pd.DataFrame:
        """Columns step, epoch, teacher, loss_a, loss_b and those of the class, in its order.

        After them n, no_gradient and non_finite. One row a step, a group of samples (the teacher
        right, wrong, all; only all where there were no labels) and an unordered pair of losses;
        ``loss_a`` is the one given first. Of several steps the last rows, whose step is <NA>, are
        over the samples of all of them.
        """
        values = self.compute()
        epoch, non_finite = values.pop("epoch"), int(values.pop("non_finite"))
        steps = [*self.steps, pd.NA] if len(self.steps) > 1 else self.steps
        index = [(s, t, *pair) for s in steps for t in TEACHER for pair in self.pairs]
        frame = pd.DataFrame(index, columns=["step", "teacher", "loss_a", "loss_b"])
        frame = frame.astype({"step": "Int64"})
        frame.insert(1, "epoch", epoch_column(epoch, len(TEACHER) * len(self.pairs)))
        frame = frame.assign(**flat_columns(values), non_finite=non_finite)
        if frame.n[frame.teacher != "all"].sum() == 0:
            frame = frame[frame.teacher == "all"].reset_index(drop=True)
        return frame
