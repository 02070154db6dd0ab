"""Forward hooks that keep the logits a module last gave."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn

from kdanalysis.capture.features import FeatureMap
from kdanalysis.capture.regions import RegionTap
from kdanalysis.networks.hook import Hook, in_backward, logits_of
from kdanalysis.networks.mode import warn_unsettled
from kdanalysis.networks.site import submodule


class Pass(NamedTuple):
    """What one side gave in a step: of a forward pass, or by hand."""

    logits: Tensor  # (n, c)
    copy: Tensor | None = None  # of the logits, where the step is captured
    features: FeatureMap | None = None  # where regions are needed
    regions: Tensor | None = None  # (n, c, r), or of a student and its stones, given by hand
    version: int | None = None  # of the logits as the model gave them

    @property
    def overwritten(self) -> bool:
        """Whether the logits were changed in place since the model gave them."""
        return self.version is not None and self.logits._version != self.version


class Tap:
    """Holds the logits of the last forward pass of a model, or of a layer inside it.

    A pass that builds a graph is the training pass: one in validation does not take its place,
    and two of them in one step are an error, because only one of them can be recorded.

    Args:
        model: the model; the hook sits on it or on ``layer``.
        layer: dotted name of the submodule that gives the logits, "" for the model itself. A
            wrapper's prefix ``module.`` may be left out.
        side: "student" or "teacher", for messages.
        copies: asked at every forward pass whether to keep a copy as well, made before anything
            later can overwrite the logits in place.
        regions: a tap put on the model before, whose feature maps go with the logits.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str,
        side: str,
        copies: Callable[[], bool],
        regions: RegionTap | None = None,
    ) -> None:
        self.side, self._copies, self._regions = side, copies, regions
        self._last: Pass | None = None
        self._graphs, self.trained = 0, False
        self._teacher = model if side == "teacher" else None  # until it was warned about
        self.module = submodule(model, layer, side)
        self._handle = self.module.register_forward_hook(Hook(self._keep))

    def take(self) -> Pass:
        """Return what the last forward pass gave, and forget it.

        Raises:
            RuntimeError: there was no forward pass since the last call, or two that train.
        """
        last, graphs = self._last, self._graphs
        self.forget()
        if last is None:
            raise RuntimeError(
                f"no forward pass of the {self.side} was seen since the last step: run it before "
                f"every call of the recorder; where torch.compile has run it before, pass the "
                f"compiled model, or call torch.compiler.reset() ahead of attaching the recorder"
            )
        if graphs > 1:
            raise RuntimeError(
                f"the {self.side} ran {graphs} training passes in one step: call the recorder once "
                f"for each, or give it the logits to record with {self.side}=..."
            )
        return last

    def forget(self) -> None:
        """Let go what the forward passes gave."""
        self._last, self._graphs = None, 0

    def remove(self) -> None:
        """Take the hook off and let the logits go; a second time is harmless."""
        self._handle.remove()
        if self._regions is not None:
            self._regions.remove()
        self.forget()

    def _keep(self, module: nn.Module, arguments: tuple, output: Any) -> None:
        if in_backward():
            return
        features = None if self._regions is None else self._regions.take()
        logits = logits_of(output, self.side)
        if logits.requires_grad:
            self._graphs, self.trained = self._graphs + 1, True
        elif self._graphs:
            return
        copy = logits.detach().clone() if self._copies() else None
        version = None if logits.is_inference() else logits._version
        self._last = Pass(logits, copy, features, version=version)
        if copy is not None and self._teacher is not None and warn_unsettled(self._teacher):
            self._teacher = None


class Taps:
    """The taps of a recorder: one on each side whose model it was given.

    Args:
        copies: as for ``Tap``.
        loss: says whether feature maps are needed beside the logits, or the logits of stones.
        regional: feature maps are needed, whatever the loss.
    """

    def __init__(
        self, copies: Callable[[], bool], loss: Any = None, regional: bool = False
    ) -> None:
        self.copies, self._regional = copies, regional or getattr(loss, "scales", None) is not None
        self._stacked = getattr(loss, "stacked", None) is not None
        self._taps: dict[str, Any] = {}

    def attach(
        self,
        model: nn.Module | None,
        layer: str | None,
        side: str,
        map_layer: str = "",
        head: str = "",
        grid: tuple[int, int] | None = None,
    ) -> None:
        """Put a tap on a model with a layer to watch; after an error none is left on either side.

        Raises:
            ValueError: no such layer, or a map is named where none is needed.
        """
        regions = None
        try:
            if (map_layer or head or grid) and not self._regional:
                raise ValueError(
                    f"the {side}'s map, head or grid is given, but only regions, recorded or "
                    f"distilled as by SDD, read it"
                )
            if model is None or layer is None:
                return
            if self._regional:
                names = {"logits_layer": layer, "side": side, "grid": grid}
                regions = RegionTap(model, map_layer, head, **names)
            self._taps[side] = Tap(model, layer, side, self.copies, regions)
            self._refuse_one_place()
        except BaseException:
            if regions is not None:
                regions.remove()
            self.remove()
            raise

    @property
    def trained(self) -> bool:
        """Whether a training pass of the student was seen."""
        return "student" in self._taps and self._taps["student"].trained

    def hold(self, name: str, other: Any) -> None:
        """Take the hooks of something else off together with the taps, by its ``remove``."""
        self._taps[name] = other

    def take(self, side: str, given: Tensor | None) -> Pass:
        """Return what was given, or what the last forward pass gave.

        Raises:
            RuntimeError: no model on this side and no logits given, or as ``Tap.take``.
            ValueError: logits given where region logits are needed, or those of the stones missing.
        """
        if self._stacked and side == "student":
            self._forget(side)
            return self._with_stones(given)
        if given is not None:
            self._forget(side)
            return self._given(side, given)
        if side not in self._taps:
            raise RuntimeError(f"the recorder has no {side}: pass the model or its logits")
        return self._taps[side].take()

    def forget(self) -> None:
        """Let go what the forward passes of both sides gave."""
        for tap in self._taps.values():
            if isinstance(tap, Tap):
                tap.forget()

    def _forget(self, side: str) -> None:
        if side in self._taps:
            self._taps[side].forget()

    def _refuse_one_place(self) -> None:
        sites = [tap.module for tap in self._taps.values() if isinstance(tap, Tap)]
        if len(sites) == 2 and sites[0] is sites[1]:
            raise ValueError(
                "student and teacher are the same module, whose passes cannot be told apart: name "
                "two layers, or pass one side's logits by hand"
            )

    def _given(self, side: str, given: Tensor) -> Pass:
        if not self._regional:
            return Pass(given)
        if not isinstance(given, Tensor) or given.dim() != 3:
            shape = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
            raise ValueError(
                f"region logits (n, c, r) are needed here, but the {side}'s are {shape}: make them "
                f"with region_logits"
            )
        return Pass(given[..., 0], regions=given)

    def _with_stones(self, given: Tensor | None) -> Pass:
        if not isinstance(given, Tensor) or given.dim() != 3:
            raise ValueError(
                "this loss needs the logits of the student and its stones (n, c, 1 + stones): give "
                "what a Ladder returns, student=... and teacher=..."
            )
        return Pass(given[..., 0], regions=given)

    def remove(self) -> None:
        """Take all hooks off; a second time is harmless."""
        for tap in self._taps.values():
            tap.remove()
