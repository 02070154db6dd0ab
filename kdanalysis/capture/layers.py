"""Gradients of the loss terms in a student's layers, taken beside the training's own backward."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor, nn

from kdanalysis.capture.head import Head, is_plain, is_shared
from kdanalysis.capture.moments import LOGITS, Group, Moments, refuse_sharded, take_moments, unite
from kdanalysis.capture.passes import Pass, Seen
from kdanalysis.capture.samples import permuted
from kdanalysis.core.arguments import typed
from kdanalysis.core.gram import HasGradients, term_gradients
from kdanalysis.losses import Labels
from kdanalysis.networks.names import Layer, find_layers, unwrapped


@typed
@dataclass(frozen=True, init=False)
class Layers:
    """Keeps the Gram matrix of the loss terms' gradients at layers of the student.

    It costs a backward pass a term; none for a linear head, nor for "logits", the gradients in the
    logits of the batch. Under DDP the gradients are those of all ranks' samples: every rank needs
    the same recorder and one schedule.

    Args:
        names: names or patterns (see ``find_layers``).
        noise: take the gradients' variance over samples too, at the same cost once more.

    Raises:
        ValueError: no name, or one that is no text.
    """

    names: tuple[str, ...]
    noise: bool = True

    def __init__(self, *names: str, noise: bool = True) -> None:
        if not names:
            raise ValueError("need at least one layer by its name, got none")
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "noise", noise)


@dataclass(frozen=True)
class LayerGrams:
    """What is kept of a captured step: the terms' Gram matrix of every layer.

    ``dot`` of the gradients of the batch mean, ``covariance`` of those of single samples, both
    weighted as the loss weighs the terms, ramp included; ``count`` samples.
    """

    layers: tuple[str, ...]
    terms: tuple[str, ...]
    dot: Float64[Tensor, "l t t"]
    covariance: Float64[Tensor, "l t t"] | None
    count: int

    def columns(self) -> dict[str, Any]:
        """Return the columns of the store, one row a layer and ordered pair of terms."""
        pairs = [(name, a, b) for name in self.layers for a in self.terms for b in self.terms]
        names = zip(("layer", "term_a", "term_b"), zip(*pairs, strict=True), strict=True)
        columns = {**dict(names), "dot": self.dot.flatten().cpu().numpy()}
        if self.covariance is not None:
            columns["covariance"] = self.covariance.flatten().cpu().numpy()
            columns["count"] = np.full(len(pairs), self.count, dtype=np.int64)
        return columns


class LayerProbe:
    """Takes Gram matrices at the chosen layers of a student, from the graph of its forward pass.

    A layer that is the linear head itself (an ``nn.Linear`` on (n, d) that gives the logits) is
    computed in closed form, its covariance over samples; every other layer by vector-Jacobian
    products, its covariance from two halves of the batch. The name "logits", where no module has
    it, stands for the logits of the batch themselves; they come first and have no covariance:

        G_st = 1/n^2 sum_i <d_i^s, d_i^t>, d_i^t the gradient of term t in the logits of sample i

    Args:
        student: the model.
        layers: which of its layers, and whether to estimate the covariance too.
        loss: whose terms.
        seed: of the halves.
        captures: asked at every forward pass whether the step is captured.

    Raises:
        ValueError: as ``find_layers``.
    """

    def __init__(
        self,
        student: nn.Module,
        layers: Layers,
        loss: HasGradients,
        seed: int,
        captures: Callable[[], bool],
    ) -> None:
        self._student, self._loss, self._noise, self._seed = student, loss, layers.noise, seed
        several = (getattr(loss, name, None) for name in ("scales", "stacked"))
        self._several = any(one is not None for one in several)
        refuse_sharded(student, layers.names)
        self._names, self._layers = chosen_layers(student, layers.names)
        self._group = Group(student)
        self._heads = {
            name: Head(layer, captures)
            for name, layer in self._layers.items()
            if is_plain(layer.module) and not is_shared(layer, student)
        }

    def remove(self) -> None:
        """Take the hooks off; a second time is harmless."""
        self._group.remove()
        for head in self._heads.values():
            head.remove()

    def take(
        self,
        student: Pass,
        teacher: Pass,
        seen: Seen,
        target: Labels,
        scale: int | float = 1.0,
        *,
        step: int,
        epoch: int = 0,
        ramp: int | float = 1.0,
    ) -> LayerGrams | None:
        """Return the matrices of this step; NaN where a logit is NaN or infinite.

        Under DDP they are those of all ranks' samples together, which takes one all-reduce, and
        the first rank alone returns them. Of a batch without samples there are none; beside other
        ranks' samples it adds nothing.

        Args:
            student: what it gave, with the copy of its logits made in the forward pass, if any.
            teacher: likewise.
            seen: both sides as the loss takes them; the student's part of the graph.
            target: class indices, or distributions (n, c).
            scale: factor of a GradScaler, for logits in half precision.
            step: draws the halves, with the seed.
            epoch: does not count.
            ramp: warm-up factor of the distillation terms.

        Raises:
            RuntimeError: the logits carry no graph, or one that no layer takes part in; or a loss
                on regions is only observed, with a head that is not linear.
        """
        heads = {name: head.take(student.logits) for name, head in self._heads.items()}
        if self._several:
            heads = {}  # its gradient comes through the cells as well, or the stones have none
        heads = {name: given for name, given in heads.items() if given is not None}
        values, logits = self._values(student, teacher, seen), seen.student.flatten(1)
        finite = all(side.isfinite().all() for side in values)
        alone = self._group.ranks is None
        if not finite and alone:
            return self._grams(Moments(len(target), {}, {}))
        if finite:
            sides = (side.double() for side in values)
            closed = term_gradients(self._loss, *sides, target.to(logits.device), ramp).flatten(2)
        else:  # the other ranks wait for this one
            shape = (len(self._loss.terms), *logits.shape)
            closed = logits.new_full(shape, torch.nan, dtype=torch.float64)
        inner = {
            name: tuple(layer.learning().values())
            for name, layer in self._layers.items()
            if name not in heads
        }
        order = permuted(len(target), self._seed, step).to(logits.device) if self._noise else None
        with statistics_kept(self._student):
            moments = take_moments(logits, closed, heads, inner, order, scale, alone)
        if not alone:
            moments = unite(moments, self._group.ranks)
        return self._grams(moments) if self._group.writes and moments.count else None

    def _grams(self, moments: Moments) -> LayerGrams:
        terms = tuple(self._loss.terms)
        device = moments.dots[LOGITS].device if moments.dots else None
        shape = (len(terms), len(terms))
        unknown = torch.full(shape, torch.nan, dtype=torch.float64, device=device)
        dot, covariance = (
            torch.stack([found.get(name, unknown) for name in self._names])
            for found in (moments.dots, moments.covariances)
        )
        covariance = covariance if self._noise else None
        return LayerGrams(self._names, terms, dot, covariance, moments.count)

    def _values(self, student: Pass, teacher: Pass, seen: Seen) -> list[Tensor]:
        if not self._several:
            return [x.logits.detach() if x.copy is None else x.copy for x in (student, teacher)]
        if seen.student.dim() != 3:
            raise RuntimeError(
                "a head that is not linear is not run to observe a loss on regions, so the layers' "
                "gradients are not known: let the recorder compute the loss"
            )
        return [seen.student.detach(), seen.teacher.detach()]


def probe_for(student: nn.Module | None, layers: Layers | None, *choice: Any) -> LayerProbe | None:
    """Return the probe at the layers of a student, made with ``choice``; None where none are named.

    Raises:
        ValueError: there are layers and no student, or as ``LayerProbe``.
    """
    if layers is None:
        return None
    if student is None:
        raise ValueError(f"layers {layers.names} are the student's: pass student=, the model")
    return LayerProbe(student, layers, *choice)


def chosen_layers(
    student: nn.Module, names: tuple[str, ...]
) -> tuple[tuple[str, ...], dict[str, Layer]]:
    """Return the names of what is recorded, "logits" first, and the layers among them.

    Raises:
        ValueError: as ``find_layers``.
    """
    special = LOGITS in names and not hasattr(unwrapped(student), LOGITS)
    inside = [name for name in names if not (special and name == LOGITS)]
    layers = find_layers(student, inside) if inside or not special else {}
    return (LOGITS,) * special + tuple(layers), layers


@contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Put running statistics back where activation checkpointing ran a forward pass again."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
    before = [(b, b.clone()) for m in norms for b in m.buffers(recurse=False)]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.data.copy_(value)  # unseen by autograd, which saved the buffer for backward
