"""Some classes of a data set, as a data set of its own."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int

from kdanalysis.data.encoded import Encoded, hold
from kdanalysis.data.images import Images, Pixels
from kdanalysis.data.splits import DataSplits, make_splits
from kdanalysis.data.strata import choose


def select_classes(
    data: DataSplits, classes: int | Sequence[str], seed: int = 0, limit: int | None = None
) -> DataSplits:
    """Keep the first classes, or those named, in the order they are named.

    They are numbered anew from 0, and normalised by their own training pixels.

    Args:
        data: the set.
        classes: how many, or names; what is no name may be a class's number.
        seed: of the choice under a limit.
        limit: the most training images; validation keeps at most a quarter of it. None: all.

    Raises:
        ValueError: fewer than two, more than there are, one that is not there, or one named twice.
    """
    if isinstance(classes, int) and not 2 <= classes <= len(data.classes):
        raise ValueError(
            f"{data.name} has {len(data.classes)} classes: keep 2 to all, not {classes}"
        )
    chosen = list(range(classes)) if isinstance(classes, int) else _numbers(data, classes)
    place = np.full(len(data.classes), -1)
    place[chosen] = range(len(chosen))
    names = [data.classes[number] for number in chosen]
    kept = [np.flatnonzero(place[part.labels] >= 0) for part in (data.train, data.valid)]
    labels = [place[part.labels[k]] for part, k in zip((data.train, data.valid), kept, strict=True)]
    few = choose(*labels, seed, limit)
    parts = [
        (_part(part, k[some]), of_part[some])
        for part, k, of_part, some in zip((data.train, data.valid), kept, labels, few, strict=True)
    ]
    name = f"{data.name}, {len(chosen)} classes"
    return make_splits(name, names, *parts, mirror=data.train.mirror)


def _numbers(data: DataSplits, classes: Sequence[str]) -> list[int]:
    found = []
    for one in classes:
        if one in data.classes:
            found.append(data.classes.index(one))
        elif one.isdecimal() and int(one) < len(data.classes):
            found.append(int(one))
        else:
            raise ValueError(
                f"{data.name} has no class {one!r}: its {len(data.classes)} classes are "
                f"{', '.join(data.classes[:5])}{', ...' if len(data.classes) > 5 else ''}"
            )
    if len(set(found)) < max(2, len(found)):
        raise ValueError(f"need at least two classes, each named once; got {', '.join(classes)}")
    return found


def _part(images: Images, chosen: Int[np.ndarray, " m"]) -> Pixels:
    pixels = images.pixels
    if not isinstance(pixels, Encoded):
        return pixels[torch.from_numpy(chosen)]
    sources, names = ([these[i] for i in chosen] for these in (pixels.sources, pixels.names))
    return hold(Encoded(sources, names, pixels.image_size))
