"""Class-mean discrepancy (figure 13): how student and teacher differ over the images of a class."""

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.analyzers.base import Analyzer, Labels, Logits
from kdanalysis.analyzers.by_step import deviation
from kdanalysis.core.largest import top

CONSTANT = 1e-12  # of the largest second moment: less variance than this is rounding
MEANS = ("logits", "probability")
SIDES = ("student", "teacher")


class ClassDiscrepancy(Analyzer):
    """Mean of student less teacher by class, and correlations between classes; shape (c, c) each.

    - ``logits``: mean difference of the logits, each side less its mean over the classes of the
      sample, over the samples of a given class.
    - ``probability``: mean difference of softmax(logits / T) over the same samples.
    - ``student_correlation``, ``teacher_correlation``: Pearson correlation over all samples
      between the centred logits of two classes. Centring alone makes it -1 / (c - 1) on average
      between unrelated classes. NaN for a class whose centred logit does not vary (a standard
      deviation below 1e-6 of the largest root mean square).

    The figures that DKD (2203.08679) and SDD (2403.13512) call differences of correlation matrices
    show class means; both are here. ``logits_se`` and ``probability_se`` are standard errors of
    the means: what cells would hold, by chance alone, if student and teacher did not differ.

    The given class is the target, and the teacher's class where there are no targets.

    Args:
        num_classes: c, at least 2; the state holds 6 c * c numbers.
        temperature: T > 0.
        first_step: samples of earlier training steps are passed over.
    """

    noun, title = "discrepancy", "Class-mean discrepancy"
    beside = False
    needs = ("student_logits", "teacher_logits")
    takes = ("target", "step")
    made_for = ("num_classes", "temperature", "last_quarter")

    def __init__(
        self, num_classes: int, temperature: float | int = 4.0, first_step: int = 0
    ) -> None:
        super().__init__(num_classes=num_classes, temperature=temperature, first_step=first_step)
        for state in MEANS:
            self.add_sum(state, num_classes, num_classes)
            self.add_sum(f"{state}_squares", num_classes, num_classes)
        for side in SIDES:
            self.add_sum(side, num_classes)
            self.add_sum(f"{side}_products", num_classes, num_classes)
        self.add_sum("count", num_classes)
        self.add_sum("labelled")

    def update(
        self,
        student_logits: Logits,
        teacher_logits: Logits,
        target: Labels | None = None,
        step: Labels | None = None,
    ) -> None:
        """Add one batch, but for the samples of earlier steps.

        Raises:
            ValueError: as :meth:`Analyzer.keep`, or there are no steps where a first one is set.
        """
        columns = (student_logits, teacher_logits, target)
        if self.first_step:
            if step is None:
                raise ValueError(
                    f"samples before step {self.first_step} are to be passed over, "
                    f"need the step of every sample"
                )
            late = step >= self.first_step
            if not late.any():
                return
            columns = tuple(None if column is None else column[late] for column in columns)
        super().update(*columns)

    def add(self, student: Logits, teacher: Logits, target: Labels | None, step: None) -> None:
        """Add the finite samples of a batch."""
        student, teacher = student.double(), teacher.double()
        self._add_means(student, teacher, None if target is None else target.long())
        for side, logits in zip(SIDES, (student, teacher), strict=True):
            rows = centred(logits)
            self.accumulate(**{side: rows.sum(0), f"{side}_products": rows.T @ rows})

    def _add_means(self, student: Tensor, teacher: Tensor, target: Tensor | None) -> None:
        given = top(teacher) if target is None else target
        softened = [(side / self.temperature).softmax(-1) for side in (student, teacher)]
        differences = {
            "logits": centred(student) - centred(teacher),
            "probability": softened[0] - softened[1],
        }
        for name, rows in differences.items():
            empty = torch.zeros_like(self.logits)
            self.accumulate(**{
                name: empty.index_add(0, given, rows),
                f"{name}_squares": empty.index_add(0, given, rows.square()),
            })  # fmt: skip
        count = given.bincount(minlength=self.num_classes)
        self.accumulate(count=count, labelled=count.sum() * (target is not None))

    def compute(self) -> dict[str, Tensor]:
        """Matrices by (given class, class), NaN where nothing counts; n by given class; counts."""
        n = self.count.unsqueeze(-1)
        matrices = {}
        for name in MEANS:
            total, squares = getattr(self, name), getattr(self, f"{name}_squares")
            matrices |= {name: total / n, f"{name}_se": deviation(total, squares, n) / n.sqrt()}
        for side in SIDES:
            products = getattr(self, f"{side}_products")
            matrices[f"{side}_correlation"] = correlation(
                products, getattr(self, side), self.count.sum()
            )
        counts = {name: getattr(self, name).clone() for name in ("labelled", "non_finite")}
        return matrices | {"n": self.count.clone()} | counts

    def table(self) -> pd.DataFrame:
        """Columns given, class, given_by, the six matrices above, n, and the settings.

        One row a pair of classes (c * c rows); ``n`` counts the samples of the given class,
        ``given_by`` says whether that is their "target" or their "teacher" class ("mixed" where
        only some have a target). The settings are temperature and first_step, the last column
        is non_finite.
        """
        values = self.compute()
        n, labelled = values.pop("n").cpu().long(), int(values.pop("labelled"))
        non_finite = int(values.pop("non_finite"))
        given = torch.arange(self.num_classes).repeat_interleave(self.num_classes)
        named = {0: "teacher", int(n.sum()): "target"}
        index = {
            "given": given.numpy(),
            "class": torch.arange(self.num_classes).repeat(self.num_classes).numpy(),
            "given_by": named.get(labelled, "mixed"),
        }
        cells = {name: value.flatten().cpu().numpy() for name, value in values.items()}
        settings = {"temperature": self.temperature, "first_step": self.first_step}
        counts = {"n": n[given].numpy(), **settings, "non_finite": non_finite}
        return pd.DataFrame(index | cells | counts)


def centred(logits: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """Logits less their mean over the classes; exactly 0 where they are all equal."""
    logits = logits - logits.amax(-1, keepdim=True)
    return logits - logits.mean(-1, keepdim=True)


def correlation(
    products: Float[Tensor, "c c"], total: Float[Tensor, " c"], n: Tensor
) -> Float[Tensor, "c c"]:
    """Pearson correlation from the sums of products and of values of n samples.

    NaN in the rows and columns of what does not vary.
    """
    covariance = products - torch.outer(total, total) / n
    variance = covariance.diagonal()
    constant = variance <= CONSTANT * products.diagonal().max()
    scale = variance.masked_fill(constant, torch.nan).sqrt()
    found = (covariance / torch.outer(scale, scale)).clamp(-1, 1)
    return found.diagonal_scatter(torch.where(constant, torch.nan, 1.0).to(found))
