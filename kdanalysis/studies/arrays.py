"""Arrays, tensors and frames in memory, seen as a file of columns."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

from kdanalysis.core.logits import check_dense
from kdanalysis.core.vocabulary import ARRAYS
from kdanalysis.core.wording import told
from kdanalysis.store.floats import widen
from kdanalysis.store.formats.table import CLASSES, ArrayInfo, Sliced, texts


class Arrays(Sliced):
    """Arrays or tensors in memory, seen as a file; ``classes`` are names, one each.

    Raises:
        ValueError: the names are no texts, or a frame's rows or classes are in another order than
            another one's.
    """

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self.path = ARRAYS
        self.classes = texts(arrays.get(CLASSES))
        if self.classes is None and arrays.get(CLASSES) is not None:
            raise ValueError(f"classes of arrays are {told(arrays[CLASSES])}, need texts, one each")
        check_order(arrays)
        self._arrays = {n: as_array(n, values) for n, values in arrays.items() if n != CLASSES}
        self.keys = tuple(self._arrays)

    def info(self, key: str) -> ArrayInfo:
        """Shape and dtype of an array."""
        return ArrayInfo(self._arrays[key].shape, self._arrays[key].dtype.name)

    def rows(self, key: str, start: int, stop: int) -> np.ndarray:
        """Return some rows."""
        return self._arrays[key][start:stop]


def as_array(name: str, values: Any) -> np.ndarray:
    """Return what was given as an array; bfloat16 comes as float32, exactly.

    Raises:
        ValueError: a tensor that is not dense, logits that are no floating numbers, rows that
            differ in length, or an array of which a part is masked.
    """
    if np.ma.is_masked(values):
        raise ValueError(f"{name} are masked in part: leave such rows out, or fill them")
    if not hasattr(values, "detach"):
        try:
            return widen(np.asarray(values))
        except ValueError as error:
            ragged = "inhomogeneous" in str(error)
            why = "its rows differ in length" if ragged else error
            raise ValueError(f"{name} of arrays cannot be made an array: {why}") from None
    check_dense(name.replace("_", " "), values, floats=name.endswith("_logits"))
    held = values.detach().cpu()
    return (held.float() if held.dtype == torch.bfloat16 else held).numpy()


def check_order(arrays: Mapping[str, Any]) -> None:
    """Refuse frames that name the same rows, or the same classes, in another order.

    Rows are read by their place; where two indexes do not hold the same names, as after
    ``reset_index``, nothing is known against that.

    Raises:
        ValueError: two have the same index, or columns, in another order.
    """
    frames = {n: one for n, one in arrays.items() if isinstance(one, pd.DataFrame | pd.Series)}
    for what, axis in (("rows", "index"), ("classes", "columns")):
        named = [(n, getattr(one, axis)) for n, one in frames.items() if hasattr(one, axis)]
        for name, names in named[1:]:
            first, known = named[0]
            if not names.equals(known) and Counter(names) == Counter(known):
                raise ValueError(
                    f"{name} has the {what} of {first} in another order, by its {axis}: they are "
                    f"read by their place, so give {name}.reindex({axis}={first}.{axis}), or both "
                    f"as .to_numpy() where they fit as they are"
                )
