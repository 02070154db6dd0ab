"""Tokens to distil in the logits of a batch: those that have a label."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdanalysis.core.arguments import typed
from kdanalysis.core.vocabulary import POSITIONS

IGNORED = -100  # the label of padding and of whatever else is not to be learnt


@typed
class Tokens(NamedTuple):
    """The labelled tokens of a batch, or its rows, one a line; ``student`` is part of the graph."""

    student: Float[Tensor, "n c"]
    teacher: Float[Tensor, "n c"]
    target: Int[Tensor, " n"]
    sample_id: Int[Tensor, " n"]


@typed
def tokens(
    student: Float[Tensor, "b *l c"],
    teacher: Float[Tensor, "b *l d"],
    labels: Int[Tensor, " b *l"],
    sample_id: Int[Tensor, " b"] | None = None,
    *,
    shift: bool = True,
) -> Tokens:
    """Pick the labelled tokens of a language model's batch, a row each, for ``Recorder.loss``.

        rows = kd.tokens(student(ids).logits, teacher(ids).logits, labels)
        sides = {"student": rows.student, "teacher": rows.teacher}
        loss = recorder.loss(rows.target, rows.sample_id, **sides)

    Leave both models out of such a recorder: what else they compute, as where they generate, is
    then none of its rows.

    Args:
        student: logits of every position.
        teacher: likewise, of the same tokens and vocabulary.
        labels: the tokens, -100 where one is not to be learnt, as of prompt and padding.
        sample_id: of the texts, the row numbers if None; a token's is ``sample_id * 2**20`` plus
            its position.
        shift: whether the logits at a position are of the token after it, as those of causal
            language models are.

    Raises:
        ValueError: the student's and the teacher's logits differ in shape, or do not fit the
            labels; a shift of labels without positions; a sample id is missing or too large.
    """
    if shift and labels.dim() == 1:
        raise ValueError(
            f"labels {tuple(labels.shape)} have no positions to shift: need (texts, positions), of "
            f"one text labels[None] and logits[None]; or shift=False, where every row has its own "
            f"label"
        )
    ids = torch.arange(len(labels), device=labels.device) if sample_id is None else sample_id
    if ids.shape != labels.shape[:1] or bool((ids.abs() >= 2**43).any()):
        raise ValueError(
            f"sample_id needs a whole number below 2**43 for each of {len(labels)} texts, got "
            f"{tuple(ids.shape)} with {ids.tolist()!s:.80}"
        )
    return select_tokens(student, teacher, labels, ids, shift)


def select_tokens(
    student: Float[Tensor, "b *l c"],
    teacher: Float[Tensor, "b *l d"],
    labels: Int[Tensor, " b *l"],
    rows: Int[Tensor, " b"],
    shift: bool = False,
) -> Tokens:
    """Return the logits, labels and sample ids where the label is not -100.

    Args:
        student: logits of every position, or (b, c) where a row has one label.
        teacher: likewise, of the same tokens and vocabulary.
        labels: class indices, -100 at padding.
        rows: sample ids of the rows; a token's is ``row * 2**20`` plus the position of its label.
        shift: whether the logits at a position are of the token after it, as a causal language
            model's are.

    Raises:
        ValueError: the student's and the teacher's logits differ in shape, or do not fit the
            labels.
    """
    if student.shape != teacher.shape or student.shape[:-1] != labels.shape:
        sizes, hint = (student.shape[-1], teacher.shape[-1]), ""
        if student.shape[:-1] == teacher.shape[:-1] == labels.shape:
            wider = "teacher" if sizes[1] > sizes[0] else "student"
            hint = (
                f"; where the {wider}'s is padded, cut its logits: logits[..., :{min(sizes)}], or "
                f"of a trainer the model: {wider}.resize_token_embeddings({min(sizes)})"
            )
        raise ValueError(
            f"the student gives logits of shape {tuple(student.shape)}, the teacher of "
            f"{tuple(teacher.shape)}, for labels of {tuple(labels.shape)}: both need the tokens of "
            f"the labels, and the same vocabulary{hint}"
        )
    if labels.dim() > 1:
        rows = rows.long().unsqueeze(1) * POSITIONS + torch.arange(
            labels.shape[1], device=rows.device
        )
    if shift and labels.dim() > 1:
        student, teacher = student[:, :-1], teacher[:, :-1]
        labels, rows = labels[:, 1:], rows[:, 1:]
    kept = labels != IGNORED
    return Tokens(student[kept], teacher[kept], labels[kept], rows.to(labels.device)[kept])
