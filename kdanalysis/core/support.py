"""A partition by given tokens: those of a truncated teacher, and all others."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from kdanalysis.core.arguments import typed
from kdanalysis.core.partition import Ids, Labels, Logits, Members, Partition


@typed
@dataclass(frozen=True)
class Support(Partition):
    """Group 0: the given classes. Group 1: the others. What a teacher of K tokens knows, and not.

    Args:
        ids: (n, K) class indices, a row a sample, -1 where one is absent; or (K,), the same for
            every sample. A tensor, an array or nested tuples, kept as tuples.
    """

    needs_target: ClassVar[bool] = False
    num_groups: ClassVar[int] = 2
    ids: Any

    def __post_init__(self) -> None:
        try:
            ids = torch.as_tensor(self.ids)
        except (TypeError, ValueError, RuntimeError):
            ids = torch.empty(0)
        wrong = ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool
        if wrong or ids.dim() not in (1, 2) or not ids.numel():
            raise ValueError(
                f"ids of Support are whole numbers (K,) or (n, K), got {self.ids!r:.80}"
            )
        rows = ids.tolist() if ids.dim() == 2 else [ids.tolist()]
        for row, held in enumerate(rows):
            known = [one for one in held if one != -1]
            if len(set(known)) < len(known) or not known or min(known) < 0:
                raise ValueError(
                    f"row {row} of Support holds {tuple(held)!r:.80}: need at least one class, "
                    f"each once, and -1 where one is absent"
                )
        kept = tuple(map(tuple, rows))
        object.__setattr__(self, "ids", kept if ids.dim() == 2 else kept[0])

    def __call__(self, teacher: Logits, target: Labels) -> Ids:
        """Return the id of every class's group; neither argument's values are used."""
        ids, classes = torch.tensor(self.ids, device=teacher.device), teacher.shape[-1]
        ids = ids if ids.dim() == 2 else ids.expand(len(teacher), -1)
        if len(ids) != len(teacher):
            raise ValueError(f"Support has {len(ids)} rows of classes, the logits {len(teacher)}")
        if ids.numel() and int(ids.max()) >= classes:
            raise ValueError(f"Support names the class {int(ids.max())}, the logits have {classes}")
        if (full := (ids >= 0).sum(-1) >= classes).any():
            raise ValueError(f"Support leaves no other class in row {int(full.nonzero()[0])}")
        held = torch.zeros(len(ids), classes + 1, dtype=torch.long, device=teacher.device)
        held.scatter_(-1, torch.where(ids < 0, classes, ids), 1)  # the absent go to a spare column
        return 1 - held[:, :classes]

    def members(self, teacher: Logits, target: Labels) -> Members:
        """Return the classes themselves where every row has as many, else truth values."""
        ids = torch.tensor(self.ids, device=teacher.device)
        if (ids < 0).any():
            return super().members(teacher, target)
        self(teacher, target)  # refuses what does not fit
        return ids.expand(len(teacher), -1), None
