"""compare: losses on the same logits, or students with each other."""

from collections.abc import Iterable, Mapping
from os.path import lexists
from pathlib import Path
from typing import Any

import torch

from kdanalysis.core.arguments import typed
from kdanalysis.losses import Loss, parse_losses
from kdanalysis.pages.compare_losses import MOST_STEPS, losses_study
from kdanalysis.pages.compare_runs import runs_study
from kdanalysis.pages.study import Study
from kdanalysis.studies.compute import Watch, unwatched
from kdanalysis.studies.opening import BY_NAME, Logits, open_sources
from kdanalysis.studies.source import MOST, Source


@typed(advice={"sources": BY_NAME})
def compare(
    sources: str | Path | Logits | Mapping[str, Any] | Iterable[str | Path | Logits],
    losses: str | Iterable[str | Loss] | Mapping[str, Loss] | None = None,
    match_norm: bool = False,
    temperature: float | None = None,
    device: torch.device | str = "cpu",
    watch: Watch = unwatched,
) -> Study:
    """Compare the gradients of losses on the same logits, or runs and students with each other.

    With losses: cosines of their gradients in the student's logits and how far each steps, term by
    term; the first one is what the others are held against. Without: every table of each source,
    in one, over the steps.

    Args:
        sources: a file of logits, a run folder or arrays, or several of them, by name or not; what
            ``load_logits`` returned will do for a file. Runs recorded with ``TopK`` have the tables
            that their classes give, at T and k that all of them kept; the facts say which are left
            out.
        losses: at least two, as ``kd,dkd,gdkd:k=5``, as made already, or by labels of your own.
        match_norm: show the terms with the factors that make every loss step as far as the first.
        temperature: of every loss that names none of its own, or of the losses that runs are looked
            at with.
        device: where to compute.
        watch: wraps the batches, for a progress bar.

    Raises:
        FileNotFoundError: there is nothing at a path.
        ValueError: there is nothing to compare, a source does not serve a loss, or a temperature
            was not kept.
    """
    opened = open_all(sources, losses)
    if losses is None:
        first = next(iter(opened.values()))
        if match_norm:
            raise ValueError("matching norms is for losses: name some")
        if len(opened) < 2:
            raise ValueError(
                f"{first.path} alone has nothing to be compared with: name losses to compare on "
                f"it, or another run or file"
            )
        return runs_study(opened, temperature, device, watch)
    if isinstance(losses, str) and lexists(losses):
        raise ValueError(f"{losses} is a file or folder: put all that is compared into one list")
    if not isinstance(losses, Mapping):
        losses = parse_losses(losses, temperature)
    if len(losses) < 2:
        raise ValueError(
            f"{next(iter(losses), 'nothing')} alone cannot be compared: give at least two losses, "
            f"such as kd,dkd,gdkd"
        )
    return losses_study(opened, losses, match_norm, device, watch)


def open_all(
    sources: Any,
    losses: object = None,
    keys: Mapping[str, str] | None = None,
    vocabulary: int | None = None,
) -> dict[str, Source]:
    """Open what is to be compared, by name; errors as for :func:`compare`."""
    if isinstance(sources, (str, Path, Logits)):
        sources = [sources]
    if isinstance(sources, Mapping) and "teacher_logits" in sources:
        sources = {"arrays": sources}
    if not (sources := sources if isinstance(sources, Mapping) else list(sources)):
        raise ValueError("nothing to compare: give a file of logits, a run folder or arrays")
    most = MOST["samples"] if losses is None else MOST_STEPS
    return open_sources(sources, most, keys, vocabulary)
