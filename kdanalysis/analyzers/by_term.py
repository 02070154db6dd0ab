"""The terms of several losses side by side: their names, labels, gradients and cosines."""

from collections import Counter
from collections.abc import Mapping
from functools import partial

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kdanalysis.analyzers.targets import Targets
from kdanalysis.core.gram import HasGradients, term_gradients
from kdanalysis.core.partition import Target, TopK
from kdanalysis.losses import DKD, GDKD, KD, KDParts, Loss
from kdanalysis.losses.parts import Decoupled

UNIT = ("dkd 1/1", "gdkd 1/1/1")  # drawn only where the terms are not with other weights


def term_names(losses: Mapping[str, HasGradients]) -> tuple[tuple[str, str], ...]:
    """Return (loss, term) pairs in order.

    Raises:
        ValueError: there is no loss.
    """
    if not losses:
        raise ValueError("need at least one loss, got none")
    return tuple((name, term) for name, loss in losses.items() for term in loss.terms)


def is_weighted(loss: HasGradients) -> bool:
    """Whether any term of a loss has another weight than 1, or the teacher's mass as one."""
    weights = getattr(loss, "term_weights", {})
    return getattr(loss, "by_mass", False) or any(weight != 1 for weight in weights.values())


def term_labels(losses: Mapping[str, HasGradients]) -> tuple[str, ...]:
    """Return one label a term: its own name, or ``loss:term`` where several losses share it."""
    names = term_names(losses)
    uses = Counter(term for _, term in names)
    return tuple(term if uses[term] == 1 else f"{loss}:{term}" for loss, term in names)


def known_terms(losses: Mapping[str, HasGradients], targets: Targets) -> Bool[Tensor, "n t"] | None:
    """Return for which rows every term is known, a term a column; None where all are."""
    known = targets.known(losses)
    if known is None:
        return None
    terms = [len(loss.terms) for loss in losses.values()]
    return known.repeat_interleave(torch.tensor(terms, device=known.device), 1)


def stacked_gradients(
    losses: Mapping[str, HasGradients],
    student: Float[Tensor, "n c"],
    teacher: Float[Tensor, "n c"],
    targets: Targets,
) -> Float[Tensor, "t n c"]:
    """Gradients of all terms of all losses in the student logits, in float64.

    Weighted as each loss weighs them, T^2 included, ramp 1; one row a sample, not divided by n;
    NaN in rows whose target is not what a loss needs.
    """
    sides = student.double(), teacher.double()

    def of(loss: HasGradients) -> Float[Tensor, "u n c"]:
        shape = len(loss.terms), *student.shape
        return targets.apply(loss, partial(term_gradients, loss), *sides, shape)

    return torch.cat([of(loss) for loss in losses.values()]).double()


def total_gradients(
    losses: Mapping[str, HasGradients],
    student: Float[Tensor, "n c"],
    teacher: Float[Tensor, "n c"],
    targets: Targets,
) -> Float[Tensor, "l n c"]:
    """Gradient of every loss, the sum over its terms, as :func:`stacked_gradients` weighs them."""
    sides = student.double(), teacher.double()

    def total(loss: HasGradients, *batch: Tensor) -> Float[Tensor, "1 k c"]:
        return sum(loss.gradients(*batch).values()).unsqueeze(0)

    found = [
        targets.apply(loss, partial(total, loss), *sides, (1, *student.shape))
        for loss in losses.values()
    ]
    return torch.cat(found)


def pair_cosines(
    gradients: Float[Tensor, "t n c"],
) -> tuple[Float[Tensor, "n t t"], Bool[Tensor, "n t t"]]:
    """Cosines of all pairs per sample, 0 where one has no direction, and where both have one."""
    norms = gradients.norm(dim=-1, keepdim=True)
    unit = gradients / norms.where(norms > 0, 1.0)
    valid = (norms > 0).squeeze(-1).T
    both = valid.unsqueeze(1) & valid.unsqueeze(2)
    return torch.einsum("tnc,snc->nts", unit, unit), both


def gram_cosines(
    gram: Float[Tensor, "n t t"],
) -> tuple[Float[Tensor, "n t"], Float[Tensor, "n t t"], Bool[Tensor, "n t t"]]:
    """Norms and cosines from inner products, and which pairs have a cosine.

    A pair in which either gradient is zero has none; its entry is 0.
    """
    norm = gram.diagonal(dim1=1, dim2=2).sqrt()
    lengths = norm.unsqueeze(1) * norm.unsqueeze(2)
    directed = lengths > 0
    return norm, (gram / lengths.where(directed, 1.0)).where(directed, 0.0), directed


def kd_parts(losses: Mapping[str, Loss]) -> dict[str, tuple[str, KDParts]]:
    """Return plain KD in parts, with the label of the loss that they belong to.

    It is split as the first GDKD and as the first DKD by the label among the losses, so that the
    terms of those can be held against KD's own; empty where there are none.
    """
    found = {}
    top = next((loss.partition for loss in losses.values() if is_top(loss)), None)
    label = next((loss.partition for loss in losses.values() if is_dkd(loss)), None)
    for name, loss in losses.items():
        if isinstance(loss, KD) and top is not None:
            parts = KDParts(top, loss.temperature, weight=loss.weight)
            found[f"{name} parts"] = name, parts
        if isinstance(loss, KD) and label is not None:
            parts = KDParts(label, loss.temperature, ("tckd", None, "nckd"), loss.weight)
            found[f"{name} parts by target"] = name, parts
    return found


def with_kd_parts(losses: Mapping[str, Loss]) -> dict[str, Loss]:
    """Return the losses, after each its parts."""
    parts, found = kd_parts(losses), {}
    for name, loss in losses.items():
        found[name] = loss
        found |= {part: one for part, (owner, one) in parts.items() if owner == name}
    return found


def with_unit_weights(losses: Mapping[str, HasGradients]) -> dict[str, HasGradients]:
    """Return the losses, before each split by groups that weighs them the same with every weight 1.

    What differs between plain KD's parts and such a row is the partition's work, what differs
    between the row and the loss that of its weights.
    """
    found: dict[str, HasGradients] = {}
    for name, loss in losses.items():
        if isinstance(loss, Decoupled) and not loss.by_mass and is_weighted(loss):
            ones = (1.0,) * len(loss.weights)
            more = (loss.temperature, loss.names, loss.divergence)
            found[f"{name} {'/'.join('1' for _ in loss.terms)}"] = Decoupled(
                loss.partition, ones, *more
            )
        found[name] = loss
    return found


def loss_panels(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows of every panel by its title: of one-term losses together, of each other loss."""
    count = table.groupby("loss", sort=False).term.nunique()
    single = table[table.loss.isin(count.index[count == 1])]
    found = {}
    if len(single):
        name = "losses of one term"
        found[single.loss.iloc[0] if single.loss.nunique() == 1 else name] = single
    split = [loss for loss in count.index if count[loss] > 1]
    terms = {loss: frozenset(table.term[table.loss == loss]) for loss in split}
    for loss in split:
        again = sum(terms[other] == terms[loss] for other in split) > 1
        if not (again and loss in UNIT):
            found[loss] = table[table.loss == loss]
    return found


def is_top(loss: Loss) -> bool:
    """Whether the loss sets apart the teacher's top k."""
    return isinstance(loss, GDKD) and isinstance(loss.partition, TopK)


def is_dkd(loss: Loss) -> bool:
    """Whether the loss sets apart the label."""
    return isinstance(loss, DKD) and isinstance(loss.partition, Target)
