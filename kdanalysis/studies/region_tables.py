"""The tables of region logits: which analyzer, over which loss, belongs to which name.

The loss of a region is the base of the SDD that a run was trained with, else plain KD at the run's
temperature, so that runs that do not distil regions show what SDD would have done to them.
"""

from collections.abc import Sequence

from kdanalysis.analyzers.by_region import Regional
from kdanalysis.analyzers.regions.ambiguity import RegionAmbiguity
from kdanalysis.analyzers.regions.anatomy import RegionAnatomy
from kdanalysis.analyzers.regions.cancellation import RegionCancellation
from kdanalysis.analyzers.regions.uptake import RegionUptake
from kdanalysis.losses import KD, SDD, Loss, Sum
from kdanalysis.store.info import RunInfo
from kdanalysis.studies.tables import REGION_TABLES, trained_loss, trained_with

OF_CELLS = ("ambiguity", "cancellation")  # need more than the whole image


def region_tables(scales: Sequence[int]) -> tuple[str, ...]:
    """Return the names of the tables that regions of these scales have."""
    return tuple(name for name in REGION_TABLES if len(scales) > 1 or name not in OF_CELLS)


def region_analyzer(
    name: str, loss: Loss, num_classes: int, scales: Sequence[int], epochs: Sequence[int] = (0,)
) -> Regional:
    """Make the analyzer of one of ``REGION_TABLES``.

    Args:
        name: of the table.
        loss: of one region.
        num_classes: of the logits.
        scales: of the regions.
        epochs: every epoch of the regions, for the tables by epoch.

    Raises:
        ValueError: the table needs cells, and there is only the whole image.
    """
    match name:
        case "anatomy":
            return RegionAnatomy(loss, num_classes, scales, epochs)
        case "ambiguity":
            return RegionAmbiguity(num_classes, scales)
        case "cancellation":
            return RegionCancellation(loss, num_classes, scales)
        case _:
            return RegionUptake(num_classes, scales, epochs)


def loss_of_region(info: RunInfo) -> Loss:
    """Return the base of a run's SDD; KD at the run's temperature where it has none."""
    base = _base(trained_loss(info))
    return KD(trained_with(info)[0]) if base is None else base


def _base(loss: Loss | None) -> Loss | None:
    if isinstance(loss, SDD):
        return loss.base
    inner = loss.losses if isinstance(loss, Sum) else ()
    return next((base for one in inner if (base := _base(one)) is not None), None)
