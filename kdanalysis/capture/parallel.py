"""Students that several processes train: layers united under DDP, and refused where sharded."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from kdanalysis.capture.moments import LOGITS, Moments
from kdanalysis.core.gram import gram
from kdanalysis.networks.hook import Hook
from kdanalysis.networks.layers import unwrapped


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
            f"layers={names} cannot be taken of a sharded student (fully_shard, FSDP): its graph "
            f"leads to copies of the parameters that are gone when their gradients are asked for; "
            f"name 'logits' alone, or train under DDP"
        )


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
