"""A student and its teacher side by side: their blocks, and what both give for the same inputs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from kdanalysis.networks.names import find_blocks
from kdanalysis.stones.blocks import Blocks, check_order, watched
from kdanalysis.stones.tail import TEACHER

STUDENT = "student"


class Outputs(NamedTuple):
    """What one forward pass of both gives: of their blocks, each in order, and at the end."""

    ours: list[Tensor]
    theirs: dict[str, Tensor]
    student: Any
    teacher: Any


def find_both(
    student: nn.Module,
    teacher: nn.Module,
    student_blocks: Sequence[str] | None,
    teacher_blocks: Sequence[str] | None,
) -> tuple[Blocks, Blocks]:
    """Return the blocks of both sides by name, those that a model states where none are named.

    Raises:
        ValueError: as ``find_blocks`` and ``check_teacher``.
    """
    ours = find_blocks(student, student_blocks, STUDENT)
    theirs = find_blocks(teacher, teacher_blocks, TEACHER)
    check_teacher(teacher, ours, theirs)
    return ours, theirs


def both_outputs(
    student: nn.Module, teacher: nn.Module, ours: Blocks, theirs: Blocks, inputs: tuple
) -> Outputs:
    """Run both on the inputs; the teacher's blocks give copies.

    Raises:
        ValueError: as ``watched``, or the blocks run in another order than they are named in.
    """
    with watched(ours, STUDENT) as left:
        first = student(*inputs)
    with watched(theirs, TEACHER, copies=True) as right:
        second = teacher(*inputs)
    check_order(ours, left, STUDENT)
    check_order(theirs, right, TEACHER)
    return Outputs(list(left.values()), right, first, second)


def check_teacher(teacher: nn.Module, ours: Blocks, theirs: Blocks) -> None:
    """Raise a ValueError where it is in training mode, or has not as many blocks as the student."""
    if len(ours) != len(theirs):
        raise ValueError(
            f"the student has {len(ours)} blocks and the teacher {len(theirs)}: a stone replaces "
            f"one by one, so both need as many; name them with student_blocks and teacher_blocks"
        )
    if any(module.training for module in teacher.modules()):
        raise ValueError(
            "the teacher is in training mode, in which running it changes its statistics: call "
            "teacher.eval() first"
        )


def inputs_of(batch: object) -> tuple:
    """Return what a model is called with: a tuple as it is, images as its only entry.

    Raises:
        ValueError: it is neither, as the list of images and labels that a DataLoader gives.
    """
    if isinstance(batch, tuple):
        return batch
    if isinstance(batch, Tensor):
        return (batch,)
    raise ValueError(
        f"a batch is a tensor of images or the tuple of a model's inputs, without labels, got a "
        f"{type(batch).__name__}: a DataLoader's images are (x for x, _ in loader)"
    )
