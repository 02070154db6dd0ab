"""Image data by name or path."""

from collections.abc import Callable, Sequence
from pathlib import Path

from kdanalysis.data.cifar import find_layout, load_cifar
from kdanalysis.data.digits import load_digits
from kdanalysis.data.folder import load_folder
from kdanalysis.data.glyphs import load_glyphs
from kdanalysis.data.parquet import load_parquet
from kdanalysis.data.select import select_classes
from kdanalysis.data.splits import DataSplits

BUILT_IN: dict[str, Callable[..., DataSplits]] = {"glyphs": load_glyphs, "digits": load_digits}


def load_data(
    spec: str | Path,
    *,
    image_size: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    classes: int | Sequence[str] | None = None,
) -> DataSplits:
    """Load "glyphs", "digits", or the images at a path.

    A path leads to a folder of class folders, to a Parquet file or a folder of them, or to the
    CIFAR-10 or CIFAR-100 Python batches.

    Args:
        spec: a built-in name, or a path.
        image_size: side of the square images in pixels, at least 8; None keeps the set's own
            (glyphs 32, digits 16).
        seed: of what is drawn: glyphs, a split where the set has none, the choice under a limit.
        limit: the most training images; validation then has at most a quarter of it. None: all.
        classes: how many of the classes, or which, see ``select_classes``. None: all.

    Raises:
        ValueError: the name or path is unknown, an argument is out of range, or the data is not
            what its layout promises; the message says which.
    """
    if image_size is not None and image_size < 8:
        raise ValueError(f"the image size must be at least 8 pixels, got {image_size}")
    if seed < 0:
        raise ValueError(f"the seed must not be negative, got {seed}")
    if classes is not None:
        whole = load_data(spec, image_size=image_size, seed=seed)
        return select_classes(whole, classes, seed, limit)
    if spec in BUILT_IN:
        return BUILT_IN[spec](image_size, seed, limit)
    path = Path(spec)
    return _loader(path)(path, image_size, seed, limit)


def _loader(path: Path) -> Callable[..., DataSplits]:
    if path.is_dir():
        if find_layout(path):
            return load_cifar
        return load_parquet if any(path.glob("*.parquet")) else load_folder
    if path.is_file() and path.suffix == ".parquet":
        return load_parquet
    raise ValueError(
        f"there is no data named {str(path)!r}: known are {' and '.join(BUILT_IN)}, and the path "
        "of a folder of class folders, of Parquet image tables or of CIFAR Python batches"
    )
