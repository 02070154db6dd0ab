"""Options that belong together: a command takes them as one argument, the command line as many."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdanalysis.cli.options import Device, Figures, Out, Overwrite, Seed, device_of, parse_names

if TYPE_CHECKING:
    import torch

    from kdanalysis.data import DataSplits
    from kdanalysis.pages.study import Study


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command as typer takes it: each field of an argument's dataclass is an option."""
    own = inspect.signature(command).parameters.values()
    groups = {one.name: one.annotation for one in own if is_dataclass(one.annotation)}
    flat: dict[str, inspect.Parameter] = {}
    for one in own:
        for name, annotation, default in _options(one):
            flat[name] = inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
            )

    @wraps(command)
    def run(**given: Any) -> None:
        made = {
            name: group(**{field.name: given.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**given, **made)

    run.__signature__ = inspect.Signature(list(flat.values()))
    run.__annotations__ = {name: one.annotation for name, one in flat.items()}
    return run


def _options(one: inspect.Parameter) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, annotation and default of what an argument is on the command line."""
    if not is_dataclass(one.annotation):
        yield one.name, one.annotation, one.default
        return
    for field in fields(one.annotation):
        needed = field.default is MISSING
        yield field.name, field.type, inspect.Parameter.empty if needed else field.default


@dataclass(frozen=True)
class Machine:
    """Where to compute, and what random draws start from."""

    seed: Seed = 0
    device: Device = "auto"

    def prepare(self) -> "torch.device":
        """Meet the other ranks, seed torch and return the device of this one; see ``device_of``."""
        return device_of(self.seed, self.device)


@dataclass(frozen=True)
class Output:
    """A folder with a page, its tables and, where asked for, the files of its figures."""

    out: Out = None
    figures: Figures = ""
    overwrite: Overwrite = False

    @contextmanager
    def page(self) -> "Iterator[Callable[[Study], None]]":
        """Give what writes a study, or does nothing where no page is asked for.

        Raises:
            FileExistsError, ValueError: as ``card_folder``.
        """
        from kdanalysis.pages.publish import card_folder

        with card_folder(self.out, self.overwrite, self.figures) as folder:
            yield lambda study: None if folder is None else study.write(folder, self.figures)


@dataclass(frozen=True)
class Known:
    """How a truncated teacher's file is to be read, where it does not say so itself."""

    kind: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="A truncated teacher's numbers: logprobs, or logits with a logsumexp.",
        ),
    ] = None
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="DistillKit's compression_config.yaml, if elsewhere."),
    ] = None

    @property
    def given(self) -> dict[str, Any]:
        """What was said, by its name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def refuse(self, file: Path) -> None:
        """Refuse what was said of a file that holds no truncated teacher.

        Raises:
            ValueError: something was.
        """
        if self.given:
            raise ValueError(
                f"--{next(iter(self.given))} says how a truncated teacher is read, and {file} is "
                f"none: it has no token ids beside log-probabilities"
            )


@dataclass(frozen=True)
class Images:
    """How many images of what size."""

    image_size: Annotated[int | None, typer.Option(help="Side in pixels to bring all to.")] = None
    limit: Annotated[int | None, typer.Option(help="Most training images to load.")] = None

    def load(self, data: str, seed: int, classes: Any = None) -> "DataSplits":
        """Return the images, as ``load_data`` does."""
        from kdanalysis.data import load_data

        size = self.image_size
        return load_data(data, image_size=size, seed=seed, limit=self.limit, classes=classes)


@dataclass(frozen=True)
class Blocks:
    """The blocks between which stepping stones stand."""

    student_blocks: Annotated[
        str, typer.Option(metavar="NAME,NAME,...", help="In the order they run; all if not given.")
    ] = ""
    teacher_blocks: Annotated[str, typer.Option(metavar="NAME,NAME,...", help="As many.")] = ""

    @property
    def names(self) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
        """The student's and the teacher's; None for all."""
        return parse_names(self.student_blocks), parse_names(self.teacher_blocks)
