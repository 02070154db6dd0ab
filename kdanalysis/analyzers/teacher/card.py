"""The teacher card: what a teacher's predictive distribution has to teach, temperature by T."""

from collections.abc import Sequence
from math import log, nan

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, Labels, Logits
from kdanalysis.analyzers.chunks import chunks
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.teacher.mass import knees
from kdanalysis.analyzers.teacher.modality import PEAK
from kdanalysis.analyzers.teacher.reliability import BINS, calibration_error, sums_by_confidence
from kdanalysis.analyzers.teacher.suppression import digits
from kdanalysis.core.largest import ranked as by_rank
from kdanalysis.core.largest import top
from kdanalysis.core.octaves import exponentials
from kdanalysis.core.partition import AutoK
from kdanalysis.core.vocabulary import VOCABULARY

MODES = ("modes_mean", "several_peaks")
TOP = 5  # p_other is the mass outside the TOP most probable classes
CONFIDENT = 0.9
ENTRIES = 2**20  # of a chunk: of a vocabulary some rows

# A probability is rounded to zero at half the smallest subnormal number or less: 2^-24 (float16),
# 2^-133 (bfloat16), 2^-149 (float32). In natural logarithms: -17.3, -92.9, -104.0.
UNDERFLOW = {"fp16": -25 * log(2), "bf16": -134 * log(2), "fp32": -150 * log(2)}

FREE = ("confidence_mean", "entropy_mean", "rest_entropy_mean", "p_other_mean", *MODES, "auto_k")
LABELLED = ("nll", "suppression", "confident_wrong")


class TeacherDistribution(Analyzer):
    """Card of a teacher's predictive distribution p = softmax(logits / T), from logits alone.

    Quantities, means over samples; those that do not depend on T have temperature NaN:

    - ``n``, ``non_finite``: samples analysed; samples with NaN or inf, counted and left out.
    - ``constant``: samples whose logits are all the same, which say nothing and count all the same;
      a row where there are any.
    - ``accuracy``: share whose largest logit is the target (the first one where logits tie).
    - ``confidence_mean``: max p. ``entropy_mean``: nats. ``nll``: -log p_target, nats.
    - ``rest_entropy_mean``: entropy of the classes after the first, renormalised, nats; at most
      log(c - 1).
    - ``ece_15``: expected calibration error (``calibration_error``) over 15 bins of confidence.
    - ``p_other_mean``: mass outside the 5 most probable classes; 0 where c <= 5, as none is left.
    - ``suppression``: 1 - p_target, the factor by which KD scales the non-target term (DKD eq. 6).
    - ``confident_wrong``: share of samples that are wrong with max p above 0.9.
    - ``knee``: of the mean top-k mass (``knees``, Kneedle's point), which is the number of ranks
      whose mean mass is above 1/c.
    - ``k_mass_95``: the smallest k whose mean top-k mass is at least 0.95.
    - ``modes_mean``: exp(entropy), the number of equally likely classes of the same entropy.
      ``several_peaks``: share of samples where more than one class has p >= 0.1 max p.
    - ``auto_k``: mean k that GDKD-auto would choose at T, ratio 2, cap c - 1; not of more than 5000
      classes. It is no number of modes: the rule looks for a jump among the least probable ones.
    - ``underflow_fp16``, ``_bf16``, ``_fp32``: share of samples whose least probable class rounds
      to zero in that type, subnormal numbers kept: p_min <= 2^-25, 2^-134, 2^-150. With one
      dominant class that is a gap (max - min logit)/T of 17.3, 92.9 and 104.0. Hardware that
      flushes subnormals loses it earlier: at 9.7, 87.3 and 87.3.

    Rows that need labels are absent where no target was given; values are NaN where no finite
    sample was seen.

    Args:
        num_classes: c, at least 2.
        temperatures: every T > 0 of the card.
    """

    noun, title = "teacher", "Teacher card"
    needs = ("teacher_logits",)
    takes = ("target",)
    made_for = ("num_classes",)

    def __init__(
        self, num_classes: int, temperatures: Sequence[float | int] = (1, 2, 4, 8)
    ) -> None:
        super().__init__(num_classes=num_classes, temperatures=temperatures)
        for name in ("n", "constant", "targets", "labelled", "correct"):
            self.add_sum(name)
        for name in (*FREE, *LABELLED, *(f"underflow_{dtype}" for dtype in UNDERFLOW)):
            self.add_sum(name, len(self.temperatures))
        self.add_sum("rank_mass", len(self.temperatures), num_classes)
        for name in ("bin_confidence", "bin_correct"):
            self.add_sum(name, len(self.temperatures), BINS)

    def analysed(self, given: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
        """Return the finite rows; count all that have a label."""
        if given["target"] is not None:
            self.accumulate(targets=torch.tensor(len(given["target"])))
        return super().analysed(given)

    def add(self, teacher: Logits, target: Labels | None) -> None:
        """Add the finite samples of a batch, with labels where there are some."""
        others = () if target is None else (target.long(),)
        for logits, *labels in chunks(teacher, *others, entries=ENTRIES):
            self.accumulate(**self._sums(logits, *labels))

    def _sums(self, logits: Logits, target: Labels | None = None) -> dict[str, Tensor]:
        ranked, n = by_rank(logits), torch.tensor(len(logits))
        below = ranked[:, 1:].to(torch.float64, copy=True).sub_(ranked[:, 1:2])
        free: list[dict[str, Tensor]] = [{} for _ in self.temperatures]
        mass = below.new_empty(self.rank_mass.shape)
        for place, weights in exponentials(below, self.temperatures):
            free[place] = _free_sums(ranked, below, weights, self.temperatures[place])
            mass[place, 0] = free[place]["confidence_mean"]
            torch.mv(weights.T, free[place].pop("scale"), out=mass[place, 1:])
        normaliser = torch.stack([one.pop("normaliser") for one in free])
        sums = {name: torch.stack([one[name] for one in free]) for name in free[0]}
        sums |= {"n": n, "rank_mass": mass, "constant": (ranked[:, 0] == ranked[:, -1]).sum()}
        if target is not None:
            correct = top(logits) == target
            own = logits.gather(-1, target.unsqueeze(-1)).squeeze(-1)
            chosen = torch.stack([own, ranked[:, 0]]).double()
            sums |= {"labelled": n, "correct": correct.sum()}
            sums |= _labelled_sums(*chosen, normaliser, correct, self.temperatures)
        return sums

    def compute(self) -> dict[str, Tensor]:
        """Every quantity by name: a scalar, or one value a temperature; NaN without samples."""
        known = FREE if self.num_classes <= VOCABULARY else FREE[:-1]
        free = {name: getattr(self, name) / self.n for name in known}
        under = {f"underflow_{d}": getattr(self, f"underflow_{d}") / self.n for d in UNDERFLOW}
        values = {"n": self.n.clone(), "non_finite": self.non_finite.clone()}
        values |= {"constant": self.constant.clone()} if self.constant > 0 else {}
        values |= free | _mass_marks(self.rank_mass / self.n) | under
        if self.targets > 0:
            values["accuracy"] = self.correct / self.labelled
            bins = self.bin_confidence, self.bin_correct
            values["ece_15"] = calibration_error(*bins, self.labelled)
            values |= {name: getattr(self, name) / self.labelled for name in LABELLED}
        return values

    def table(self) -> pd.DataFrame:
        """Columns quantity, temperature (NaN where the quantity has none), value."""
        rows = []
        for quantity, value in self.compute().items():
            fixed = quantity in ("n", "non_finite", "constant", "accuracy")
            ladder = (nan,) if fixed else self.temperatures
            rows += zip([quantity] * len(ladder), ladder, value.reshape(-1).tolist(), strict=True)
        return pd.DataFrame(rows, columns=["quantity", "temperature", "value"])


def _free_sums(
    ranked: Float[Tensor, "n c"],
    below: Float[Tensor, "n d"],
    weights: Float[Tensor, "n d"],
    temperature: float,
) -> dict[str, Tensor]:
    """Sums over the batch that need no label; by sample the normaliser and the weights' scale.

    The logits are sorted, largest first; ``below`` are those after the first, less the largest of
    them, and ``weights`` exp(below / T). The normaliser is log sum_i exp(logit_i / T), and scale
    times weights are the probabilities. With p the probability of the first class, r = 1 - p and
    H the entropy of the rest, renormalised, the entropy is -p log p - r log r + r H.
    """
    first, second, last = (ranked[:, i].double() / temperature for i in (0, 1, -1))
    others = weights[:, TOP - 1 :].sum(-1)
    total = weights[:, : TOP - 1].sum(-1) + others
    rest_entropy = total.log() - torch.linalg.vecdot(weights, below) / (temperature * total)
    log_rest = second + total.log()
    normaliser = first.logaddexp(log_rest)
    log_p, log_rest = first - normaliser, log_rest - normaliser
    p, rest, scale = log_p.exp(), log_rest.exp(), (second - normaliser).exp()
    entropy = rest * (rest_entropy - log_rest) - p * log_p
    sums = {
        "confidence_mean": p.sum(),
        "entropy_mean": entropy.sum(),
        "modes_mean": entropy.exp().sum(),
        "several_peaks": (scale >= PEAK * p).sum(),
        "rest_entropy_mean": rest_entropy.sum(),
        "p_other_mean": scale @ others,
        "scale": scale,
        "normaliser": normaliser,
    }
    if ranked.shape[1] <= VOCABULARY:
        multiples = torch.cat((((first - second).exp().unsqueeze(-1)), weights), -1)
        sums["auto_k"] = AutoK(temperature=temperature).sizes_of(multiples).sum()
    smallest = last - normaliser
    return sums | {f"underflow_{d}": (smallest <= bound).sum() for d, bound in UNDERFLOW.items()}


def _labelled_sums(
    labelled: Float[Tensor, " n"],
    largest: Float[Tensor, " n"],
    normaliser: Float[Tensor, "t n"],
    correct: Bool[Tensor, " n"],
    temperatures: Sequence[float],
) -> dict[str, Tensor]:
    """Sums over the batch that need labels, T first, from the logits of target and first class."""
    ladder = normaliser.new_tensor(temperatures).unsqueeze(-1)
    confidence = (largest / ladder - normaliser).exp()
    log_target = labelled / ladder - normaliser
    binned = sums_by_confidence(confidence, correct)
    return {
        "nll": -log_target.sum(-1),
        "suppression": -torch.expm1(log_target).sum(-1),
        "confident_wrong": ((confidence > CONFIDENT) & ~correct).sum(-1),
        "bin_confidence": binned["confidence"],
        "bin_correct": binned["correct"],
    }


def _mass_marks(rank_mass: Float[Tensor, "t c"]) -> dict[str, Float[Tensor, " t"]]:
    """Knee and 95 % point of the mean top-k mass, from the mean mass of every rank."""
    curve, unseen = rank_mass.cumsum(-1), rank_mass.isnan().any(-1)
    marks = {"knee": knees(curve), "k_mass_95": 1 + (curve >= 0.95).int().argmax(-1)}
    return {name: mark.double().masked_fill(unseen, nan) for name, mark in marks.items()}


@TeacherDistribution.reads()
def card_reading(card: pd.DataFrame) -> Reading:
    """What the card is for, how many samples enter no number, and how many say nothing."""
    count, same = left_out(card), counted(card, "constant")
    number = f"{count:,} samples hold NaN or inf and enter no number." if count else ""
    if count == 1:
        number = "1 sample holds NaN or inf and enters no number."
    if same:
        whose = "1 sample has" if same == 1 else f"{same:,} samples have"
        alike = f"{whose} the same logit for every class, as if never filled in, and counts in all."
        number = f"{number} {alike}".strip()
    rows = card.dropna(subset="temperature").pivot(
        index="temperature", columns="quantity", values="value"
    )
    told = "The teacher's predictive distribution, by temperature."
    if "p_other_mean" in rows and len(rows):
        rest = ", ".join(f"{digits(p)} at T = {t:g}" for t, p in (1 - rows.confidence_mean).items())
        told = f"What the teacher leaves to the classes after its first, on average: {rest}."
    return Reading(told, number)


def left_out(card: pd.DataFrame) -> int:
    """Samples with NaN or inf."""
    return counted(card, "non_finite")


def counted(card: pd.DataFrame, quantity: str) -> int:
    """Samples that a row of the card counts; 0 where it has none."""
    return int(card.loc[card.quantity == quantity, "value"].sum())
