"""Forward hooks that keep the logits which student and teacher last gave."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from kdanalysis.capture.passes import Pass
from kdanalysis.capture.sent import SentGradient
from kdanalysis.capture.side import RegionTap, Side
from kdanalysis.core.warn import warn
from kdanalysis.losses import Loss
from kdanalysis.networks.hook import Hook, in_backward, logits_of, rivals_of
from kdanalysis.networks.mode import Before, warn_unsettled
from kdanalysis.networks.names import submodule, unwrapped
from kdanalysis.networks.teachers import Teachers


class Tap:
    """Holds the logits of the last forward pass of a model, or of a layer inside it.

    A pass that builds a graph is the training pass: one in validation does not take its place,
    and two of them in one step are an error, because only one of them can be recorded. So is a
    teacher that ran with a graph and then without: it may be left over from the step before.

    Args:
        side: the model and the layer on which the hook sits.
        name: "student" or "teacher".
        copies: asked at every forward pass whether to keep a copy as well, made before anything
            later can overwrite the logits in place.
        regions: a tap put on the model before, whose feature maps go with the logits.
        student: of a teacher's tap, whose modules it may share.
    """

    def __init__(
        self,
        side: Side,
        name: str,
        copies: Callable[[], bool],
        regions: RegionTap | None = None,
        student: nn.Module | None = None,
    ) -> None:
        self._name, self._copies, self._regions = name, copies, regions
        self._last: Pass | None = None
        self._graphs, self._later = 0, False
        self.trained = self._seen = False
        self.net, self._student, self._before = side.net, student, None
        self._looks = name == "teacher"  # until it was warned about
        self.module = submodule(side.net, side.layer, name)
        self._handles = [self.module.register_forward_hook(Hook(self._keep))]
        if self._looks:
            self._handles.append(side.net.register_forward_pre_hook(Hook(self._look)))

    def take(self) -> Pass:
        """Return what the last forward pass gave, and forget it.

        Raises:
            RuntimeError: there was no forward pass since the last call, two that train, or of a
                teacher one with a graph before one without.
        """
        last, graphs, later = self._last, self._graphs, self._later
        self.forget()
        if last is None:
            mixed = isinstance(unwrapped(self.net), Teachers)
            whole = "call the kd.Teachers itself, not the models in it; " if mixed else ""
            raise RuntimeError(
                f"no forward pass of the {self._name} was seen since the last step: run it before "
                f"every call of the recorder, as model(x), since model.forward(x) runs no hooks; "
                f"{whole}where torch.compile has run it before, pass the compiled model, or call "
                f"torch.compiler.reset() ahead of attaching the recorder"
            )
        if graphs > 1:
            raise RuntimeError(
                f"the {self._name} ran {graphs} training passes in one step: call the recorder "
                f"once for each, recorder.end_step() after one whose batch is left out, or give it "
                f"the logits to record with {self._name}=..."
            )
        if later:
            raise RuntimeError(
                f"the {self._name} ran with gradients, and then without them, since the last step: "
                f"which of the two passes is of this batch cannot be told; run it under "
                f"torch.no_grad() throughout, call recorder.end_step() after passes that are not "
                f"of a step, or give it the logits to record with {self._name}=..."
            )
        return last

    def forget(self) -> None:
        """Let go what the forward passes gave."""
        self._last, self._graphs, self._later = None, 0, False

    def remove(self) -> None:
        """Take the hook off and let the logits go; a second time is harmless."""
        for handle in self._handles:
            handle.remove()
        self.forget()

    def _look(self, module: nn.Module, arguments: tuple) -> None:
        """Look at a teacher before a forward pass that is captured."""
        self._before = None
        if self._looks and not in_backward() and self._copies():
            self._before = Before.of(module)

    def _keep(self, module: nn.Module, arguments: tuple, output: Any) -> None:
        if in_backward():
            return
        features = None if self._regions is None else self._regions.take()
        logits = logits_of(output, self._name)
        if not self._seen:
            warn_of_rivals(self._name, logits, rivals_of(output, logits))
        self._seen = True
        if logits.requires_grad:
            self._graphs, self.trained = self._graphs + 1, True
        elif self._graphs:
            alike = self._last.logits.shape == logits.shape
            self._later |= alike and self._name == "teacher"
            return
        copy = logits.detach().clone() if self._copies() else None
        version = None if logits.is_inference() else logits._version
        self._last = Pass(logits, copy, features, version=version)
        if copy is not None and self._looks:
            self._looks = not warn_unsettled(self.net, self._before, self._student)


def warn_of_rivals(side: str, logits: Tensor, rivals: list[str]) -> None:
    """Warn where a model's output holds more than one tensor that may be its logits."""
    if rivals:
        others = ", ".join(rivals[:3]) + (", ..." if len(rivals) > 3 else "")
        warn(
            f"the {side} gives {len(rivals) + 1} outputs of logits' shape: entry 0 "
            f"{tuple(logits.shape)} is taken for its logits, beside {others}; where another one "
            f"is meant, name the layer that gives it, kd.Side(model, layer=...), or give the "
            f"logits in every call of the recorder"
        )


class Taps:
    """The taps of a recorder: one on each side that it was given.

    Args:
        copies: as for ``Tap``.
        loss: says whether feature maps are needed beside the logits, or the logits of stones.
        regional: feature maps are needed, whatever the loss.
    """

    def __init__(self, copies: Callable[[], bool], loss: Loss | None, regional: bool) -> None:
        self.copies = copies
        self._regional = regional or getattr(loss, "scales", None) is not None
        self._stacked = getattr(loss, "stacked", None) is not None
        self._taps: dict[str, Tap] = {}
        self._others: list[Any] = []
        self.sent: SentGradient | None = None  # of the captured step that waits
        self._given = False  # a training pass of the student's, or told of one

    def attach(self, name: str, side: Side) -> None:
        """Put a tap on a side with a layer to watch; after an error none is left on either.

        Raises:
            ValueError: no such layer, or a map is named where none is needed.
        """
        try:
            if side.regional and not self._regional:
                raise ValueError(
                    f"the {name}'s map, head or grid is given, but only regions, recorded or "
                    f"distilled as by SDD, read it"
                )
            if side.layer is None:
                return
            regions = None
            if self._regional:
                regions = RegionTap(side, name)
                self.hold(regions)
            student = self._taps["student"].net if "student" in self._taps else None
            self._taps[name] = Tap(side, name, self.copies, regions, student)
            self._refuse_one_place()
        except BaseException:
            self.remove()
            raise

    def hold(self, other: Any) -> None:
        """Take the hooks of something else off together with the taps, by its ``remove``."""
        self._others.append(other)

    @property
    def trained(self) -> bool:
        """Whether a training pass of the student was seen, given by hand or told of."""
        return self._given or ("student" in self._taps and self._taps["student"].trained)

    def tell(self) -> None:
        """Take note of a training pass that no hook saw."""
        self._given = True

    def take(self, name: str, given: Tensor | None) -> Pass:
        """Return what was given, or what the last forward pass gave.

        Raises:
            RuntimeError: no model on this side and no logits given, or as ``Tap.take``.
            ValueError: logits given where region logits are needed, or those of the stones missing.
        """
        stones = self._stacked and name == "student"
        self._given |= name == "student" and getattr(given, "requires_grad", False)
        if given is None and not stones:
            if name not in self._taps:
                raise RuntimeError(f"the recorder has no {name}: pass the model or its logits")
            return self._taps[name].take()
        if name in self._taps:
            self._taps[name].forget()
        if not (stones or self._regional):
            return Pass(given)
        if isinstance(given, Tensor) and given.dim() == 3:
            return Pass(given[..., 0], regions=given)
        if stones:
            raise ValueError(
                "this loss needs the logits of the student and its stones (n, c, 1 + stones): give "
                "what a Ladder returns, student=... and teacher=..."
            )
        shape = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
        raise ValueError(
            f"region logits (n, c, r) are needed here, but the {name}'s are {shape}: make them "
            f"with region_logits"
        )

    def forget(self) -> None:
        """Let go what the forward passes of both sides gave."""
        for tap in self._taps.values():
            tap.forget()

    def remove(self) -> None:
        """Take all hooks off; a second time is harmless."""
        for held in (*self._others, *self._taps.values(), self.sent):
            if held is not None:
                held.remove()

    def _refuse_one_place(self) -> None:
        sites = [tap.module for tap in self._taps.values()]
        if len(sites) == 2 and sites[0] is sites[1]:
            raise ValueError(
                "student and teacher are the same module, whose passes cannot be told apart: name "
                "two layers, or pass one side's logits by hand"
            )
