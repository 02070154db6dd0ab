"""Where a hook can sit: modules by name behind wrappers, and those in which no hook would fire."""

import sys

from torch import nn

WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}


def submodule(model: nn.Module, layer: str, side: str) -> nn.Module:
    """Find a submodule by its dotted name; the prefixes of wrappers may be left out.

    Wrappers are DataParallel, DDP, FSDP, checkpointing and compiled models.

    Raises:
        ValueError: there is none (those that the model has are listed), or as ``check_inside``.
    """
    if not layer:
        return model
    check_inside(model, side)
    named = dict(model.named_modules())
    if layer in named:
        return named[layer]
    for path, module in named.items():
        if path and _bare(path) == _bare(layer):
            return module
    raise ValueError(
        f"the {side} has no layer {layer!r}; it has: "
        + ", ".join(dict.fromkeys(filter(None, map(_top, named))))
    )


def check_inside(model: nn.Module, side: str) -> None:
    """Raise a ValueError where hooks inside the model would not see whole batches.

    Code that torch.compile has made is used again without a look at the hooks inside a model, also
    for another model of the same class; DataParallel shows each device a part of the batch. A hook
    on the model itself always fires, and so it does inside a model that is compiled later.
    """
    modules = list(model.modules())
    compiled = any(hasattr(m, "_orig_mod") or m._compiled_call_impl is not None for m in modules)
    if compiled and _has_compiled():
        raise ValueError(
            f"the {side} is compiled, and compiled code has run before in this process: hooks on "
            f"layers inside it would not fire. Attach before the first forward pass, call "
            f"torch.compiler.reset() ahead of it, or name no layer inside the model"
        )
    if any(isinstance(m, nn.DataParallel) and len(m.device_ids) > 1 for m in modules):
        raise ValueError(
            f"the {side} is in DataParallel on several devices: a layer inside it sees a part of "
            f"the batch at a time, so name no layer, or use DistributedDataParallel"
        )


def _has_compiled() -> bool:
    """Whether torch.compile has made code in this process since it was last reset."""
    frames = sys.modules.get("torch._dynamo.convert_frame")
    return frames is not None and bool(frames.input_codes.seen)


def _bare(path: str) -> str:
    return ".".join(part for part in path.split(".") if part not in WRAPPERS)


def _top(path: str) -> str:
    return _bare(path).split(".")[0]
