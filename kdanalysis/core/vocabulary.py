"""When classes are tokens."""

from pathlib import Path

VOCABULARY = 5000  # beyond so many classes no table has a row for each of them, or for each pair
POSITIONS = 1 << 20  # sample id of a token: that of its row times this, plus its position
ARRAYS = Path("arrays")  # what stands for a path where there is none


def what_cuts(source: object, size: int) -> str:
    """Say what cuts off padding: a call for a path, a slice for arrays and what is named in words.

    Args:
        source: a path, or ``Path("arrays")``.
        size: number of classes to keep.
    """
    if isinstance(source, Path) and source != ARRAYS:
        call = f"kd.load_logits({str(source)!r}, vocabulary={size})"
        return f"{call} in its place, other arguments as before, cuts off padding"
    return f"[:, :{size}] of each side cuts off padding"
