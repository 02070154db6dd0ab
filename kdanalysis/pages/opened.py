"""open: a run or a file, with every table and picture that it allows."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from kdanalysis.core.arguments import typed
from kdanalysis.core.wording import counted
from kdanalysis.pages.explorer import Explorer, explorer_of
from kdanalysis.pages.publish import output_file
from kdanalysis.pages.run import EVERY, run_study
from kdanalysis.pages.study import Study
from kdanalysis.studies.compute import Watch, unwatched
from kdanalysis.studies.opening import BY_NAME, Given, open_source
from kdanalysis.studies.run import Run, possible, table_names, tables_of
from kdanalysis.studies.source import Source


class Opened:
    """What was opened: ``table`` and ``figure`` by name, all ``tables``, ``report`` as one page.

    ``names`` are those of the tables that its columns allow. A table is computed once.
    """

    def __init__(self, source: Source) -> None:
        self.source, self.path, self.info = source, source.path, source.info
        self._tables: dict[str, pd.DataFrame] = {}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the tables that can be had."""
        return tuple(name for name in table_names() if possible(self.source, name))

    @typed
    def table(self, name: str) -> pd.DataFrame:
        """Compute one table.

        Raises:
            ValueError: no such table (the nearest is offered), or it needs what is not there.
        """
        return self.tables([name])[name]

    @typed
    def tables(
        self,
        names: Sequence[str] | None = None,
        device: torch.device | str = "cpu",
        watch: Watch = unwatched,
    ) -> dict[str, pd.DataFrame]:
        """Compute several tables in one pass, all that can be had if no names are given."""
        names = self.names if names is None else tuple(names)
        if missing := [name for name in names if name not in self._tables]:
            self._tables |= tables_of(self.source, missing, device, watch)
        return {name: self._tables[name] for name in names}

    @typed
    def figure(self, name: str, ax: Any = None, *, picture: int = 0, **options: Any) -> Any:
        """Draw a picture of a table, in a place of your own or a new figure; as a Study does."""
        return self._study([name]).figure(name, ax, picture=picture, **options)

    @typed
    def report(self, path: str | Path, overwrite: bool = False) -> None:
        """Write one page of all tables as a single HTML file, whole or not at all.

        Args:
            path: of the file; it must not exist unless ``overwrite``.
            overwrite: replace what is there.

        Raises:
            FileExistsError: the file exists.
        """
        with output_file(Path(path), overwrite) as file:
            explorer = explorer_of({self.source.name: self.source}, of=EVERY)
            page = self._study(self.names, explorer).html()
            file.write_text(page, encoding="utf-8")

    def _study(self, names: Sequence[str], explorer: Explorer | None = None) -> Study:
        name = self.source.name
        return run_study({name: self.source}, {name: self.tables(names)}, explorer)

    def __repr__(self) -> str:
        rows = counted(self.source.num_rows, "sample")
        return f"<{self.source.name}: {rows}; {', '.join(self.names)}>"


@typed(advice={"path": BY_NAME})
def open(path: Given) -> Opened:
    """Open a run folder, a file of logits, or arrays by the names of their columns.

    Raises:
        FileNotFoundError: there is nothing at a path.
        ValueError: it cannot be read.
    """
    if isinstance(path, (str, Path)) and Path(path).expanduser().is_dir():
        path = Run(Path(path).expanduser())
    return Opened(open_source(path))
