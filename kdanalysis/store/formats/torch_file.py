"""PyTorch files: tensors mapped into memory, loaded with ``weights_only=True`` and nothing else."""

import warnings
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from kdanalysis.core.wording import counted, printable
from kdanalysis.store.formats.table import CLASSES, UNNAMED, ArrayInfo, Sliced, texts
from kdanalysis.store.reading import cause, listed

_LARGEST_PICKLE = 64 << 20
MAPPED = 2**28  # bytes of rows from one map, where lists take torch a microsecond a number to load


class TorchFile(Sliced):
    """A tensor, or a dictionary of which tensors and lists of numbers are read, a number a row.

    ``classes`` are the names of the classes in it.

    Raises:
        ValueError: where the file would run code, is damaged, or is in the format from before
            PyTorch 1.6, which cannot be mapped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        check_archive(path, path)
        self._tensors, self._lists, self.unread, self.classes = _tensors(path)
        self.keys = *self._tensors, *self._lists
        self._copied = 0  # bytes out of the map

    def info(self, key: str) -> ArrayInfo:
        """Shape and dtype; a tensor that repeats one value beyond the file's size is refused."""
        import torch

        if key in self._lists:
            return ArrayInfo(self._lists[key].shape, str(self._lists[key].dtype))
        tensor, size = self._tensors[key], self.path.stat().st_size
        if tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise ValueError(f"{self.path} ({key}) is not a dense tensor on the CPU")
        claimed = tensor.numel() * tensor.element_size()
        if claimed > size:
            raise ValueError(
                f"{self.path} ({key}) claims {claimed} bytes for shape {tuple(tensor.shape)} in a "
                f"file of {size}: save it with .contiguous(), or it is forged"
            )
        return ArrayInfo(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))

    def rows(self, key: str, start: int, stop: int) -> np.ndarray:
        """Copy rows out of a map, which goes soon: the pages of one that stays add up.

        bfloat16 comes as float32.
        """
        import torch

        if key in self._lists:
            return self._lists[key][start:stop].copy()
        if self._copied >= (MAPPED if self._lists or self.unread else 1):
            self._tensors, self._copied = _by_name(load_content(self.path, self.path)), 0
        rows = self._tensors[key].detach()[start:stop].resolve_conj().contiguous()
        self._copied += rows.nbytes
        return rows.float().numpy() if rows.dtype == torch.bfloat16 else rows.numpy().copy()


def check_archive(source: Path | BytesIO, path: Path | str) -> None:
    """Refuse what ``torch.save`` does not write; arguments as for :func:`load_content`.

    Raises:
        ValueError: such a file.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ValueError(
            f"{path} is not a file of torch.save since PyTorch 1.6: {cause(error)}; load it where "
            "you trust it and save it again"
        ) from error
    pickled = sum(m.file_size for m in members if m.filename.endswith(".pkl"))
    packed = any(m.compress_type != zipfile.ZIP_STORED for m in members)
    if packed or pickled > _LARGEST_PICKLE:
        raise ValueError(f"{path} is packed or describes too much: torch.save does not write that")


def _tensors(
    path: Path,
) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, str], list[str] | None]:
    """Return tensors and lists of numbers by name, what else there is, and the classes' names."""
    import torch

    content = load_content(path, path)
    alone = UNNAMED if isinstance(content, torch.Tensor) else "its items"
    named = content if isinstance(content, dict) else {alone: content}
    tensors = _by_name(content)
    others = {str(key): v for key, v in named.items() if str(key) not in tensors}
    joins = {key: how for key, v in others.items() if (how := _joining(v))}
    unnamed = named is not content and not tensors
    if unnamed or (joins and all(one.dim() < 2 for one in tensors.values())):
        held = f"a {type(content).__name__}" if unnamed else f"lists of tensors as {listed(joins)}"
        if isinstance(content, list | tuple):
            held += f" of {counted(len(content), 'item')}"
        by = {how: [key for key in joins if joins[key] == how] for how in joins.values()}
        advice = "; ".join(f"{how} joins {listed(keys)}" for how, keys in by.items())
        raise ValueError(
            f"{path} holds {held}, need a tensor, or a dict of tensors, as "
            "{'teacher_logits': logits, 'target': labels}" + f": {advice}" * bool(advice)
        )
    rows = {len(one) for one in tensors.values() if one.dim() > 1}
    arrays = {key: _numbers(v) for key, v in others.items()}
    lists = {k: v for k, v in arrays.items() if v is not None and (not rows or len(v) in rows)}
    unread = {key: f"{_kind(v)}, no tensor" for key, v in others.items() if key not in lists}
    return tensors, lists, unread, texts(named.get(CLASSES))


def _by_name(content: Any) -> dict[str, Any]:
    """Return the tensors of a file's content by their names."""
    import torch

    named = content if isinstance(content, dict) else {UNNAMED: content}
    return {str(key): v for key, v in named.items() if isinstance(v, torch.Tensor)}


def _numbers(value: Any) -> np.ndarray | None:
    """Return what a list of numbers, or of rows of them, holds; None of anything else."""
    if not isinstance(value, list | tuple) or _joining(value):
        return None
    try:
        found = np.asarray(value)
    except (ValueError, TypeError, RuntimeError):  # rows of different lengths, tensors
        return None
    return found if found.dtype.kind in "iuf" and found.size else None


def _kind(value: Any) -> str:
    name = type(value).__name__
    if not isinstance(value, list | tuple):
        return f"a {name}"
    rows = {len(one) for one in value if isinstance(one, list | tuple)}
    return f"a ragged {name}" if len(rows) > 1 else f"a {name} of {len(value)}"


def _joining(value: Any) -> str:
    """Return what makes one tensor of a list of batches, or of rows; "" where it is no such."""
    import torch

    if not (isinstance(value, list | tuple) and all(isinstance(v, torch.Tensor) for v in value)):
        return ""
    if len({(one.dim(), *one.shape[1:]) for one in value}) != 1:
        return ""
    rows = value[0].dim() == 0 or (value[0].dim() == 1 and value[0].is_floating_point())
    return "torch.stack" if rows and len({one.shape for one in value}) == 1 else "torch.cat"


def load_content(source: Path | BytesIO, path: Path | str) -> Any:
    """Load tensors, and what holds them, from a file, mapped, or from bytes.

    Args:
        source: the file or the bytes; see :func:`check_archive`.
        path: what errors call it.

    Raises:
        ValueError: it would run code, or is damaged.
    """
    import torch

    mapped = isinstance(source, Path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of TorchScript, then refuses it
            return torch.load(source, map_location="cpu", mmap=mapped, weights_only=True)
    except Exception as error:
        first, found, rest = str(error).partition("WeightsUnpickler error: ")
        reason = (rest if found else first).strip().split("\n")[0]
        reason = printable(reason.partition(" was not an allowed")[0])  # without torch's advice
        plain = ", arrays by torch.from_numpy, and names of classes as [str(n) for n in names]"
        raise ValueError(
            f"{path} holds more than tensors or is damaged, and is not opened, because a pickle "
            f"can run code: save a dict of tensors{plain * ('GLOBAL numpy' in reason)} "
            f"({reason:.200})"
        ) from error
