"""Analyzer: float64 sums over samples that end in one tidy table."""

from collections.abc import Iterable, Sequence
from inspect import Parameter, Signature
from typing import Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kdanalysis.analyzers.frames import flat_columns, grid_columns
from kdanalysis.analyzers.noun import Noun
from kdanalysis.analyzers.setting import Setting
from kdanalysis.analyzers.targets import label_columns, targets_for
from kdanalysis.core.arguments import fitted, typed
from kdanalysis.core.device import as_device
from kdanalysis.core.draws import check_seed
from kdanalysis.core.streams import (
    check_batch,
    check_classes,
    check_temperature,
    check_temperatures,
    finite_rows,
)

Logits = Float[Tensor, "n c"]
Labels = Int[Tensor, " n"]
CHECKS = {
    "num_classes": check_classes,
    "seed": check_seed,
    "temperature": check_temperature,
    "temperatures": check_temperatures,
}
NO_LABEL = -1


class Analyzer(Noun):
    """Streams over batches, merges across batches, ranks and runs, ends in one pandas table.

    Its only states are float64 sums, so that merging is adding: halves give the table of the
    whole, in any order. ``needs`` names the columns that ``update`` takes in this order, ``takes``
    those that may be absent; ``kind`` says of what: "samples", "layers" or "regions". ``made_for``
    names what of a ``Setting`` an analyzer is made with; one that is made otherwise than for what
    a run or file holds has ``of_runs`` False. An analyzer with ``mixed`` gets rows without a label
    (-1) among the others, its ``add`` the ``Targets`` in place of labels and soft targets, and
    needs them where a loss of its ``losses`` does; of any other the batch has labels throughout,
    or none. ``counting`` is one whose sums are whole numbers: larger batches round none of them.

    Rows whose logits hold NaN or inf enter no number: they are counted in ``non_finite``, which
    every table repeats, and left out. They are never set to zero.

    Args:
        configuration: whatever tells this analyzer from another of its class, which it is then
            not merged with.
        settings: the same by name; each becomes an attribute, and classes, temperatures and seeds
            are checked first (``CHECKS``).
    """

    kind: ClassVar[str] = "samples"
    of_runs: ClassVar[bool] = True
    mixed: ClassVar[bool] = False
    counting: ClassVar[bool] = False
    made_for: ClassVar[tuple[str, ...]] = ()
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    num_classes: int | None = None

    def __init__(self, *configuration: object, **settings: Any) -> None:
        checked = {name: CHECKS[name](settings[name]) for name in CHECKS.keys() & settings.keys()}
        settings |= checked
        self.configuration = repr((configuration, settings))
        vars(self).update(settings)
        if self.mixed and "target" in self.takes:
            self.needs = (*self.needs, *label_columns(settings.get("losses", {})))
        self.state_names: tuple[str, ...] = ()
        self.add_sum("non_finite")
        for name, shape in self.shapes().items():
            self.add_sum(name, *shape)

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        own = vars(cls)
        if "__init__" in own:
            typed(cls)
        if "update" in own:
            cls.update = torch.no_grad()(own["update"])
        if "for_setting" in own:
            cls.for_setting = classmethod(typed(own["for_setting"].__func__))

    @classmethod
    @typed
    def for_setting(cls, setting: Setting) -> "Analyzer | None":
        """Return the analyzer for these data; None where they have no such table."""
        return cls(*(getattr(setting, name) for name in cls.made_for)) if cls.of_runs else None

    def update(self, *columns: Any, **more: Any) -> None:
        """Add one batch of the columns of ``needs`` and ``takes``, in their order or by name.

        Gradients are not followed.

        Raises:
            ValueError: as :meth:`keep`, or as the class says.
        """
        needed = dict.fromkeys(set(self.needs) - set(self.takes), Parameter.empty)
        parameters = [
            Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=needed.get(name))
            for name in dict.fromkeys((*self.needs, *self.takes))
        ]
        given = Signature(parameters).bind(*columns, **more)
        for name, column in given.arguments.items():
            hint = Tensor if name in needed else Tensor | None
            fitted(f"{type(self).__name__}: {name}", column, hint)
            given.arguments[name] = None if column is None else column.detach()
        given.apply_defaults()
        self.add(*self.analysed(given.arguments).values())

    def analysed(self, given: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
        """Return the rows that :meth:`keep` keeps of the columns, None for an absent one.

        Raises:
            ValueError: as :meth:`keep`, or one of the ``losses`` lacks its labels.
        """
        sides = [given[name] for name in given if name.startswith(("student_", "teacher_"))]
        target = given.get("target")
        if target is not None and self.mixed:
            target = target.where(target != NO_LABEL, 0)
        kept = self.keep(*reversed(sides), target=target)
        if not kept.all():
            given = {name: None if x is None else x[kept] for name, x in given.items()}
        if self.mixed and "target" in given:
            labels = given["target"], given.pop("soft_target", None)
            losses, samples = getattr(self, "losses", {}), next(iter(given.values()))
            given["target"] = targets_for(losses, *labels, samples)
        return given

    def add(self, *columns: Any) -> None:
        """Add the finite rows of a batch; ``update`` does where a class has none of its own."""
        raise NotImplementedError(f"{type(self).__name__} lacks add, or an update of its own")

    def compute(self) -> dict[str, Tensor]:
        """Return what the table is made from, by name: the measures, then the facts."""
        return self.measures() | self.facts()

    def measures(self) -> dict[str, Tensor]:
        """Return what follows from the sums; the sums themselves if not said otherwise."""
        return {name: state.clone() for name, state in self.states.items()}

    def facts(self) -> dict[str, Tensor]:
        """Return what every table of this kind repeats beside its measures."""
        return {"non_finite": self.non_finite.clone()}

    def table(self) -> pd.DataFrame:
        """One observation a row, one variable a column; units in the column's docstring."""
        raise NotImplementedError(f"{type(self).__name__} lacks table")

    def add_sum(self, name: str, *shape: int) -> None:
        """Add a float64 state of this name, starting at zero."""
        setattr(self, name, torch.zeros(shape, dtype=torch.float64))
        self.state_names = (*self.state_names, name)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the sums' shapes by name, of those that follow from the settings."""
        return {}

    @property
    def states(self) -> dict[str, Tensor]:
        """The sums by name: all that the table is made from."""
        return {name: getattr(self, name) for name in self.state_names}

    def accumulate(self, **sums: Tensor) -> None:
        """Add one batch's sums to the states of the same names."""
        for name, value in sums.items():
            state = getattr(self, name)
            state += value.to(state)

    @typed
    def to(self, device: torch.device | str | int) -> "Analyzer":
        """Move the sums to a device, and return the analyzer.

        Raises:
            ValueError: torch finds no such device.
        """
        device = as_device(device)
        for name, state in self.states.items():
            setattr(self, name, state.to(device))
        return self

    @typed
    def merge_state(self, other: "Analyzer") -> None:
        """Add another analyzer's sums to this one's.

        Raises:
            ValueError: the other is of another class, or was configured otherwise.
        """
        if type(other) is not type(self) or other.configuration != self.configuration:
            raise ValueError(
                f"cannot merge {type(other).__name__} into {type(self).__name__}: "
                f"class and arguments must be the same on both sides"
            )
        self.accumulate(**other.states)

    def keep(
        self,
        teacher: Logits,
        student: Logits | None = None,
        target: Labels | None = None,
    ) -> Bool[Tensor, " n"]:
        """Check a batch, count its rows with NaN or inf, and return which rows to analyse.

        Raises:
            ValueError: no samples, fewer than two classes, another number of them than the
                analyzer's, or shapes that do not agree.
        """
        check_batch(teacher, student, target, self.num_classes)
        kept = finite_rows(teacher, student)
        self.accumulate(non_finite=(~kept).sum())
        return kept

    def frame(
        self, places: Sequence[tuple], columns: Sequence[str], **settings: Any
    ) -> pd.DataFrame:
        """Table of what :meth:`compute` returns: a row for every place, named by its parts.

        The settings are columns too, before the last.
        """
        parts = zip(*places, strict=True) if places else [()] * len(columns)
        return self._frame(dict(zip(columns, map(list, parts), strict=True)), settings)

    def grid(self, **levels: Iterable) -> pd.DataFrame:
        """Table of what :meth:`compute` returns: a row for all combinations of levels by name.

        The last one's follow each other.
        """
        return self._frame(grid_columns(**levels), {})

    def _frame(self, named: dict[str, Any], settings: dict[str, Any]) -> pd.DataFrame:
        values = flat_columns(self.compute())
        last = {name: values.pop(name) for name in list(values)[-1:]}
        return pd.DataFrame(named | values | settings | last)
