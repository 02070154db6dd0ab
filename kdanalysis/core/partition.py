"""Partitions: rules that put every class of a sample into a numbered group.

A partition is called with the teacher's logits (n, c) and the targets (n,) and gives a group id
for every class of every sample, shape (n, c). Group 0 is the top group and no group is empty.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, SupportsIndex

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from kdanalysis.core.arguments import told_of_one, typed
from kdanalysis.core.largest import largest, ranked
from kdanalysis.core.logits import check_tensor

Logits, Labels, Ids = Float[Tensor, "n c"], Int[Tensor, " n"], Int[Tensor, "n c"]
# What every group holds: truth values (n, c); or class indices (n, k), and None for the others.
Members = Sequence[Shaped[Tensor, "n _"] | None]

RULES: dict[str, type["Partition"]] = {}  # every rule by its class name, which a repr begins with


class Partition(ABC):
    """A rule with parameters; calling it gives the group id of every class of every sample.

    ``needs_target`` says whether the rule looks at the labels, or any class indices will do.
    """

    num_groups: int
    needs_target: ClassVar[bool] = True

    def __init_subclass__(cls, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        RULES[cls.__name__] = cls

    @abstractmethod
    def __call__(self, teacher: Logits, target: Labels) -> Ids:
        """Return ids in ``[0, num_groups)``; group 0 is the top group, and no group is empty."""

    def members(self, teacher: Logits, target: Labels) -> Members:
        """Return what every group holds, as ``decompose`` and ``slopes`` take it."""
        groups = self(teacher, target)
        return tuple(groups == group for group in range(self.num_groups))


class Chosen(Partition):
    """As many chosen classes for every sample in each group but the last, which holds the others.

    A rule of this kind says its ``members``, and its ids follow.
    """

    num_groups = 2

    @abstractmethod
    def members(self, teacher: Logits, target: Labels) -> Members:
        """Return the class indices of every group but the last, and None."""

    def __call__(self, teacher: Logits, target: Labels) -> Ids:
        """Return the id of every class's group."""
        check_tensor("teacher", teacher, 2)
        *chosen, _ = self.members(teacher, target)
        groups = torch.full_like(teacher, len(chosen), dtype=torch.long)
        for group, classes in enumerate(chosen):
            groups.scatter_(-1, classes, group)
        return groups


def _refuse_none(rule: Partition, smallest: int, k: int) -> None:
    if k < smallest:
        raise ValueError(f"{rule} leaves a group empty: need k >= {smallest}")


def _refuse_empty(rule: Partition, smallest: int, k: int, classes: int) -> None:
    if not smallest <= k < classes:
        raise ValueError(
            f"{rule} leaves a group empty: need {smallest - 1} < k < {classes}, the number of "
            f"classes"
        )


@dataclass(frozen=True)
class Target(Chosen):
    """Group 0: the labelled class. Group 1: the others. The partition of DKD (2203.08679)."""

    def members(self, teacher: Logits, target: Labels) -> Members:
        """Choose ``target``; the teacher's values are not used.

        Raises:
            ValueError: a target is no class index, or there is a single class.
        """
        classes = teacher.shape[-1]
        _refuse_empty(self, 1, 1, classes)
        check_target(target, classes)
        return target.long().unsqueeze(-1), None


@dataclass(frozen=True)
class Top1(Chosen):
    """Group 0: the class with the largest teacher logit. Group 1: the others."""

    needs_target: ClassVar[bool] = False

    def members(self, teacher: Logits, target: Labels) -> Members:
        """Choose the teacher's argmax; ``target`` is not used."""
        _refuse_empty(self, 1, 1, teacher.shape[-1])
        return largest(teacher, 1), None


@typed
@dataclass(frozen=True)
class TopK(Chosen):
    """Group 0: the k classes with the largest teacher logits. Group 1: the others.

    With ``strategy="worst"`` group 0 holds the k classes with the smallest teacher logits.
    The partition of GDKD (2512.04625).
    """

    needs_target: ClassVar[bool] = False
    k: SupportsIndex
    strategy: str = "best"

    def __post_init__(self) -> None:
        _refuse_none(self, 1, self.k)
        if self.strategy not in ("best", "worst"):
            raise ValueError(f"strategy is 'best' or 'worst', got {self.strategy!r}")

    def __repr__(self) -> str:
        worst = "" if self.strategy == "best" else ", strategy='worst'"
        return f"TopK(k={self.k}{worst})"

    def members(self, teacher: Logits, target: Labels) -> Members:
        """Rank by the teacher; ``target`` is not used."""
        _refuse_empty(self, 1, self.k, teacher.shape[-1])
        return largest(teacher if self.strategy == "best" else -teacher, self.k), None


@typed
@dataclass(frozen=True)
class Top1TopK(Chosen):
    """Groups 0, 1, 2: the teacher's top class, its classes of rank 2 to k, the others (GDKD3)."""

    needs_target: ClassVar[bool] = False
    k: SupportsIndex
    num_groups: ClassVar[int] = 3

    def __post_init__(self) -> None:
        _refuse_none(self, 2, self.k)

    def members(self, teacher: Logits, target: Labels) -> Members:
        """Rank by the teacher; ``target`` is not used."""
        _refuse_empty(self, 2, self.k, teacher.shape[-1])
        classes = largest(teacher, self.k)
        return classes[:, :1], classes[:, 1:], None


@typed
@dataclass(frozen=True)
class AutoK(Partition):
    """TopK with a k of its own for every sample, read from the softened teacher distribution.

    Sort the probabilities ascending. The first that is at least ``ratio`` times the mean of all
    probabilities up to and including it starts the top group, so k counts it and the larger ones.
    Where none is (a flat teacher) k is 1; ``max_k`` caps it, as does the number of classes less 1.
    The rule of GDKD's experiments (2512.04625).
    """

    needs_target: ClassVar[bool] = False
    ratio: int | float = 2.0
    max_k: SupportsIndex | None = None
    temperature: int | float = 4.0
    num_groups: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if not self.ratio > 1:
            raise ValueError(f"ratio must be above 1, got {self.ratio}: every class would be top")
        if self.max_k is not None and self.max_k < 1:
            raise ValueError(f"max_k must be at least 1, got {self.max_k}: the top group is empty")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}")

    def sizes(self, teacher: Float[Tensor, "n c"]) -> Int[Tensor, " n"]:
        """Return k for every sample, shape (n,)."""
        _refuse_empty(self, 1, 1, teacher.shape[-1])
        return self.sizes_of((ranked(teacher.detach()).double() / self.temperature).softmax(-1))

    def sizes_of(self, softened: Float[Tensor, "n c"]) -> Int[Tensor, " n"]:
        """Return the same of probabilities, largest first, or of multiples of a row's."""
        ascending, classes = softened.flip(-1), softened.shape[-1]
        count = torch.arange(1, classes + 1, device=softened.device)
        # p >= ratio * mean, written as a product: it holds where the smallest underflow to zero.
        jump = (ascending * count >= self.ratio * ascending.cumsum(-1)) & (ascending > 0)
        k = torch.where(jump.any(-1), classes - jump.view(torch.uint8).argmax(-1), 1)
        return k.clamp(max=min(self.max_k or classes, classes - 1))

    def __call__(self, teacher: Logits, target: Labels) -> Ids:
        """Rank by the teacher and cut each sample at its own k; ``target`` is not used."""
        check_tensor("teacher", teacher, 2)
        k = self.sizes(teacher)
        order = teacher.argsort(dim=-1, descending=True, stable=True)
        outside = torch.arange(teacher.shape[-1], device=teacher.device) >= k.unsqueeze(-1)
        return torch.empty_like(order).scatter(-1, order, outside.long())


@typed
@dataclass(frozen=True)
class Groups(Chosen):
    """Fixed groups of classes, such as superclasses; the same for every sample.

    Args:
        ids: the group id of every class; ids run from 0 without gaps.
    """

    needs_target: ClassVar[bool] = False
    ids: tuple[int, ...]
    num_groups: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", tuple(self.ids))
        found = sorted(set(self.ids))
        if found != list(range(len(found))) or len(found) < 1:
            raise ValueError(f"group ids must run from 0 without gaps, got {found}")
        object.__setattr__(self, "num_groups", len(found))

    def members(self, teacher: Logits, target: Labels) -> Members:
        """Return the same for every sample; neither argument's values are used."""
        if len(self.ids) != teacher.shape[-1]:
            raise ValueError(
                f"Groups names {len(self.ids)} classes, the logits have {teacher.shape[-1]}"
            )
        order = torch.tensor(self.ids).argsort(stable=True).to(teacher.device)
        sizes = [self.ids.count(group) for group in range(self.num_groups)]
        *chosen, _ = order.expand(teacher.shape).split(sizes, -1)
        return *chosen, None


def check_target(target: Int[Tensor, " n"], classes: int) -> None:
    """Raise a ValueError that names the first sample whose target is no class index."""
    check_tensor("target", target)
    smallest, largest = target.aminmax() if target.numel() else (0, 0)
    if smallest < 0 or largest >= classes:
        sample = int(((target < 0) | (target >= classes)).nonzero()[0])
        raise ValueError(
            f"target of sample {sample} is {int(target[sample])}, need an index from 0 to "
            f"{classes - 1}{told_of_one(smallest, largest, classes)}"
        )
