"""The tables of a ladder: two networks, the stones between them, and what these would teach."""

from collections.abc import Iterable, Sequence

import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.stones.alignment import FeatureAlignment
from kdanalysis.analyzers.stones.connector import ConnectorFit
from kdanalysis.analyzers.stones.gradient import gradient_table
from kdanalysis.analyzers.stones.ladder import LadderProfile
from kdanalysis.losses import Blockwise
from kdanalysis.stones import Ladder
from kdanalysis.stones.gradients import StoneGradients

Batch = tuple[Tensor, Tensor]


def ladder_tables(
    ladder: Ladder,
    loss: Blockwise,
    batches: Iterable[Batch],
    r2_fit: Sequence[float] | None = None,
    temperature: float | int = 1.0,
) -> dict[str, pd.DataFrame]:
    """Run a ladder over images once; return ladder, ladder_gradient, alignment and connector.

    Student and connectors run in evaluation mode, in which the ladder is left.

    Args:
        ladder: of the two networks.
        loss: whose gradients are taken, on the same stones.
        batches: images and labels, on the ladder's device.
        r2_fit: what ``fit_connectors`` says of its own images, if it made the connectors.
        temperature: of the divergences.

    Raises:
        ValueError: there are no images, or as the ladder.
    """
    ladder.eval()
    gradients, analyzers = StoneGradients(ladder, loss), None
    for images, target in batches:
        logits, taught = gradients.add(images, target=target)
        ours, theirs = ladder.features(images)
        if analyzers is None:
            analyzers = _analyzers(ladder, gradients.sides, temperature, taught, ours, theirs)
        profile, alignment, fit = analyzers
        profile.update(logits.cpu(), taught.cpu(), target.cpu())
        alignment.update([x.cpu() for x in ours], [y.cpu() for y in theirs])
        with torch.no_grad():
            connected = [c(ours[i - 1]).cpu() for i, c in ladder.numbered_connectors()]
        fit.update(connected, [theirs[i - 1].cpu() for i in ladder.numbers])
    if analyzers is None:
        raise ValueError("there are no images to look at the ladder with")
    profile, alignment, fit = (analyzer.table() for analyzer in analyzers)
    return {
        "ladder": profile,
        "ladder_gradient": gradient_table(
            gradients.grams(), gradients.sides, gradients.count, gradients.shares()
        ),
        "alignment": alignment,
        "connector": fit.assign(
            student_block=[ladder.student_blocks[i - 1] for i in ladder.numbers],
            teacher_block=[ladder.teacher_blocks[i - 1] for i in ladder.numbers],
            r2_fit=[float("nan")] * len(fit) if r2_fit is None else list(r2_fit),
        ),
    }


def _analyzers(
    ladder: Ladder,
    sides: Sequence[str],
    temperature: float | int,
    taught: Tensor,
    ours: Sequence[Tensor],
    theirs: Sequence[Tensor],
) -> tuple[LadderProfile, FeatureAlignment, ConnectorFit]:
    widths = [
        {name: width(x) for name, x in zip(names, features, strict=True)}
        for names, features in ((ladder.student_blocks, ours), (ladder.teacher_blocks, theirs))
    ]
    stones = {f"stone_{i}": width(theirs[i - 1]) for i in ladder.numbers}
    return (
        LadderProfile(sides, taught.shape[1], temperature=temperature),
        FeatureAlignment(*widths),
        ConnectorFit(stones),
    )


def width(features: Tensor) -> int:
    """Channels of maps (n, d, h, w), tokens (n, p, d) or vectors (n, d)."""
    return features.shape[1] if features.dim() == 4 else features.shape[-1]
