"""Warm-up: what a loss's terms were while its ramp held them down, beside what they are without."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from kdanalysis.analyzers.by_step import ByStep
from kdanalysis.analyzers.by_term import is_weighted, term_names
from kdanalysis.analyzers.setting import Setting
from kdanalysis.draw.colours import BLACK
from kdanalysis.draw.look import Axes

AS_TRAINED = "as trained"

Ramps = Mapping[str, Mapping[str, Sequence[float]]]
KEYS = ["loss", "term", "step", "epoch"]


class TermsByStep(ByStep):
    """Sums over samples of something of every term, by captured step, and the warm-up beside it.

    Args:
        losses: the losses by a name of your own.
        steps: every captured step; a single one for logits that come from no training.
        ramps: of the losses that trained, by loss and term, the warm-up factor at every step.
    """

    needs = ("student_logits", "teacher_logits")
    takes, mixed = ("target", "step", "epoch", "soft_target"), True
    of_terms: Sequence[tuple[str, tuple[int, ...]]] = ()  # states by step and term, their size
    of_steps: Sequence[tuple[str, tuple[int, ...]]] = ()  # states by step
    with_units = False  # DKD and GDKD with every weight 1, too

    def __init__(
        self, losses: Mapping[str, Any], steps: Sequence[int] = (0,), ramps: Ramps | None = None
    ) -> None:
        self.names = term_names(losses)
        super().__init__(steps, losses=dict(losses), ramps=dict(ramps or {}))
        for state, size in self.of_terms:
            self.add_sum(state, len(self.steps), len(self.names), *size)
        for state, size in self.of_steps:
            self.add_sum(state, len(self.steps), *size)

    @classmethod
    def for_setting(cls, setting: Setting) -> "TermsByStep":
        """Return the analyzer of ce, KD and its parts, DKD, GDKD and the loss trained."""
        whole = {name: setting.bare[name] for name in ("ce", "kd")}
        units = setting.unit if cls.with_units else {}
        parts = {"kd parts": setting.inside["kd parts"]}
        losses = {**whole, **parts, **setting.decoupled, **units, **setting.trained}
        return cls(losses, setting.steps, setting.ramps_of_used)

    def terms_frame(self, value: str) -> pd.DataFrame:
        """Return what ``compute`` does as a table, whether a loss is weighted and its warm-up.

        Args:
            value: the column that is proportional to the warm-up's factor.
        """
        frame = self.step_frame(self.names, ["loss", "term"])
        weighted = {name: is_weighted(loss) for name, loss in self.losses.items()}
        frame = frame[[*KEYS, *frame.columns.drop(KEYS)]]
        frame.insert(len(KEYS), "weighted", frame.loss.map(weighted))
        return with_ramps(frame, self.ramps, self.steps, value)


def with_ramps(frame: pd.DataFrame, ramps: Ramps, steps: Sequence[int], value: str) -> pd.DataFrame:
    """Add what a warm-up made of the losses that trained; the frame as it is where there was none.

    Columns ramp, the factor on the term at the step, and as_trained, the value times it; both NaN
    for losses that did not train.

    Args:
        frame: columns loss, term, step and the value, without a ramp.
        ramps: by loss and term, a factor for every step.
        steps: to which they belong.
        value: the column that is proportional to the factor.
    """
    known = {
        (loss, term, step): factor
        for loss, of_loss in ramps.items()
        for term, factors in of_loss.items()
        for step, factor in zip(steps, factors, strict=True)
    }
    if not known:
        return frame
    keys = zip(frame.loss, frame.term, frame.step, strict=True)
    ramp = np.array([known.get(key, np.nan) for key in keys])
    return frame.assign(ramp=ramp, as_trained=ramp * frame[value])


def draw_as_trained(ax: Axes, line: pd.DataFrame, colour: str) -> None:
    """Draw a term as the warm-up let it train, dotted, where its table says that it differs.

    One entry of the legend stands for the dotted lines of all terms.
    """
    if "as_trained" in line and (line.ramp.ne(1) & line.as_trained.gt(0)).any():
        values = line.as_trained.where(line.as_trained > 0)
        ax.plot(line.step, values, color=colour, linestyle=":")
        ax.plot([], [], color=BLACK, linestyle=":", label=AS_TRAINED)
