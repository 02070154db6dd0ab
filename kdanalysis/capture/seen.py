"""What a loss sees of a step: both sides' logits, region logits, or those of stones."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kdanalysis.capture.features import Pull
from kdanalysis.capture.options import Options
from kdanalysis.capture.tap import Pass


@dataclass(frozen=True)
class Seen:
    """Both sides as the loss takes them, and where to watch for the gradient that autograd sends.

    A loss on logits is watched at the student's logits, one on stones at theirs and the student's
    together. A loss on regions is watched at the student's feature map, because that is where all
    that trains the student meets again: what comes through its own logits and what comes through
    the cells. ``pull`` brings the closed forms there. ``known`` says for which samples they hold:
    those whose logits are what a linear head makes of the map's average. None is watched where the
    head is not linear.
    """

    student: Float[Tensor, "n c *r"]
    teacher: Float[Tensor, "n c *t"]
    watched: Tensor | None
    pull: Pull | None = None
    known: Bool[Tensor, " n"] | None = None


def see(
    student: Pass,
    teacher: Pass,
    options: Options,
    computes: bool,
    captures: bool,
) -> Seen:
    """Return what a loss sees of both sides.

    Args:
        student: what the student gave.
        teacher: what the teacher gave.
        options: the loss, and whether gradients in layers are asked for.
        computes: whether the loss will be computed; if not, the student's regions are only looked
            at, with a graph where layers need one, and heads that are not linear are left alone,
            since they may draw random numbers.
        captures: whether the step is captured; if neither, no regions are made.

    Raises:
        RuntimeError: logits that the loss or the layers' gradients need were overwritten in place.
        ValueError: a scale exceeds a side's map, or a head does not fit it; the side is named.
    """
    sides = {"student": student, "teacher": teacher}
    if computes or (captures and options.layers):
        _refuse_overwritten(sides if computes else {"student": student})
    if options.loss is not None and options.loss.stacked is not None:
        return Seen(student.regions, teacher.logits, watched=student.regions)
    scales = None if options.loss is None else options.loss.scales
    features, learns = student.features, computes or bool(options.layers)
    linear = all(one.features is None or one.features.linear for one in sides.values())
    if scales is None or not (computes or (captures and linear)):
        hidden = scales or student.overwritten
        return Seen(student.logits, teacher.logits, None if hidden else student.logits)
    regions = {}
    for name, one in sides.items():
        with torch.set_grad_enabled(torch.is_grad_enabled() and learns and name == "student"):
            regions[name] = side_regions(name, one, scales)
    if features is None:
        return Seen(**regions, watched=student.regions)
    if not captures or not features.linear:
        return Seen(**regions, watched=None)
    known = features.explains()
    return Seen(**regions, watched=features.values, pull=features.pull(scales), known=known)


def side_regions(side: str, one: Pass, scales: tuple[int, ...]) -> Float[Tensor, "n c r"]:
    """Return the region logits that one side gave, by hand or as its feature map makes them.

    Raises:
        ValueError: a scale exceeds the map, or the head does not fit it; the side is named.
    """
    if one.features is None:
        return one.regions
    try:
        return one.features.regions(scales)
    except ValueError as error:
        raise ValueError(f"the {side} has no such regions: {error}") from error


def _refuse_overwritten(sides: dict[str, Pass]) -> None:
    for name, one in sides.items():
        if one.overwritten:
            raise RuntimeError(
                f"the {name}'s logits were overwritten in place after its forward pass, so no "
                f"gradient of a loss on them can be taken: overwrite a copy, or name the layer "
                f"that gives the final logits"
            )
