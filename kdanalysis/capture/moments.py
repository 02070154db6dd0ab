"""Means and covariances of the terms' gradients over a batch, layer by layer, in one or all ranks.

Index legend: t, s terms; n samples; c classes; p parameters of several layers side by side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from kdanalysis.core.gram import gram, grams_by_layer, linear_covariance, linear_mean, sample_grams
from kdanalysis.core.parameters import half_covariances, layer_grams, mean_gradients
from kdanalysis.networks.hook import Hook
from kdanalysis.networks.names import unwrapped

LOGITS = "logits"
HeadInput = tuple[Float[Tensor, "n d"], Mapping[str, bool]]  # and which of its parameters learn


@dataclass(frozen=True)
class Moments:
    """Of the samples of one rank, or of all ranks.

    ``dots`` are the Gram matrices of the mean gradients, of "logits" that of the gradients in the
    logits of the batch, 1/n^2 sum_i <d_i^s, d_i^t>; ``covariances`` those of single samples'.
    For ``unite`` there are the mean gradients themselves, ``rows`` in the layers of ``widths``,
    numbers of parameters, with room for what it puts behind them, and ``heads`` in linear heads.
    """

    count: int
    dots: Mapping[str, Float64[Tensor, "t t"]]
    covariances: Mapping[str, Float64[Tensor, "t t"]]
    rows: Float[Tensor, "t p"] | None = None
    widths: Mapping[str, int] = field(default_factory=dict)
    heads: Mapping[str, Float64[Tensor, "t _"]] = field(default_factory=dict)


def take_moments(
    logits: Float[Tensor, "n _"],
    closed: Float64[Tensor, "t n c"],
    heads: Mapping[str, HeadInput],
    layers: Mapping[str, Sequence[Tensor]],
    order: Int[Tensor, " n"] | None,
    scale: int | float = 1.0,
    alone: bool = True,
) -> Moments:
    """Return the moments of a batch.

    Args:
        logits: the student's, part of the graph.
        closed: gradients of the terms in them, per sample.
        heads: inputs of linear layers that give the logits: their moments are closed forms.
        layers: parameters of the other layers: one backward pass a term, see ``layer_grams``.
        order: of the samples, for the halves of ``half_covariances``; None for no covariances.
        scale: as for ``layer_grams``.
        alone: no other rank has samples of this step; else the gradients are kept for ``unite``,
            those of all layers together.

    Raises:
        RuntimeError: as for ``layer_grams``.
    """
    count, terms = closed.shape[1], len(closed)
    means = {name: linear_mean(x, closed, **which) for name, (x, which) in heads.items()}
    dots = {LOGITS: sample_grams(closed).sum(0) / max(count, 1) ** 2}
    dots |= {name: gram(mean) for name, mean in means.items()}
    covariances = {}
    if order is not None:
        covariances = {n: linear_covariance(x, closed, **which) for n, (x, which) in heads.items()}
        if layers:
            covariances |= half_covariances(logits, closed, layers, order, scale)
    if alone:
        dots |= layer_grams(logits, closed, layers, scale) if layers else {}
        return Moments(count, dots, covariances)
    room = sum(g.shape[1] for g in means.values()) + terms * (len(covariances) + 1) + 1
    rows = closed.new_zeros(terms, room)
    widths = {name: sum(p.numel() for p in layer) for name, layer in layers.items()}
    if layers:
        rows = mean_gradients(logits, closed, layers, scale, room)
        dots |= grams_by_layer(rows[:, :-room], widths)
    return Moments(count, dots, covariances, rows, widths, means)


def unite(own: Moments, group: Any) -> Moments:
    """Return the moments of all ranks together, as of one process, in a single all-reduce.

        n = sum_r n_r        g = sum_r n_r g_r / n        G_st = <g^s, g^t>
        C = (sum_r ((n_r - 1) C_r + n_r G_r) - n G) / (n - 1)

    n_r, g_r, G_r and C_r are count, mean gradients, their Gram matrix and the covariance of rank r.
    Samples count equally, whatever share a rank has (DDP itself counts ranks equally). Where C_r is
    the covariance of a rank's samples, C is that of all samples; where it is estimated from halves,
    C is as unbiased, and scatters the less the more ranks there are. A rank of one sample, or of
    none, has no C_r, and the sums need none.

    Every rank has to call this in the same step; ``own.rows`` are overwritten.
    """
    rows, width = own.rows, sum(own.widths.values())
    sums = [own.count * head for head in own.heads.values()]
    for name, covariance in own.covariances.items():
        scatter = (own.count - 1) * covariance if own.count > 1 else 0  # NaN of a single sample
        sums.append(scatter + own.count * own.dots[name])
    sums.append(own.count**2 * own.dots[LOGITS])
    sums.append(rows.new_full((len(rows), 1), own.count))
    rows[:, :width] *= own.count
    rows[:, width:] = torch.cat(sums, dim=1)
    distributed.all_reduce(rows, group=group)
    return _from_sums(rows, own)


def _from_sums(rows: Float[Tensor, "t p"], own: Moments) -> Moments:
    """Divide the sums of all ranks, which lie as ``unite`` laid those of ``own``."""
    terms, count = len(rows), int(rows[0, -1])
    widths = own.widths | {name: head.shape[1] for name, head in own.heads.items()}
    *means, small = rows.split([*widths.values(), rows.shape[1] - sum(widths.values())], dim=1)
    *within, of_logits, _ = small.double().split([*[terms] * (len(own.covariances) + 1), 1], dim=1)
    dots = {n: gram(part) / count**2 for n, part in zip(widths, means, strict=True)}
    pairs = zip(own.covariances, within, strict=True)
    covariances = {name: (sums - count * dots[name]) / (count - 1) for name, sums in pairs}
    return Moments(count, dots | {LOGITS: of_logits / count**2}, covariances)


class Group:
    """The ranks that train a student, by its wrapper or, given what is inside, when that runs.

    ``ranks`` is their process group; None where the student belongs to this process alone.

    Raises:
        ValueError: DDP with ``static_graph``; on the first forward pass where that shows only then.
    """

    def __init__(self, student: nn.Module) -> None:
        self.ranks = next(iter(pieces(student)), None)
        for module in student.modules():
            if isinstance(module, DistributedDataParallel):
                self._join(module)
        self._handle = student.register_forward_pre_hook(Hook(self._look))

    @property
    def writes(self) -> bool:
        """Whether this rank keeps what all of them found."""
        return self.ranks is None or distributed.get_rank(self.ranks) == 0

    def remove(self) -> None:
        """Take the hook off; a second time is harmless."""
        self._handle.remove()

    def _look(self, *_: Any) -> None:
        active = DistributedDataParallel._active_ddp_module
        if active is not None:
            self._join(active)

    def _join(self, wrapper: DistributedDataParallel) -> None:
        if wrapper.static_graph:
            raise ValueError(
                "layers cannot be taken of a student under DDP with static_graph=True, which takes "
                "the first backward pass it sees for that of the training: leave it out, or layers"
            )
        self.ranks = wrapper.process_group


def pieces(student: nn.Module) -> list[Any]:
    """Return the process groups over which parameters lie in pieces."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return []
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.tensor import DTensor

    wrapped = [m for m in student.modules() if isinstance(m, FullyShardedDataParallel)]
    meshes = [p.device_mesh for p in student.parameters() if isinstance(p, DTensor)]
    return [m.process_group for m in wrapped] or [g for m in meshes[:1] for g in m.get_all_groups()]


def refuse_sharded(student: nn.Module, names: tuple[str, ...]) -> None:
    """Refuse layers of a student whose parameters lie in pieces on several ranks.

    Raises:
        ValueError: they do, and other things than the logits are named.
    """
    inside = [name for name in names if name != LOGITS or hasattr(unwrapped(student), LOGITS)]
    if inside and pieces(student):
        raise ValueError(
            f"the layers {names} cannot be taken of a sharded student (fully_shard, FSDP): its "
            f"graph leads to copies of the parameters that are gone when their gradients are asked "
            f"for; name 'logits' alone, or train under DDP"
        )
