"""What is watched on a model: a Side, and the hooks that take its last spatial map and its head."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from kdanalysis.capture.passes import FeatureMap
from kdanalysis.core.arguments import typed
from kdanalysis.core.regions import DROPOUT
from kdanalysis.core.warn import warn
from kdanalysis.core.wording import told
from kdanalysis.losses import Loss
from kdanalysis.losses.kept import leaves
from kdanalysis.networks.hook import Hook, in_backward, logits_of
from kdanalysis.networks.maps import Search, is_spatial, named_layout, tensor_of
from kdanalysis.networks.names import check_inside, submodule, unwrapped
from kdanalysis.networks.teachers import Teachers

ADVICE = (
    ": a hook takes its logits. Several teachers are one as kd.Teachers(first, second); where no "
    "module gives the logits, as of a function, leave it out and give them in every call of the "
    "recorder"
)


@typed(advice={"net": ADVICE})
@dataclass(frozen=True)
class Side:
    """A model, student or teacher, and where on it to look; names as in ``submodule``.

    Args:
        net: the model; for the callback of Lightning also its dotted name in the module.
        layer: name of the submodule that gives its logits; the model itself if ""; None for no
            hook, where you give the logits.
        map: name of the layer that gives its last spatial map or, as a pooling layer, takes it;
            found where not given.
        head: name of the layer that gives the logits from the map's average; likewise.
        grid: (h, w) of its tokens, where they are not the largest square (2x8 tokens would be
            taken for 4x4) with at most one token in front.
    """

    net: nn.Module | str
    layer: str | None = ""
    map: str = ""
    head: str = ""
    grid: tuple[int, int] | None = None

    @property
    def regional(self) -> bool:
        """Whether it says something that only regions read."""
        return bool(self.map or self.head or self.grid)


def as_side(given: Any, name: str) -> Side:
    """Return a Side, or that of a model, which the keyword ``name`` was given.

    Raises:
        ValueError: it is neither, or a list of modules, which is never called.
    """
    net = given.net if isinstance(given, Side) else given
    if not isinstance(net, nn.Module) or isinstance(net, nn.ModuleList | nn.ModuleDict):
        raise ValueError(f"{name} must be a torch Module that is called, got {told(net)}{ADVICE}")
    side = given if isinstance(given, Side) else Side(net)
    if side.layer is not None:
        _check_hooks(side.net, name)
    return side


def as_sides(loss: Loss | None, **given: Any) -> dict[str, Side]:
    """Return the sides that were given, by name; a warning as :func:`warn_of_mixture`.

    Raises:
        ValueError: as :func:`as_side`.
    """
    sides = {name: as_side(one, name) for name, one in given.items() if one is not None}
    warn_of_mixture(sides.get("teacher"), loss)
    return sides


def warn_of_mixture(teacher: Side | None, loss: Loss | None) -> None:
    """Warn where teachers are mixed at another temperature than a loss softens the mixture at."""
    net = None if teacher is None else unwrapped(teacher.net)
    if not isinstance(net, Teachers) or net.of != "probabilities" or loss is None:
        return
    for one in leaves(loss):
        if one.temperature not in (None, net.temperature):
            return warn(
                f"kd.Teachers mixes the teachers' probabilities at T = {net.temperature:g}, and "
                f"{type(one).__name__} softens the mixture at T = {one.temperature:g}, where it is "
                f"not their mean: give Teachers temperature={one.temperature:g}, or of='logits', "
                f"whose mean is the same at every T"
            )


def _check_hooks(net: nn.Module, name: str) -> None:
    """Raise a ValueError where a module takes no hooks, as one of TorchScript."""
    try:
        net.register_forward_hook(Hook(print)).remove()
    except RuntimeError as error:
        raise ValueError(
            f"{name} is a {type(net).__name__}, whose forward pass no hook can watch ({error}): "
            f"call it from a module of your own and pass that one, or leave it out and give the "
            f"logits in every call of the recorder"
        ) from error


@typed
class RegionTap:
    """The regions of a model's last forward pass, for any convolutional network or ViT.

        with RegionTap(model) as tap:
            model(images)
            regions = tap.take().regions((1, 2, 4))  # (n, c, 21)

    What is not named, as in ``Side(model, map="layer4", head="fc")``, is found in the first forward
    pass: the last map whose average over the positions (or class token) is what the head reads.
    Dropout or a norm between the two hides them, unless they are modules in one Sequential with the
    head: name both then, or make the first pass in evaluation mode.

    Args:
        model: the model, or a Side.
        name: what the model is called in messages.

    Raises:
        ValueError: the model has no layer of a given name; in its forward pass, no spatial map or
            no head that reads it was found.
    """

    def __init__(self, model: nn.Module | Side, name: str = "model") -> None:
        side, self._name = as_side(model, name), name
        self._grid = side.grid
        check_inside(side.net, name)
        self._layer = submodule(side.net, side.map, name) if side.map else None
        self._head = submodule(side.net, side.head, name) if side.head else None
        end = submodule(side.net, side.layer or "", name)
        self._layout: str | None = None
        self._checked = False
        self._comes_out: bool | None = None
        self._search: Search | None = None
        self._handles: list[RemovableHandle] = []
        self._values: Tensor | None = None
        self._last: FeatureMap | None = None
        if side.map and side.head:
            self._handles.append(self._layer.register_forward_hook(Hook(self._keep)))
        else:
            self._search = Search(side.net, self._layer, self._head, side.grid)
        self._handles.append(end.register_forward_hook(Hook(self._finish)))

    def take(self) -> FeatureMap:
        """Return map, head and logits of the last forward pass, and forget them.

        Raises:
            RuntimeError: there was no forward pass since the last call.
        """
        last, self._last = self._last, None
        if last is None:
            raise RuntimeError(
                f"no forward pass of the {self._name} was seen since its regions were last taken"
            )
        return last

    def remove(self) -> None:
        """Take all hooks off; a second time is harmless."""
        for handle in self._handles:
            handle.remove()
        if self._search is not None:
            self._search.remove()
        self._values = self._last = None

    def __enter__(self) -> "RegionTap":
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()

    def _keep(self, module: nn.Module, arguments: tuple, output: Any) -> None:
        """Keep the map where it was found; of a named layer the one it gives, or else takes."""
        if in_backward():
            return
        places = {None: (output, arguments), True: (output,), False: (arguments,)}
        seen = [x for x in map(tensor_of, places[self._comes_out]) if x is not None]
        self._values = next(filter(is_spatial, seen), None)
        if self._values is None:
            shapes = " and ".join(str(tuple(x.shape)) for x in seen)
            raise ValueError(
                f"the {self._name}'s layer that was named for its map has none of shape "
                f"(n, d, h, w) or (n, h*w, d): it has {shapes or type(output).__name__}"
            )

    def _finish(self, module: nn.Module, arguments: tuple, output: Any) -> None:
        if in_backward():
            return
        logits, values = logits_of(output, self._name), self._values
        self._values = None
        if self._search is not None:
            values = self._settle(logits)
        if values is None:
            raise ValueError(f"the {self._name} gave logits without running the layer of its map")
        layout = self._layout or named_layout(values, self._head)
        self._last = FeatureMap(values, logits, self._head, layout, self._grid)
        if not self._checked:
            self._check(self._last)
        self._layout, self._checked = layout, True

    def _check(self, first: FeatureMap) -> None:
        """Warn where a linear head on the average of the map does not give the first logits."""
        drops = any(isinstance(m, DROPOUT) and m.training for m in self._head.modules())
        try:
            fits = drops or not first.linear or first.explains().all()
        except ValueError:
            if self._layout is None:
                raise
            return  # it is said where regions are asked for
        if not fits:
            warn(
                f"the {self._name}'s head on the average of its map does not give its logits: if "
                f"the layers are named, others may be meant, unless dropout or another pooling "
                f"lies between them; if not, a hook changes what the head gives, and the regions "
                f"lack that"
            )

    def _settle(self, logits: Float[Tensor, "n c"]) -> Tensor:
        """End the search: one hook stays, where the map is."""
        found = self._search.found(logits)
        self._search.forget()
        if found is None:
            raise ValueError(
                f"no spatial map of the {self._name} was found whose average over the positions, "
                f"or class token, is what the head reads: name the layer that gives the map and "
                f"the head"
            )
        self._search.remove()
        self._search, self._head, self._layout = None, found.head, found.layout
        layer, self._comes_out = found.seen.place()
        self._handles.append(layer.register_forward_hook(Hook(self._keep)))
        return found.seen.values
