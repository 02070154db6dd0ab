"""Which regions the runs of an experiment keep, and how large they will be."""

from typing import TYPE_CHECKING

from kdanalysis.capture import region_bytes
from kdanalysis.losses import Loss
from kdanalysis.training.settings import Settings

if TYPE_CHECKING:
    from kdanalysis.training.experiment import Experiment


def kept_scales(loss: Loss, settings: Settings) -> tuple[int, ...]:
    """Return the scales of the regions to keep: the loss's, else those set; () to keep none."""
    return () if settings.record_regions is None else loss.scales or settings.region_scales


def announce_regions(experiment: "Experiment") -> list[str]:
    """Say for every loss how many bytes the regions of its run will take; [] if none are kept."""
    settings, data = experiment.settings, experiment.data
    if settings.record_regions is None:
        return []
    full, rest = divmod(len(data.train), settings.batch_size)
    steps = settings.epochs * (full + (rest > 1))
    captured = -(-steps // settings.record_every)
    limits = (settings.record_regions, settings.record_rows, settings.batch_size, len(data.train))
    rows = min(limit for limit in limits if limit is not None)
    lines = []
    for name, loss in experiment.named_losses().items():
        scales = kept_scales(loss, settings)
        size = region_bytes(captured * rows, len(data.classes), scales)
        lines.append(
            f"regions of {name}: about {written(size)} for scales {scales}, {rows} samples of "
            f"each of {captured:,} captured steps"
        )
    return lines


def written(size: int) -> str:
    """Write a number of bytes in the unit that fits it: 12 kB, 3.4 MB."""
    return f"{size / 1e3:.0f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"
