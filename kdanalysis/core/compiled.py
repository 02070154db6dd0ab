"""Whether compiled loops serve: to load them takes longer than they save on few numbers."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _get_current_dispatch_mode

WORTH = 2**20  # logits of a side, to be looked at a few dozen times

_expected = ContextVar("expected", default=inf)


@contextmanager
def expecting(logits: int) -> Iterator[None]:
    """Say how many logits there are altogether: few are looked at as whole arrays."""
    token = _expected.set(logits)
    try:
        yield
    finally:
        _expected.reset(token)


def loops_serve(logits: Tensor, looks: int = 1) -> bool:
    """Whether loops are for this device, and there are enough logits to load them for.

    Args:
        logits: some of them.
        looks: how many times as much work there is to do on each as to split it once.
    """
    if is_seen_through(logits):
        return False
    return logits.device.type == "cpu" and looks * _expected.get() >= WORTH


def is_seen_through(logits: Tensor) -> bool:
    """Whether operations on whole arrays are followed, which no loop of ours would show.

    As by torch.compile, tracers and modes that take every operation, by the transforms of
    torch.func, and by derivatives in forward mode.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return True
    if _get_current_dispatch_mode() is not None or is_functorch_wrapped_tensor(logits):
        return True
    return forward_ad.unpack_dual(logits).tangent is not None
