"""Train mode and evaluation mode: what is not fixed in a forward pass, and modes put back."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parameter import is_lazy

from kdanalysis.core.warn import warn

NORMS_OR_DROPS = "normalise by the batch and change their running statistics, or drop at random"


class Before(NamedTuple):
    """What a forward pass that is fixed leaves as it was: random numbers and buffers."""

    generators: tuple[Tensor, ...]
    buffers: dict[str, Tensor]  # where a module is in train mode, else none are changed

    @classmethod
    def of(cls, model: nn.Module) -> "Before":
        """Look at a model before its forward pass; nothing is drawn."""
        return cls(_generators(model), _buffers(model))

    def moved(self, model: nn.Module) -> str | None:
        """Return what the forward pass since then did beside its answer; None if nothing."""
        pairs = zip(self.generators, _generators(model), strict=True)
        if not all(torch.equal(a, b) for a, b in pairs):
            return "draws random numbers, as DropPath, F.dropout or RReLU do"
        now = _buffers(model) if self.buffers else {}
        kept = [n for n in self.buffers if n in now]
        changed = [n for n in kept if not torch.equal(self.buffers[n], now[n])]
        return f"changes its buffer {changed[0]!r}" if changed else None


def unsettled(model: nn.Module) -> list[str]:
    """Return the names of the modules in train mode that normalise by the batch or drop at random.

    The model itself is called by its class. What other modules do shows in a pass: ``Before``.
    """
    return [name for name, module in _training(model) if _moves(module)]


def warn_unsettled(
    model: nn.Module, before: Before | None = None, student: nn.Module | None = None
) -> bool:
    """Warn where what a teacher says of a sample is not fixed; say whether it is so.

    Args:
        model: the teacher, after a forward pass.
        before: what was looked at before the pass; if None only the modules are.
        student: whose modules it may share.
    """
    names, moved = unsettled(model), None if before is None else before.moved(model)
    if not names and moved is None:
        return False
    found = names or [name for name, _ in _training(model)]
    shared = {} if student is None else shared_modules(model, [student])
    both = [name for name in found if name in shared]
    if both:
        advice = (
            f"{both[0]!r} is the student's too, so its mode is that of both: give the teacher a "
            f"copy of its own (copy.deepcopy), or switch the mode around its forward pass"
        )
    elif found:
        advice = "call teacher.eval(), unless it learns as well"
    else:
        advice = "let training=self.training tell F.dropout and its like"
    which = "" if not found else repr(found[0])
    which += f" and {len(found) - 1} more modules" if len(found) > 1 else ""
    if names:
        did = f"is in train mode: {which} {NORMS_OR_DROPS}"
    else:
        mode = f"train mode ({which})" if found else "evaluation mode"
        did = f"is in {mode}: its forward pass {moved}"
    warn(f"the teacher {did}, so what it says of a sample is not fixed; {advice}")
    return True


def shared_modules(model: nn.Module, others: Sequence[nn.Module]) -> dict[str, nn.Module]:
    """Return the modules of a model that others lead to, not by way of it, by their names in it."""
    waiting = [other for other in others if other is not model]
    held = {model, *waiting}
    while waiting:
        children = [*waiting.pop().children()]
        waiting += [child for child in children if child not in held]
        held.update(children)
    inside = (pair for pair in model.named_modules() if pair[1] is not model)
    return {name: module for name, module in inside if module in held}


def settle(model: nn.Module, others: Sequence[nn.Module]) -> None:
    """Put a model into evaluation mode, but for the modules that others lead to, not through it."""
    kept = [(module, module.training) for module in shared_modules(model, others).values()]
    model.eval()
    for module, training in kept:
        module.training = training


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


def _generators(model: nn.Module) -> tuple[Tensor, ...]:
    """States of the processor's generator and of those on the model's devices."""
    states = [torch.get_rng_state()]
    if torch.cuda.is_initialized():
        devices = {p.device.index for p in model.parameters() if p.device.type == "cuda"}
        states += [torch.cuda.get_rng_state(device) for device in sorted(devices)]
    return tuple(states)


def _buffers(model: nn.Module) -> dict[str, Tensor]:
    if not _trains(model):
        return {}
    there = (pair for pair in model.named_buffers() if not is_lazy(pair[1]))
    return {n: b.nan_to_num() for n, b in there if b.is_floating_point()}


def _trains(model: nn.Module) -> bool:
    """Whether any module is in train mode; ``modules()`` makes names too, and takes far longer."""
    waiting = [model]
    seen = {None, model}  # None is a child that was left out
    for module in waiting:
        if module.training:
            return True
        inside = [child for child in module._modules.values() if child not in seen]
        waiting += inside
        seen.update(inside)
    return False


def _training(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Modules in train mode, inner ones first: what a container does, they do."""
    if not _trains(model):
        return []
    named = [(name or type(m).__name__, m) for name, m in model.named_modules() if m.training]
    return sorted(named, key=lambda one: any(True for _ in one[1].children()))


def _moves(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) or (isinstance(module, _DropoutNd) and module.p > 0)
