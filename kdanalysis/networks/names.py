"""Names in a model: its modules, layers and blocks by their dotted names, behind any wrappers.

Wrappers are DataParallel, DDP, FSDP, checkpointing and compiled models. What they add to a name may
be given or left out.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import combinations
from typing import Any

from torch import Tensor, nn

WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


@dataclass(frozen=True)
class Layer:
    """A module with all its parameters, or a single one of them.

    Args:
        module: the module; of a single parameter the one that holds it.
        parameter: name of the single parameter, "" for all of them.
    """

    module: nn.Module
    parameter: str = ""

    def learning(self) -> dict[str, Tensor]:
        """Return the parameters that require a gradient now, by their name in the module."""
        if self.parameter:
            own = {self.parameter: getattr(self.module, self.parameter)}
        else:
            own = dict(self.module.named_parameters())
        return {name: p for name, p in own.items() if p.requires_grad}


def submodule(model: nn.Module, name: str, side: str, what: str = "layer") -> nn.Module:
    """Find a submodule by its dotted name, the model itself by "".

    A name that the model has as it is given is meant first; of a wrapped module the wrapper is
    found, whose output the model goes on with.

    Args:
        model: the model.
        name: of the submodule.
        side: what the model is called in messages.
        what: what the submodule is called in messages.

    Raises:
        ValueError: there is none (the nearest name and those that the model has are listed), or as
            ``check_inside``.
    """
    if not name:
        return model
    check_inside(model, side)
    exact = dict(model.named_modules())
    if name in exact:
        return exact[name]
    known: dict[str, nn.Module] = {}
    for path, module in _modules(model):
        known.setdefault(path, module)
    found = known.get(_bare(name))
    if found is None or found is model:
        raise ValueError(_unknown(name, known, side, what))
    return found


def find_layers(model: nn.Module, names: Sequence[Any] | str) -> dict[str, Layer]:
    """Return the chosen layers of a student by their dotted names, in the order they are named.

    A name is that of a module ("layer1", "layer3.0.conv1") or of a parameter ("fc.weight"). In a
    pattern ``*``, ``?`` and ``[...]`` stand for letters between two dots: "layer*" chooses layer1
    and layer2 but not layer1.0, "layer1.*" their blocks; every match is a layer of its own, and
    matches without parameters that learn are left out. The result has no wrapper in its names.

    Raises:
        ValueError: a name or pattern that chooses nothing (the nearest name is offered), a layer
            in which nothing learns, or two layers that share a parameter: they would not add up.
    """
    names = (names,) if isinstance(names, str) else tuple(names)
    if not names:
        raise ValueError("need at least one layer by its name, got none")
    known: dict[str, Layer] = {}
    for path, module in _modules(model):
        if path:
            known.setdefault(path, Layer(module))
        for name, _ in module.named_parameters(recurse=False):
            known[f"{path}.{name}" if path else name] = Layer(module, name)
    found: dict[str, Layer] = {}
    for name in names:
        found |= _chosen(name, known)
    _refuse_shared(found)
    return found


def find_blocks(model: nn.Module, names: Sequence[str] | None, side: str) -> dict[str, nn.Module]:
    """Return the blocks of a model by their names as they are given.

    Args:
        model: the model.
        names: of its blocks; those it states in ``block_names`` if None.
        side: what the model is called in messages.

    Raises:
        ValueError: one is named twice or none at all, or as ``submodule``.
    """
    names = getattr(unwrapped(model), "block_names", ()) if names is None else names
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"the {side}'s blocks are a sequence of names, got {names!r:.80}")
    if not names:
        raise ValueError(f"name the {side}'s blocks: it has no block_names of its own")
    found: dict[str, nn.Module] = {}
    for name in names:
        block = submodule(model, name, side, "block")
        if block in found.values():
            raise ValueError(f"the {side}'s block {name!r} is named twice")
        found[name] = block
    return found


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside its wrappers; any other as it is."""
    inner = _wrapped(model)
    return model if inner is None else unwrapped(model.get_submodule(inner))


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


def _modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield every module with its name; what is wrapped comes after its wrapper, by one name."""
    bare, inner = {}, {}
    for path, module in model.named_modules():
        holder, _, name = path.rpartition(".")
        if not path or inner[holder] == name:
            bare[path] = bare.get(holder, "")
        else:
            bare[path] = f"{bare[holder]}.{name}".removeprefix(".")
        inner[path] = _wrapped(module)
        yield bare[path], module


def _wrapped(module: nn.Module) -> str | None:
    """Return the name of the only child of a wrapper; None where the module is none."""
    names = [name for name, _ in module.named_children()]
    alone = len(names) == 1 and not any(True for _ in module.parameters(recurse=False))
    return names[0] if alone and names[0] in WRAPPERS else None


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _chosen(name: Any, known: dict[str, Layer]) -> dict[str, Layer]:
    if not isinstance(name, str):
        raise ValueError(f"a layer is chosen by its name as text, got {name!r:.80}")
    matches: dict[str, Layer] = {}
    for wanted in (name, _bare(name)):
        if wanted in known:
            if not known[wanted].learning():
                raise ValueError(
                    f"layer {wanted!r} has no parameter that learns, so it has no gradient"
                )
            return {wanted: known[wanted]}
        matches |= {path: layer for path, layer in known.items() if _matches(path, wanted)}
        if matches:
            break
    if not matches:
        raise ValueError(_unknown(name, known, "student", "layer"))
    learning = {path: layer for path, layer in matches.items() if layer.learning()}
    if not learning:
        raise ValueError(f"no layer that matches {name!r} has a parameter that learns")
    return learning


def _matches(path: str, pattern: str) -> bool:
    parts, wanted = path.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _unknown(name: str, known: Mapping[str, Any], side: str, what: str) -> str:
    names = [path for path in known if path]
    close = get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    top = ", ".join(path for path in names if "." not in path)
    return f"the {side} has no {what} {name!r}; {hint}it has: {top}, and what is inside"


def _refuse_shared(layers: dict[str, Layer]) -> None:
    held = {path: {id(p): n for n, p in layer.learning().items()} for path, layer in layers.items()}
    for a, b in combinations(held, 2):
        shared = [name for key, name in held[a].items() if key in held[b]]
        if shared:
            raise ValueError(
                f"the layers {a!r} and {b!r} share the parameter {shared[0]!r} of {a!r}: choose "
                f"one of them, because layers must add up"
            )
