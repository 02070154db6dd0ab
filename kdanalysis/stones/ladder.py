"""Ladder: the stepping stones between a student and its teacher, without surgery on either."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kdanalysis.core.arguments import typed
from kdanalysis.losses.blocks import choose_stones
from kdanalysis.networks.hook import logits_of
from kdanalysis.networks.mode import evaluating
from kdanalysis.stones.blocks import watched
from kdanalysis.stones.connectors import connectors_for
from kdanalysis.stones.pair import (
    STUDENT,
    Outputs,
    both_outputs,
    check_teacher,
    find_both,
    inputs_of,
)
from kdanalysis.stones.tail import TEACHER, frozen, proven, segments_of, tail_runs, whole_runs


class LadderLogits(NamedTuple):
    """What ``Blockwise`` takes: the logits of the student and its stones, and the teacher's."""

    student: Float[Tensor, "n c sides"]
    teacher: Float[Tensor, "n c"]


@typed
class Ladder(nn.Module):
    """A student and its stepping stones (Yu et al., IEEE TAI 2024, arXiv 2411.01547).

    Stone i is the student up to its block i, a connector, and the teacher after its block i:

        ladder = Ladder(student, teacher, images)
        loss = Blockwise(DKD(), ladder.blocks)
        sum(loss(*ladder(images), target).values()).mean().backward()

    Its parameters are the student's and the connectors': an optimizer, ``train()``, ``to()`` and
    DDP see these. The teacher is only run, in evaluation mode, with gradients flowing through it to
    the student and none kept in it. Hooks sit on the models while the ladder runs and no longer;
    after training the student is what it was, and the ladder may be thrown away.

    Args:
        student: the model in training.
        teacher: the model to learn from, in evaluation mode, on the same device.
        example: images, or the tuple of a model's inputs, for one dry run without training.
        student_blocks: names of the student's blocks in the order they run; its ``block_names``
            if None.
        teacher_blocks: names of the teacher's, as many; likewise.
        stones: numbers of the stones to use, rising from 1; all if None.
        light: use the deeper half of them; see ``Blockwise``.
        connectors: a module for each stone that is used, from its student's block to the shape of
            its teacher's; fresh linear ones with a norm if None (see ``build_connector``), drawn
            from torch's global generator.
        fast: run only the teacher's blocks after the replaced one, where the teacher is a
            ``Network``, alike, or a Sequential, and the dry run shows equal logits.

    Raises:
        ValueError: blocks that are unknown, out of order or not as many on both sides, a
            connector of the wrong shape, a teacher in training mode, other classes on each side,
            or an example that is neither a tensor nor a tuple.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        example: Tensor | tuple,
        student_blocks: Sequence[str] | None = None,
        teacher_blocks: Sequence[str] | None = None,
        *,
        stones: Iterable[int] | None = None,
        light: bool = False,
        connectors: Iterable[nn.Module] | None = None,
        fast: bool = True,
    ) -> None:
        super().__init__()
        self._teacher = (teacher,)  # in a tuple, so that it is no part of this module
        self.student = student
        found = find_both(student, teacher, student_blocks, teacher_blocks)
        self._of_student, self._of_teacher = found
        self.numbers = choose_stones(self.blocks, stones, light)
        seen = self._dry_run(inputs_of(example))
        sides = list(zip(seen.ours, seen.theirs.values(), strict=True))
        pairs = [(i, *sides[i - 1]) for i in self.numbers]
        self.connectors = nn.ModuleList(connectors_for(pairs, connectors))
        segments = segments_of(teacher, self._of_teacher) if fast else None
        with torch.no_grad():
            fits = segments is not None and proven(segments, seen.theirs, seen.teacher)
        self._segments = segments if fits else None

    @property
    def teacher(self) -> nn.Module:
        """The teacher."""
        return self._teacher[0]

    @property
    def blocks(self) -> int:
        """Number of blocks of either side."""
        return len(self._of_student)

    @property
    def student_blocks(self) -> tuple[str, ...]:
        """Names of the student's blocks."""
        return tuple(self._of_student)

    @property
    def teacher_blocks(self) -> tuple[str, ...]:
        """Names of the teacher's blocks."""
        return tuple(self._of_teacher)

    @property
    def fast(self) -> bool:
        """Whether the teacher's blocks before a stone's are left out."""
        return self._segments is not None

    def forward(self, *inputs: Any, **named: Any) -> LadderLogits:
        """Run the student, the stones and the teacher on the same inputs.

        Raises:
            ValueError: the teacher is in training mode, or a block does not run once.
        """
        check_teacher(self.teacher, self._of_student, self._of_teacher)
        with torch.no_grad():  # first, so that the memory it used serves the student's graph
            taught = logits_of(self.teacher(*inputs, **named), TEACHER)
        with watched(self._of_student, STUDENT) as seen:
            logits = logits_of(self.student(*inputs, **named), STUDENT)
        names, features = self.teacher_blocks, [seen[name] for name in self._of_student]
        entries = {
            names[number - 1]: connector(features[number - 1])
            for number, connector in self.numbered_connectors()
        }
        with frozen(self.teacher):
            stones = self._run_stones(entries, inputs, named)
        return LadderLogits(torch.stack([logits, *stones], -1), taught)

    def numbered_connectors(self) -> list[tuple[int, nn.Module]]:
        """Return every connector with the number of its stone."""
        return list(zip(self.numbers, self.connectors, strict=True))

    @torch.no_grad()
    def features(self, *inputs: Any) -> tuple[list[Tensor], list[Tensor]]:
        """Return what the student's blocks and the teacher's give, without a graph.

        Raises:
            ValueError: as for running the ladder.
        """
        seen = self._both(inputs)
        return seen.ours, list(seen.theirs.values())

    def _both(self, inputs: tuple) -> Outputs:
        return both_outputs(self.student, self.teacher, self._of_student, self._of_teacher, inputs)

    def _run_stones(self, entries: dict[str, Tensor], inputs: tuple, named: dict) -> list[Tensor]:
        if self._segments is not None:
            return tail_runs(self._segments, self._of_teacher, entries)
        return whole_runs(self.teacher, self._of_teacher, entries, inputs, named)

    @torch.no_grad()
    def _dry_run(self, inputs: tuple) -> Outputs:
        """Return what both sides give for the example, logits at the end."""
        with evaluating(self.student):
            seen = self._both(inputs)
        logits, taught = logits_of(seen.student, STUDENT), logits_of(seen.teacher, TEACHER)
        if logits.shape != taught.shape:
            raise ValueError(
                f"the student gives logits of shape {tuple(logits.shape)}, the teacher of "
                f"{tuple(taught.shape)}: both need the same classes"
            )
        return seen._replace(student=logits, teacher=taught)
