"""Warm-up: what a loss's terms were while its ramp held them down, beside what they are without."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from kdanalysis.draw.look import Axes

Ramps = Mapping[str, Mapping[str, Sequence[float]]]


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
    """Draw a term as the warm-up let it train, dotted, where its table says so."""
    if "as_trained" in line and line.ramp.ne(1).any() and line.ramp.notna().any():
        values = line.as_trained.where(line.as_trained > 0)
        label = f"{line.term.iloc[0]} as trained"
        ax.plot(line.step, values, color=colour, linestyle=":", label=label)
