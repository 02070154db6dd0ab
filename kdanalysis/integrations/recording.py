"""What both adapters do with a recorder, whose training loop is somebody else's."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxtyping import Int
from torch import Tensor, nn

from kdanalysis.capture import Recorder, Scaling, Side, Store, every
from kdanalysis.capture.options import place
from kdanalysis.capture.record import Captured
from kdanalysis.capture.samples import own_ids
from kdanalysis.capture.schedule import Schedule, never
from kdanalysis.core.arguments import fitted, typed
from kdanalysis.integrations.tally import Tally
from kdanalysis.losses import Loss

Ramp = Callable[[int], float | int]


@typed
class Recording:
    """Opens a recorder when training starts, numbers its steps and rows, closes it at the end.

    Args:
        path: the run folder.
        loss: as for ``Recorder``.
        ramp: warm-up factor of the distillation terms by epoch; 1 throughout if None.
        options: the other arguments of ``Recorder``.
    """

    def __init__(
        self, path: str | Path, loss: Loss | None, ramp: Ramp | None, options: dict[str, Any]
    ) -> None:
        self.loss, self.recorder, self.tally = loss, None, Tally()
        self.factor: Callable[[], float | int] | None = None
        self._path, self._ramp, self._options = path, ramp, dict(options)
        self._schedule = self._option("schedule", Schedule) or every(50)
        self._listener = self._option("listener", Callable)
        self._store = self._option("store", Store) or Store()
        self._first, self._step, self._rows = 0, 0, 0

    def _option(self, name: str, kind: Any) -> Any:
        return fitted(name, self._options.pop(name, None), kind | None)

    def open(self, step: int, records: bool = True, **sides: nn.Module | Side | None) -> None:
        """Attach a recorder.

        Args:
            step: of the first batch; where it is not 0 a run in the folder is gone on with, and
                steps that it holds already are not captured again.
            records: False to capture nothing, for a trial run.
            sides: student and teacher, as for ``Recorder``.

        Raises:
            ValueError, FileExistsError: as ``Recorder``.
        """
        self.close()
        self.recorder = Recorder(
            self._path,
            self.loss,
            **self._options | sides,
            schedule=self._captures if records else never,
            store=replace(self._store, existing="resume") if step > 0 else self._store,
            scaling=Scaling(self),
            listener=self._hear,
        )
        self._first, self._step, self._rows = self.recorder.step, step, 0

    def begin(self, step: int, epoch: int) -> None:
        """Begin a batch of a step; with gradient accumulation several make one step."""
        self.end_step()
        if self.recorder is not None:
            self.recorder.step, self.recorder.epoch = step, epoch
        if step != self._step:
            self._step, self._rows = step, 0

    def end_step(self) -> None:
        """Finish the record of the batch before."""
        if self.recorder is not None:
            self.recorder.end_step()

    def flush(self) -> None:
        """Write what was captured so far, as before a checkpoint."""
        if self.recorder is not None:
            self.recorder.flush()

    def close(self, error: BaseException | None = None) -> None:
        """Close the recorder; after an error of the training its own is only a warning."""
        recorder, self.recorder = self.recorder, None
        if recorder is not None:
            recorder.__exit__(None if error is None else type(error), error, None)

    def ramp(self, epoch: int) -> float | int:
        """Return the warm-up factor of an epoch."""
        return 1.0 if self._ramp is None else self._ramp(epoch)

    def number_rows(self, count: int) -> Int[Tensor, " n"]:
        """Return sample ids for a batch without any: row numbers, on over the batches of a step."""
        first, self._rows = self._rows, self._rows + count
        return own_ids(count, place()[0], first)

    def get_scale(self) -> float:
        """Stand where the recorder asks a GradScaler: the factor on the mean over the rows."""
        return 1.0 if self.factor is None else float(self.factor())

    def _captures(self, step: int) -> bool:
        return step >= self._first and self._schedule(step)

    def _hear(self, captured: Captured) -> None:
        self.tally.add(captured)
        if self._listener is not None:
            self._listener(captured)
