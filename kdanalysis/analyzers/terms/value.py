"""Values by step: what every term of the losses comes to, and how the student's logits grow."""

from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from kdanalysis.analyzers.base import Labels, Logits
from kdanalysis.analyzers.by_step import deviation
from kdanalysis.analyzers.by_term import known_terms, loss_panels
from kdanalysis.analyzers.evidence import difference_of_means
from kdanalysis.analyzers.noun import Reading
from kdanalysis.analyzers.targets import Targets
from kdanalysis.analyzers.warmup import TermsByStep, draw_as_trained
from kdanalysis.core.truncation.kept import shape_of
from kdanalysis.core.wording import numeral, numerals
from kdanalysis.draw.axes import time_axis
from kdanalysis.draw.colours import DASHES, MAGENTA, term_colour
from kdanalysis.draw.look import PAGE, Figure, plain_log
from kdanalysis.draw.names import short
from kdanalysis.draw.panels import panel_grid, terms_legend
from kdanalysis.draw.tables import require, state_left_out

STUDENT = {
    "student_entropy": ("entropy (nats)", DASHES[0]),
    "logit_scale": ("scale of the logits", DASHES[1]),
}


class TermValue(TermsByStep):
    """Mean value of every term by captured step, in nats, and what the student's logits are like.

    The values are those of ``loss(...)``: T^2 and the loss's own weights included, ramp 1, means
    over samples. Of the student, means over samples at T = 1:

    - ``student_entropy``: of softmax(logits), nats.
    - ``logit_mean``: mean of a sample's logits over the classes.
    - ``logit_scale``: standard deviation of a sample's logits over the classes (divided by c).
    """

    noun, title = "value", "Values of the terms over training"
    of_terms = ("total", ()), ("squares", ()), ("n", ())
    of_steps = ("student", (3,)), ("samples", ())
    shape_of = staticmethod(shape_of)

    @torch.no_grad()
    def add(self, student: Logits, teacher: Logits, targets: Targets, place: Labels) -> None:
        """Add the finite samples of a batch, with the places of their steps."""
        student, teacher = student.double(), teacher.double()
        found = [self._values(loss, student, teacher, targets) for loss in self.losses.values()]
        values, known = torch.cat(found).T, known_terms(self.losses, targets)
        ones = torch.ones_like(values)
        if known is not None:
            values, ones = values.where(known, 0.0), known.double()
        self.add_rows(place, total=values, squares=values.square(), n=ones)
        self.add_rows(place, student=self.shape_of(student), samples=ones.new_ones(len(student)))

    @staticmethod
    def _values(
        loss: Any, student: Logits, teacher: Logits, targets: Targets
    ) -> Float[Tensor, "t n"]:
        def work(*batch: Tensor) -> Float[Tensor, "t k"]:
            return torch.stack([*loss(*batch).values()])

        return targets.apply(loss, work, student, teacher, (len(loss.terms), len(student)))

    def measures(self) -> dict[str, Tensor]:
        """Value, std and n by (step, term), and the student's numbers by step."""
        entropy, mean, scale = (self.student / self.samples.unsqueeze(-1)).unbind(-1)
        return {
            "value": self.total / self.n,
            "std": deviation(self.total, self.squares, self.n),
            "student_entropy": entropy,
            "logit_mean": mean,
            "logit_scale": scale,
            "n": self.n.clone(),
        }

    def table(self) -> pd.DataFrame:
        """Columns loss, term, step, epoch, weighted, value, std, and the student's; n, non_finite.

        ``weighted`` says whether the loss weighs any of its terms other than 1. For ramp and
        as_trained see ``with_ramps``.
        """
        return self.terms_frame("value")


@TermValue.reads()
def value_reading(table: pd.DataFrame) -> Reading:
    """Whether the values of whole losses fall from the first captured step to the last.

    Of losses of one term, with the interval of independent samples; the number is the student's
    entropy and scale of its logits at both ends.
    """
    require(table, "loss", "term", "step", "value", "std", "n", *STUDENT, number="value")
    table = table[table.n > 0]  # no target may serve a loss at a step
    first, last = (table[table.step == step] for step in (table.step.min(), table.step.max()))
    number = ", ".join(
        f"{name.replace('_', ' ')} {' to '.join(numerals(first[name].iloc[0], last[name].iloc[0]))}"
        for name in STUDENT
    )
    ends = first.merge(last, on=["loss", "term"])
    count = ends.groupby("loss", sort=False).term.nunique()
    single = list(count.index[count == 1]) or list(count.index)
    claims = []
    for row in ends[ends.loss.isin(single)].itertuples():
        a, b = (row.value_x, row.std_x, row.n_x), (row.value_y, row.std_y, row.n_y)
        fall = difference_of_means(*a, *b)
        claims.append(
            f"{row.term}: {fall.verdict} ({' to '.join(numerals(a[0], b[0]))}, "
            f"{fall.negated.text('+.2g')})"
        )
    if table.step.nunique() < 2:
        listed = ", ".join(
            f"{row.loss}: {row.term} {numeral(row.value)}" for row in last.itertuples()
        )
        return Reading(f"Values in nats: {listed}.", number)
    steps = f"step {table.step.min():,} to {table.step.max():,}"
    if not claims:
        return Reading(f"No loss has samples both at the first and at the last of {steps}.", number)
    return Reading(f"A fall of the value from {steps}: {'; '.join(claims)}.", number)


@TermValue.picture("Value of every term, and the student's entropy and scale", panels=True)
def value_over_training(table: pd.DataFrame) -> Figure:
    """Mean value of each term against the step, a panel a loss; last the student's own numbers.

    Values of 0 have no place on the logarithmic axis and leave a gap.
    """
    require(table, "loss", "term", "step", "value", *STUDENT, number="value")
    panels = loss_panels(table)
    figure, axes = panel_grid(len(panels) + 1, 3, PAGE, 2.0, 0.8, sharey=False)
    for ax, (title, rows) in zip(axes, panels.items(), strict=False):
        for _, line in rows.groupby(["loss", "term"], sort=False):
            line, term = line.sort_values("step"), line.term.iloc[0]
            ax.plot(line.step, line.value.where(line.value > 0), label=term, **_look(line, term))
            draw_as_trained(ax, line, term_colour(term))
        ax.set_title(short(title, 24), loc="left", parse_math=False)
        plain_log(ax)
    by_step = table.groupby("step")[list(STUDENT)].first()
    for name, (label, dash) in STUDENT.items():
        axes[-1].plot(by_step.index, by_step[name], color=MAGENTA, linestyle=dash, label=label)
    axes[-1].set_title("student", loc="left")
    axes[-1].set_ylim(0)
    axes[0].set_ylabel("value (nats),\nweighted, T² included")
    time_axis(axes[0], table.step)
    figure.supxlabel("training step" + state_left_out(table), fontsize="medium")
    terms_legend(figure)
    return figure


def _look(line: pd.DataFrame, term: str) -> dict[str, object]:
    return {"color": term_colour(term), "marker": "o" if len(line) <= 12 else None}
