"""Which losses logits cannot serve, said by the name of the loss."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from kdanalysis.losses import Loss
from kdanalysis.studies.opening import where
from kdanalysis.studies.setting import refusals
from kdanalysis.studies.source import Source


def check_losses(source: Source, losses: Mapping[str, Loss]) -> None:
    """Refuse a loss that these logits cannot serve.

    Raises:
        ValueError: the loss works on regions, or needs labels or classes that are not there.
    """
    lost = refusals(losses, source.info) if source.kept else {}
    for name, loss in losses.items():
        if name in lost:
            raise ValueError(f"the loss {name!r} on {where(source)}: {lost[name]}")
        if loss.scales is not None:
            raise ValueError(
                f"the loss {name!r} works on the logits of regions, and {where(source)} holds "
                f"those of whole images: compare its base loss instead"
            )
        if loss.needs_target and not source.has_target:
            raise ValueError(
                f"the loss {name!r} needs labels, and {where(source)} holds none: add target (or "
                f"labels) to it, or compare losses without labels, such as kd, gdkd and gdkd3"
            )


@contextmanager
def naming(losses: Mapping[str, Loss], source: Source) -> Iterator[None]:
    """Name the loss of which an error is that so many classes do not fit it."""
    try:
        yield
    except ValueError as error:
        logits = torch.arange(float(source.info.num_classes)).unsqueeze(0)
        for name, loss in losses.items():
            try:
                loss.gradients(logits, logits.flip(-1), torch.zeros(1, dtype=torch.long))
            except ValueError as why:
                raise ValueError(f"the loss {name!r} on {where(source)}: {why}") from error
        raise
