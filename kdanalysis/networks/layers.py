"""Layers of a model, chosen by name or pattern, and the parameters that learn in each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import combinations
from typing import Any

from torch import Tensor, nn

WRAPPERS = ("module", "_orig_mod")  # the only child of DataParallel, DDP and compiled models


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


def find_layers(model: nn.Module, names: Sequence[Any] | str) -> dict[str, Layer]:
    """Return the chosen layers by their dotted names, in the order they are named.

    A name is that of a module ("layer1", "layer3.0.conv1") or of a parameter ("fc.weight"). In a
    pattern ``*``, ``?`` and ``[...]`` stand for letters between two dots: "layer*" chooses layer1
    and layer2 but not layer1.0, "layer1.*" their blocks; every match is a layer of its own, and
    matches without parameters that learn are left out. The prefixes of DataParallel, DDP and
    compiled models may be given or left out, and are left out of the result.

    Raises:
        ValueError: a name or pattern that chooses nothing (the nearest name is offered), a layer
            in which nothing learns, or two layers that share a parameter: they would not add up.
    """
    names = (names,) if isinstance(names, str) else tuple(names)
    if not names:
        raise ValueError("need at least one layer by its name, got none")
    model = unwrapped(model)
    known = dict(_known(model))
    found = {}
    for name in names:
        found |= _chosen(name, known)
    _refuse_shared(found)
    return found


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside DataParallel, DDP or a compiled model; any other as it is."""
    children = dict(model.named_children())
    inner = next((children[name] for name in WRAPPERS if name in children), None)
    alone = len(children) == 1 and not any(True for _ in model.parameters(recurse=False))
    return unwrapped(inner) if inner is not None and alone else model


def _known(model: nn.Module) -> Iterator[tuple[str, Layer]]:
    for path, module in model.named_modules():
        if path:
            yield path, Layer(module)
        for name, _ in module.named_parameters(recurse=False):
            yield (f"{path}.{name}" if path else name), Layer(module, name)


def _chosen(name: Any, known: dict[str, Layer]) -> dict[str, Layer]:
    if not isinstance(name, str):
        raise ValueError(f"a layer is chosen by its name as text, got {name!r:.80}")
    for prefix in WRAPPERS:
        name = name if name in known else name.removeprefix(f"{prefix}.")
    if name in known:
        if not known[name].learning():
            raise ValueError(f"layer {name!r} has no parameter that learns, so it has no gradient")
        return {name: known[name]}
    matches = {path: layer for path, layer in known.items() if _matches(path, name)}
    learning = {path: layer for path, layer in matches.items() if layer.learning()}
    if matches and not learning:
        raise ValueError(f"no layer that matches {name!r} has a parameter that learns")
    if not learning:
        raise ValueError(_unknown(name, known))
    return learning


def _matches(path: str, pattern: str) -> bool:
    parts, wanted = path.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _unknown(name: str, known: dict[str, Layer]) -> str:
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    top = [path for path in known if "." not in path]
    return f"the student has no layer {name!r}; {hint}it has: {', '.join(top)}, and what is inside"


def _refuse_shared(layers: dict[str, Layer]) -> None:
    held = {path: {id(p): n for n, p in layer.learning().items()} for path, layer in layers.items()}
    for a, b in combinations(held, 2):
        shared = [name for key, name in held[a].items() if key in held[b]]
        if shared:
            raise ValueError(
                f"the layers {a!r} and {b!r} share the parameter {shared[0]!r} of {a!r}: choose "
                f"one of them, because layers must add up"
            )
