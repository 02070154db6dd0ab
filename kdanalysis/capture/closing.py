"""A ``with`` block that closes what it holds, whatever happens inside it."""

import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import TypeVar

Held = TypeVar("Held")


class Closing(ABC):
    """Closes at the end of a ``with`` block; an error of closing never hides one of the block."""

    path: Path

    @abstractmethod
    def close(self) -> None:
        """End; a second time is harmless."""

    def __enter__(self: Held) -> Held:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except Exception as late:
            if error is None:
                raise
            warnings.warn(f"recording into {self.path} ended: {late}", RuntimeWarning, stacklevel=2)
