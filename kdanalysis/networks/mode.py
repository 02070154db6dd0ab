"""Train mode and evaluation mode: which modules differ, and a model put into one for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from kdanalysis.core.warn import warn


def unsettled(model: nn.Module) -> list[str]:
    """Return the names of the modules in train mode that normalise by the batch or drop at random.

    The model itself is called by its class.
    """
    names = {module: name for name, module in model.named_modules()}
    training = (module for module in names if module.training)
    moving = [m for m in training if isinstance(m, _BatchNorm) or _drops(m)]
    return [names[module] or type(module).__name__ for module in moving]


def warn_unsettled(model: nn.Module) -> bool:
    """Warn where modules of a teacher are in train mode; say whether there were any."""
    names = unsettled(model)
    if names:
        more = f" and {len(names) - 1} more modules" if len(names) > 1 else ""
        warn(
            f"the teacher is in train mode: {names[0]!r}{more} normalise by the batch and change "
            f"their running statistics, or drop at random, so what it says of a sample is not "
            f"fixed; call teacher.eval(), unless it learns as well"
        )
    return bool(names)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and every module of it back into its own afterwards."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _drops(module: nn.Module) -> bool:
    return isinstance(module, _DropoutNd) and module.p > 0
