"""What both sides gave in one forward pass, logits and feature maps, and what a loss sees of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from kdanalysis.core.regions import as_linear, feature_gradients, region_logits
from kdanalysis.losses import Loss
from kdanalysis.networks.hook import muted
from kdanalysis.networks.maps import CHANNELS_LAST, CLASS_TOKEN, MAP, agree


@dataclass(frozen=True)
class Pull:
    """Brings gradients in region logits to a feature map, through a copy of a linear head."""

    weight: Float[Tensor, "c d"]
    shape: tuple[int, ...]
    scales: tuple[int, ...]
    options: dict[str, Any]

    def __call__(self, gradients: Float[Tensor, "n c r"]) -> Float[Tensor, "n entries"]:
        """Return the closed-form gradient in the map, a sample's entries in a row."""
        pulled = feature_gradients(gradients, self.weight, self.shape, self.scales, **self.options)
        return pulled.flatten(1)


@dataclass(frozen=True)
class FeatureMap:
    """What a model computed in one forward pass: its last spatial map and its logits.

    Args:
        values: the map as the model holds it, part of the graph.
        logits: the model's own.
        head: gives the logits from the map, by its average or by a class token.
        layout: of the values; see ``layout_of``.
        grid: (h, w) of tokens; the largest square if None.
    """

    values: Tensor
    logits: Float[Tensor, "n c"]
    head: nn.Module
    layout: str
    grid: tuple[int, int] | None = None

    @property
    def linear(self) -> bool:
        """Whether the head is linear, so that gradients in the map are closed form."""
        return as_linear(self.head) is not None

    def regions(self, scales: Sequence[int]) -> Float[Tensor, "n c r"]:
        """Return the region logits; the global region is the model's own logits.

        So whatever lies between map and logits (a class token, dropout, another pooling) counts
        in the global region as the model has it.

        Raises:
            ValueError: a scale exceeds the map, or the head does not fit it.
        """
        cells = self._regions(scales)[..., 1:]
        if cells.shape[1] != self.logits.shape[1]:
            raise ValueError(
                f"the head gives {cells.shape[1]} logits at a position, the model gives "
                f"{self.logits.shape[1]}: another layer is its head"
            )
        return torch.cat((self.logits.unsqueeze(-1), cells), -1)

    @torch.no_grad()
    def explains(self) -> Bool[Tensor, " n"]:
        """Return for which samples head and map give the model's logits, but for rounding."""
        return agree(self._regions((1,))[..., 0], self.logits)

    def pull(self, scales: Sequence[int]) -> Pull:
        """Return what brings gradients in the region logits to the map; holds no graph."""
        weight, _ = as_linear(self.head)
        shape = self._positions(self.values).shape
        return Pull(weight.detach().clone(), tuple(shape), tuple(scales), self._options())

    def _regions(self, scales: Sequence[int]) -> Float[Tensor, "n c r"]:
        values = self._positions(self.values)
        if any(hasattr(p, "device_mesh") for p in self.head.parameters()):
            raise ValueError(
                "its head is sharded apart from the model, so that its weights are not there after "
                "the forward pass: leave it to the fully_shard call on the whole model"
            )
        with muted():
            return region_logits(values, self.head, None, scales, **self._options())

    def _positions(self, values: Tensor) -> Tensor:
        return values.flatten(1, 2) if self.layout == CHANNELS_LAST else values

    def _options(self) -> dict[str, Any]:
        if self.layout == MAP:
            return {}
        grid = tuple(self.values.shape[1:3]) if self.layout == CHANNELS_LAST else self.grid
        return {"class_token": "global" if self.layout == CLASS_TOKEN else "drop", "grid": grid}


class Pass(NamedTuple):
    """What one side gave in a step: of a forward pass, or by hand."""

    logits: Tensor  # (n, c)
    copy: Tensor | None = None  # of the logits, where the step is captured
    features: FeatureMap | None = None  # where regions are needed
    regions: Tensor | None = None  # (n, c, r), or of a student and its stones, given by hand
    version: int | None = None  # of the logits as the model gave them

    @property
    def overwritten(self) -> bool:
        """Whether the logits were changed in place since the model gave them."""
        return self.version is not None and self.logits._version != self.version


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
    student: Pass, teacher: Pass, loss: Loss | None, computes: bool, captures: bool, probes: bool
) -> Seen:
    """Return what a loss sees of both sides.

    Args:
        student: what the student gave.
        teacher: what the teacher gave.
        loss: what the step is trained or held against with.
        computes: whether the loss will be computed; if not, the student's regions are only looked
            at, with a graph where layers need one, and heads that are not linear are left alone,
            since they may draw random numbers.
        captures: whether the step is captured; if neither, no regions are made.
        probes: whether gradients in layers are asked for.

    Raises:
        RuntimeError: logits that the loss or the layers' gradients need were overwritten in place.
        ValueError: a scale exceeds a side's map, or a head does not fit it; the side is named.
    """
    sides = {"student": student, "teacher": teacher}
    if computes or (captures and probes):
        _refuse_overwritten(sides if computes else {"student": student})
    if loss is not None and loss.stacked is not None:
        return Seen(student.regions, teacher.logits, watched=student.regions)
    scales = None if loss is None else loss.scales
    features, learns = student.features, computes or probes
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
