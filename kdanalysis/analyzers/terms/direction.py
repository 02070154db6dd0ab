"""Direction or step (figure 21): do two losses pull elsewhere, or does one only pull harder?"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.base import Labels, Logits
from kdanalysis.analyzers.by_step import ByStep, deviation
from kdanalysis.analyzers.by_term import gram_cosines, total_gradients
from kdanalysis.analyzers.setting import Setting
from kdanalysis.analyzers.targets import Targets
from kdanalysis.analyzers.terms.conflict import TEACHER, judged
from kdanalysis.core.bins import Bins
from kdanalysis.core.gram import HasGradients, sample_grams

BINS = Bins(-4.0, 4.0, 8 * 64)  # log10 of a ratio of norms
# by two losses, over the samples that both see; norm and square are the first one's
MATRICES = (
    *("cosine", "conflicts", "directed", "inner", "norm", "square", "samples"),
    *("cosine_square", "norms", "inner_square", "fourth", "squares", "inner_by_square"),
)


class LossDirection(ByStep):
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
      Over rows it adds up through its inner products, n ``rms_a`` ``rms_b`` ``cosine_batch``.
    - ``norm_a``, ``norm_b``: mean L2 norms, weighted; ``multiplier`` = norm_b / norm_a, how many
      times as far as a the loss b steps. The ratio of means is what a factor on the loss undoes
      exactly, and follows the long gradients as training does; a mean of ratios would be set by
      the samples where a is next to zero, and would not be one over that of (b, a).
    - ``rms_a``, ``rms_b``: roots of the mean squared norms, that is the norm of the whole batch's
      gradients over sqrt(n); ``multiplier_batch`` = rms_b / rms_a.
    - ``cosine_se``, ``cosine_batch_se``, ``multiplier_se``: standard errors over samples, by the
      delta method where the number is a ratio of sums. Samples count as independent; an image that
      a training captures several times counts each time.
    - ``ratio_q25``, ``ratio_median``, ``ratio_q75``: quartiles over samples of \|b_i\| / \|a_i\|,
      equal where b only scales a. From 64 bins a decade between 1e-4 and 1e4, below they read 0,
      above inf, with mean and deviation of each: within 3.7 percent, exact where one bin's samples
      have one ratio.

    A pair is over the samples whose targets serve both losses, n of them.

    Args:
        losses: two or more by a name of your own, the one to hold the others against first.
        steps: every captured step; a single one for logits that come from no training.
    """

    noun, title = "direction", "Direction or step"
    needs = ("student_logits", "teacher_logits")
    takes, mixed = ("target", "step", "epoch", "soft_target"), True

    def __init__(self, losses: Mapping[str, HasGradients], steps: Sequence[int] = (0,)) -> None:
        if len(losses) < 2:
            raise ValueError(f"need at least two losses to compare, got {list(losses)}")
        super().__init__(steps, losses=dict(losses))
        self.marks = [*self.steps, pd.NA] if len(self.steps) > 1 else list(self.steps)
        self.pairs = list(combinations(losses, 2))
        rows, count = (len(self.steps), len(TEACHER)), len(losses)
        for state in MATRICES:
            self.add_sum(state, *rows, count, count)
        self.add_sum("ratios", *rows, len(self.pairs), BINS.size)
        self.add_sum("moments", 2, *rows, len(self.pairs), BINS.size)

    @classmethod
    def for_setting(cls, setting: Setting) -> "LossDirection":
        """Return the analyzer that holds DKD, GDKD, the loss trained and ce against plain KD."""
        first, last = {"kd": setting.bare["kd"]}, {"ce": setting.bare["ce"]}
        return cls({**first, **setting.decoupled, **setting.trained, **last}, setting.steps)

    def add(self, student: Logits, teacher: Logits, targets: Targets, place: Labels) -> None:
        """Add the finite samples of a batch, the teacher judged where there are labels."""
        row = len(TEACHER) * place + judged(teacher, targets)
        gradients = total_gradients(self.losses, student, teacher, targets)
        known = targets.known(self.losses)
        if known is not None:
            gradients = gradients.where(known.T.unsqueeze(-1), 0.0)
        inner = sample_grams(gradients)
        norm, cosine, directed = gram_cosines(inner)
        both = torch.ones_like(inner)
        if known is not None:
            both = (known.unsqueeze(1) & known.unsqueeze(2)).to(inner)
        sums = {"cosine": cosine, "conflicts": (cosine < 0) & directed, "directed": directed}
        square = inner.diagonal(dim1=1, dim2=2)
        own = {"norm": norm, "square": square, "fourth": square.square()}
        own = {name: both * values.unsqueeze(-1) for name, values in own.items()}
        for name, values in (("norms", norm), ("squares", square)):
            sums[name] = both * values.unsqueeze(1) * values.unsqueeze(2)
        sums |= {"cosine_square": cosine.square(), "inner_square": inner.square()}
        sums["inner_by_square"] = inner * square.unsqueeze(-1)
        self.add_rows(row, **sums, **own, inner=inner, samples=both)
        a, b = torch.triu_indices(len(self.losses), len(self.losses), 1, device=norm.device)
        ratio = norm.log10()[:, b] - norm.log10()[:, a]  # NaN, and not counted, where both are zero
        ratio = ratio.where(both[:, a, b] > 0, torch.nan)
        self.count_rows("ratios", BINS, row, ratio, "moments")

    def compute(self) -> dict[str, Tensor]:
        """Every column of the table by (step, teacher right/wrong/all, pair), the counts included.

        Of several steps a last one holds all of them together. NaN where no sample counts. Beside
        them epoch by step, and non_finite.
        """
        a, b = torch.triu_indices(len(self.losses), len(self.losses), 1)
        sums = {name: self._with_all(getattr(self, name)) for name in MATRICES}
        pair = {name: matrix[..., a, b] for name, matrix in sums.items()}
        norm, square, fourth, mixed = (
            (sums[x][..., a, b], sums[x][..., b, a])
            for x in ("norm", "square", "fourth", "inner_by_square")
        )
        n = pair["samples"]
        ratios, *moments = (self._with_all(state) for state in (self.ratios, *self.moments))
        logs = BINS.quartiles(ratios, moments)
        quartiles = {f"ratio_{name}": 10**log for name, log in logs.items()}
        no_epoch = self.epoch.new_full((len(self.marks) - len(self.steps),), torch.nan)
        return {
            "cosine": pair["cosine"] / pair["directed"],
            "conflict": pair["conflicts"] / pair["directed"],
            "cosine_batch": pair["inner"] / (square[0] * square[1]).sqrt(),
            "norm_a": norm[0] / n,
            "norm_b": norm[1] / n,
            "multiplier": norm[1] / norm[0],
            "rms_a": (square[0] / n).sqrt(),
            "rms_b": (square[1] / n).sqrt(),
            "multiplier_batch": (square[1] / square[0]).sqrt(),
            **quartiles,
            "cosine_se": deviation(pair["cosine"], pair["cosine_square"], pair["directed"])
            / pair["directed"].sqrt(),
            "cosine_batch_se": _batch_error(pair, square, fourth, mixed),
            "multiplier_se": _ratio_error(norm, square, pair["norms"], n),
            "n": n,
            "no_gradient": n - pair["directed"],
            "epoch": torch.cat((self.epoch, no_epoch)),
            "non_finite": self.non_finite.clone(),
        }

    def _with_all(self, state: Tensor) -> Tensor:
        """The sums where the teacher is right, wrong, and over all; by step, and over all steps."""
        state = torch.cat((state[:, :2], state.sum(1, keepdim=True)), 1)
        several = len(self.steps) > 1
        return torch.cat((state, state.sum(0, keepdim=True))) if several else state

    def table(self) -> pd.DataFrame:
        """Columns step, epoch, teacher, loss_a, loss_b and those of the class, in its order.

        After them n, no_gradient and non_finite. One row a step, a group of samples (the teacher
        right, wrong, all; only all where there were no labels) and an unordered pair of losses;
        ``loss_a`` is the one given first. Of several steps the last rows, whose step is <NA>, are
        over the samples of all of them.
        """
        names = [(teacher, *pair) for teacher in TEACHER for pair in self.pairs]
        frame = self.step_frame(names, ["teacher", "loss_a", "loss_b"], self.marks)
        frame = frame.astype({"step": "Int64"})
        if frame.n[frame.teacher != "all"].sum() == 0:
            frame = frame[frame.teacher == "all"].reset_index(drop=True)
        return frame


def _batch_error(
    pair: Mapping[str, Tensor],
    square: tuple[Tensor, Tensor],
    fourth: tuple[Tensor, Tensor],
    mixed: tuple[Tensor, Tensor],
) -> Tensor:
    """Standard error of I / sqrt(A B), sums over samples of <a, b>, |a|^2 and |b|^2."""
    scale, own = (square[0] * square[1]).sqrt(), pair["inner_square"]
    cosine = pair["inner"] / scale
    parts = own / scale**2 + cosine**2 * pair["squares"] / (2 * scale**2)
    for total, fourths, products in zip(square, fourth, mixed, strict=True):
        parts = parts + cosine**2 * fourths / (4 * total**2) - cosine * products / (total * scale)
    return _error(parts, own / scale**2, pair["samples"])


def _ratio_error(
    norm: tuple[Tensor, Tensor], square: tuple[Tensor, Tensor], norms: Tensor, n: Tensor
) -> Tensor:
    """Standard error of sum |b| / sum |a|."""
    ratio = norm[1] / norm[0]
    parts = square[1] - 2 * ratio * norms + ratio**2 * square[0]
    return _error(parts / norm[0] ** 2, square[1] / norm[0] ** 2, n)


def _error(squares: Tensor, largest: Tensor, n: Tensor) -> Tensor:
    """Root of a sum of squared influences; of one sample NaN.

    What is left of rounding, beside the largest part of the sum, is 0.
    """
    known = squares.where(squares > 1e-12 * largest, 0 * squares)
    return (known * n / (n - 1)).sqrt().where(n > 1, torch.nan)
