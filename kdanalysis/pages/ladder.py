"""The page of a ladder: two networks, the stones between them, and what these would teach."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from kdanalysis.analyzers.stones.alignment import FeatureAlignment
from kdanalysis.analyzers.stones.connector import ConnectorFit
from kdanalysis.analyzers.stones.gradient import gradient_table
from kdanalysis.analyzers.stones.ladder import LadderProfile
from kdanalysis.data import DataSplits
from kdanalysis.losses import Blockwise
from kdanalysis.pages.facts import stated
from kdanalysis.pages.nouns import noun_section
from kdanalysis.pages.page import Page
from kdanalysis.stones import Ladder, fit_connectors
from kdanalysis.stones.gradients import StoneGradients
from kdanalysis.training.checkpoint import load_network

Batch = tuple[Tensor, Tensor]


def fitted_ladder(
    student: Path,
    teacher: Path,
    data: DataSplits,
    batches: Iterable[Batch],
    student_blocks: Sequence[str] | None = None,
    teacher_blocks: Sequence[str] | None = None,
    strength: float | int = 1e-3,
    device: torch.device | str = "cpu",
) -> tuple[Ladder, list[float]]:
    """Return the ladder of two checkpoints with fitted connectors, and the R^2 of their fit.

    Args:
        student: checkpoint.
        teacher: likewise.
        data: for the classes, and for an example.
        batches: images of the fit, on the device, and labels, which do not count.
        student_blocks: as for ``Ladder``.
        teacher_blocks: likewise.
        strength: of the ridge regression.
        device: where to compute.

    Raises:
        FileNotFoundError: a checkpoint is not there.
        ValueError: one is of another kind or of other classes, or as ``fit_connectors``.
    """
    networks = [load_network(path, data.classes).to(device).eval() for path in (student, teacher)]
    blocks = student_blocks, teacher_blocks
    fitted = fit_connectors(*networks, (x for x, _ in batches), *blocks, strength=strength)
    example = next(data.valid.batches(2))[0].to(device)
    return Ladder(*networks, example, *blocks, connectors=fitted.connectors), fitted.r2


def study_ladder(
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
        "ladder_gradient": gradient_table(gradients.grams(), gradients.sides, gradients.count),
        "alignment": alignment,
        "connector": fit.assign(
            student_block=[ladder.student_blocks[i - 1] for i in ladder.numbers],
            teacher_block=[ladder.teacher_blocks[i - 1] for i in ladder.numbers],
            r2_fit=[float("nan")] * len(fit) if r2_fit is None else list(r2_fit),
        ),
    }


def ladder_page(
    title: str, facts: Mapping[str, object], tables: Mapping[str, pd.DataFrame]
) -> Page:
    """Return the page of a ladder's tables."""
    sections = [noun_section(noun, {"": table}) for noun, table in tables.items()]
    return Page(title, stated(facts), sections, dict(tables))


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
