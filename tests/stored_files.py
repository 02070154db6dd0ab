"""The same arrays as every kind of file that logits are read from."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy
import torch

from kdanalysis.store.info import RunInfo
from kdanalysis.store.writer import PartWriter

N, C = 23, 5


def lists(values):
    return pa.array(list(values)) if values.ndim > 1 else pa.array(values)


def fixed(values):
    flat = pa.array(values.ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1]) if values.ndim > 1 else flat


def save(path, arrays, kind):
    """Write arrays as one kind of file, and return its path."""
    path = path / kind
    if kind == "run":
        ids = np.arange(N)
        with PartWriter(path, 0, RunInfo(C), "float32", rows_per_part=10) as writer:
            for cut in (slice(0, 10), slice(10, 23)):
                columns = arrays | {"step": ids, "epoch": ids, "sample_id": ids}
                writer.write({name: values[cut] for name, values in columns.items()})
        return path
    tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
    fortran = {name: np.asfortranarray(values) for name, values in arrays.items()}
    big = {k: v.astype(v.dtype.newbyteorder(">")) for k, v in arrays.items()}
    strided = {k: v.t().contiguous().t() if v.ndim > 1 else v for k, v in tensors.items()}
    listed, fixed_size = ({k: f(v) for k, v in arrays.items()} for f in (lists, fixed))
    {
        "a.npz": lambda p: np.savez(p, **arrays),
        "packed.npz": lambda p: np.savez_compressed(p, **arrays),
        "fortran.npz": lambda p: np.savez_compressed(p, **fortran),
        "big.npz": lambda p: np.savez(p, **big),
        "a.pt": lambda p: torch.save(tensors, p),
        "a.pth": lambda p: torch.save(strided, p),
        "a.safetensors": lambda p: safetensors.numpy.save_file(arrays, p),
        "lists.parquet": lambda p: pq.write_table(pa.table(listed), p, row_group_size=7),
        "fixed.parquet": lambda p: pq.write_table(pa.table(fixed_size), p, row_group_size=9),
    }[kind](path)
    return path


KINDS = ["run", "a.npz", "packed.npz", "fortran.npz", "big.npz", "a.pt", "a.pth", "a.safetensors"]
KINDS += ["lists.parquet", "fixed.parquet"]
