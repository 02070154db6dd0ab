"""What a SparseTeacher says of given tokens, and a teacher of all tokens made of it."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kdanalysis.core.partition import Members, Partition
from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.core.warn import warn

NOTHING = -1e3  # log-probability of the others where they have no mass
TOLD = 1e-3  # share of the student's mass on tokens that the teacher's vocabulary has not


def within(student: Float[Tensor, "n c"], teacher: SparseTeacher) -> Float[Tensor, "n v"]:
    """Return the student's logits of the teacher's vocabulary; those beyond it are padding.

    A RuntimeWarning says how much of the student's mass they hold where that is more than a
    thousandth.

    Raises:
        ValueError: the teacher has tokens of which the student has no logits, or there is NaN or
            inf beyond its vocabulary.
    """
    classes, size = student.shape[-1], teacher.vocabulary
    if size is None:
        size = max(classes, int(teacher.ids.max()) + 1) if teacher.ids.numel() else classes
    if size > classes:
        what, hint = f"token {size - 1}", ""
        if teacher.vocabulary is not None:
            what = f"a vocabulary of {size}"
            hint = f", as vocabulary={classes} makes it where the others are padding"
        raise ValueError(
            f"the teacher has {what}, and the student's logits are of {classes} tokens: need the "
            f"same vocabulary{hint}"
        )
    if size < classes and len(student):
        logits = student.detach().float()
        if (wrong := ~(logits[:, size:] < torch.inf)).any():
            row, token = (int(place) for place in wrong.nonzero()[0])
            raise ValueError(
                f"student logits of row {row} hold {float(logits[row, size + token]):g} at token "
                f"{size + token}, beyond the teacher's vocabulary: padding is finite or -inf"
            )
        left = (logits[:, size:].logsumexp(-1) - logits.logsumexp(-1)).exp().nanmean()
        if left > TOLD:
            warn(
                f"the student's logits {size} to {classes - 1} are beyond the teacher's vocabulary "
                f"and left out; they hold {float(left):.2g} of its mass"
            )
    return student[:, :size]


def log_of(teacher: SparseTeacher, tokens: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return the log-probability of one token a row, float64.

    Raises:
        ValueError: a token is not among the known ones, or only logits are known.
    """
    teacher.tail()  # or the sentence that says that the logits have no sum
    place, found = find(teacher, tokens.unsqueeze(-1))
    _refuse_missing(teacher, tokens.unsqueeze(-1), found)
    return teacher.inside().gather(-1, place).squeeze(-1)


def only(teacher: SparseTeacher, tokens: Int[Tensor, "n k"]) -> SparseTeacher:
    """Return the teacher of the given tokens alone; the mass of its others joins the tail.

    Raises:
        ValueError: a token is not among the known ones.
    """
    place, found = find(teacher, tokens)
    _refuse_missing(teacher, tokens, found)
    changed = {"ids": tokens.int(), "logprobs": teacher.logprobs.gather(-1, place)}
    if teacher.has_tail:
        left = teacher.inside().scatter(-1, place, -torch.inf).logsumexp(-1)
        changed["log_other"] = left.logaddexp(teacher.tail())
    return teacher.replaced(_ranked=False, **changed)


def find(
    teacher: SparseTeacher, tokens: Int[Tensor, "n k"]
) -> tuple[Int[Tensor, "n k"], Bool[Tensor, "n k"]]:
    """Return where each token stands among the known ones, and whether it does."""
    ordered, order = teacher.ids.long().sort(-1)
    place = torch.searchsorted(ordered, tokens.long()).clamp(max=ordered.shape[-1] - 1)
    return order.gather(-1, place), ordered.gather(-1, place) == tokens


def filled(teacher: SparseTeacher, like: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """Return logits / T of all tokens, the tail shared evenly by those that are not known.

    Exact for whatever does not look inside the tail. Needs the tail's mass.
    """
    left = (like.shape[-1] - teacher.present.sum(-1)).clamp(min=1)
    each = (teacher.tail() - left.double().log()).clamp(min=NOTHING).to(like).unsqueeze(-1)
    first = teacher.present.int().argmax(-1, keepdim=True)
    ids = torch.where(teacher.present, teacher.ids, teacher.ids.gather(-1, first)).long()
    inside = teacher.inside()
    inside = torch.where(teacher.present, inside, inside.gather(-1, first))
    return each.expand_as(like).scatter(-1, ids, inside.to(like))


def refuse_unknown(
    teacher: SparseTeacher, members: Members, partition: Partition, classes: int
) -> None:
    """Raise a ValueError where groups hold classes whose log-probabilities are not known."""
    known = torch.zeros(len(teacher), classes + 1, dtype=torch.bool, device=teacher.ids.device)
    known.scatter_(-1, torch.where(teacher.present, teacher.ids, classes).long(), True)
    known = known[:, :classes]
    for group in members:
        inside = group.dtype == torch.bool
        lost = group & ~known if inside else ~known.gather(-1, group)
        if lost.any():
            row, place = lost.nonzero()[0].tolist()
            token = place if inside else int(group[row, place])
            raise ValueError(
                f"{partition} sets apart the token {token} in row {row}, and {teacher} does not "
                f"know its log-probability"
            )


def _refuse_missing(teacher: SparseTeacher, tokens: Tensor, found: Tensor) -> None:
    if not found.all():
        row, column = (~found).nonzero()[0].tolist()
        raise ValueError(
            f"{teacher} does not know the log-probability of the token {int(tokens[row, column])} "
            f"in row {row} ({int((~found).sum())} of {found.numel()} tokens asked for are missing)"
        )
