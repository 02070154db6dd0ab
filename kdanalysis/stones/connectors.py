"""Connectors: from the width and size of a student's block to those of its teacher's."""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdanalysis.networks.mode import evaluating

Shape = Sequence[int]


class Resize(nn.Module):
    """Brings maps (n, d, h, w) to another size: averages over cells, or interpolates linearly."""

    def __init__(self, size: Sequence[int]) -> None:
        super().__init__()
        self.size = tuple(size)

    def forward(self, values: Tensor) -> Tensor:
        """Average where no side grows, else interpolate."""
        if all(new <= old for new, old in zip(self.size, values.shape[2:], strict=True)):
            return F.adaptive_avg_pool2d(values, self.size)
        return F.interpolate(values, self.size, mode="bilinear", align_corners=False)


def connectors_for(
    pairs: Sequence[tuple[int, Tensor, Tensor]], given: Iterable[nn.Module] | None = None
) -> list[nn.Module]:
    """Return a connector for each stone: fresh ones, or those given, checked.

    Args:
        pairs: of every stone its number, and what the student's and the teacher's block give.
        given: the user's own.

    Raises:
        ValueError: too many or too few are given, one is no module, gives another shape or no
            tensor, or as ``build_connector``.
    """
    if given is None:
        return [build_connector(a.shape, b.shape, i).to(a.device, a.dtype) for i, a, b in pairs]
    found = list(given)
    if len(found) != len(pairs):
        raise ValueError(f"need a connector for each of {len(pairs)} stones, got {len(found)}")
    for connector, pair in zip(found, pairs, strict=True):
        if not isinstance(connector, nn.Module):
            raise ValueError(
                f"the connector of stone {pair[0]} must be a module, got {connector!r:.80}"
            )
        _check_connector(connector, *pair)
    return found


def build_connector(student: Shape, teacher: Shape, stone: int) -> nn.Module:
    """Return a linear map of the channels with fresh weights, and a norm.

    A 1x1 convolution and batch norm for maps (n, d, h, w), resized where their sizes differ, on
    the side with fewer positions; a linear layer and layer norm for tokens (n, p, d) and vectors
    (n, d).

    Args:
        student: shape of the output of its block.
        teacher: likewise.
        stone: number of the stone, for messages.

    Raises:
        ValueError: one is a map and the other is not, or the numbers of tokens differ.
    """
    mix = linear_map(student, teacher, stone, bias=False)
    norm = nn.BatchNorm2d(teacher[1]) if len(teacher) == 4 else nn.LayerNorm(teacher[-1])
    return nn.Sequential(*mix, norm)


def linear_map(student: Shape, teacher: Shape, stone: int, bias: bool) -> list[nn.Module]:
    """Return the layers that resize and mix the channels; arguments as ``build_connector``."""
    if len(student) != len(teacher) or len(student) not in (2, 3, 4):
        raise _unlike(student, teacher, stone)
    if len(student) == 4:
        mix = nn.Conv2d(student[1], teacher[1], 1, bias=bias)
        if student[2:] == teacher[2:]:
            return [mix]
        resize = Resize(teacher[2:])
        grows = teacher[2] * teacher[3] > student[2] * student[3]
        return [mix, resize] if grows else [resize, mix]
    if student[1:-1] != teacher[1:-1]:
        raise _unlike(student, teacher, stone)
    return [nn.Linear(student[-1], teacher[-1], bias=bias)]


@torch.no_grad()
def _check_connector(connector: nn.Module, stone: int, ours: Tensor, theirs: Tensor) -> None:
    with evaluating(connector):
        try:
            found = connector(ours)
        except RuntimeError as error:
            raise ValueError(
                f"the connector of stone {stone} cannot take the student's {tuple(ours.shape)}: "
                f"{error}"
            ) from error
    gives = tuple(found.shape) if isinstance(found, Tensor) else f"a {type(found).__name__}"
    if gives != tuple(theirs.shape):
        raise ValueError(
            f"the connector of stone {stone} gives {gives}, but the teacher's block gives "
            f"{tuple(theirs.shape)}, which it has to replace"
        )


def _unlike(student: Shape, teacher: Shape, stone: int) -> ValueError:
    return ValueError(
        f"stone {stone} has no connector from the student's {tuple(student)} to the teacher's "
        f"{tuple(teacher)}: only maps of any size, or tokens of one number, are connected by "
        f"themselves; give your own with connectors=..."
    )
