"""Options that several commands share, each described once."""

import gc
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdanalysis.core.garbage import uncollected
from kdanalysis.core.ranks import RANKS

if TYPE_CHECKING:
    import torch

DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def check_device(name: str) -> str:
    """Return the name of a device as it is, or refuse it before anything is loaded."""
    if not DEVICE.fullmatch(name):
        raise ValueError(f"unknown device {name!r}: need auto, cpu, mps, cuda or cuda:NUMBER")
    return name


def check_figures(kinds: str) -> str:
    """Return the kinds of files of figures as they are, or refuse them before all else."""
    if kinds:
        from kdanalysis.pages.publish import figure_kinds

        figure_kinds(kinds)
    return kinds


def parse_temperatures(text: str) -> tuple[float, ...]:
    """Read ``1,2,4,8``.

    Raises:
        ValueError: a part is no number; the analyzers check the numbers themselves.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(
            f"--temperatures {text!r} cannot be read: need numbers above 0 between commas, "
            "such as 1,2,4,8"
        ) from None


def parse_ks(text: str, every: bool = True) -> str | tuple[int, ...]:
    """Read ``1,2,5,10-20``, and ``all`` where it is taken; a k that is named twice counts once.

    Raises:
        ValueError: a part is no whole number and no range; the analyzer checks the numbers.
    """
    if every and text.strip() == "all":
        return "all"
    found = [re.fullmatch(r"(\d{1,7})(?:-(\d{1,7}))?", part.strip()) for part in text.split(",")]
    if not all(found) or any(m[2] and int(m[2]) < int(m[1]) for m in found):
        raise ValueError(
            f"--ks {text!r} cannot be read: need {'all, or ' * every}whole numbers and ascending "
            "ranges between commas, such as 1,2,5,10-20"
        )
    return tuple(sorted({k for m in found for k in range(int(m[1]), int(m[2] or m[1]) + 1)}))


def parse_scales(text: str) -> tuple[int, ...]:
    """Read ``1,2,4``.

    Raises:
        ValueError: a part is no whole number, or they do not rise from 1.
    """
    found = [part.strip() for part in text.split(",")]
    scales = [int(part) for part in found if re.fullmatch(r"\d{1,4}", part)]
    if len(scales) < len(found) or scales[0] != 1 or scales != sorted(set(scales)):
        raise ValueError(
            f"scales {text!r} cannot be read: need whole numbers that rise from 1, the whole "
            "image, between commas, such as 1,2,4"
        )
    return tuple(scales)


def parse_weights(text: str) -> tuple[float, ...]:
    """Read ``1/1/8``.

    Raises:
        ValueError: there are not three numbers; the analyzer checks the numbers themselves.
    """
    try:
        first, second, third = (float(part) for part in text.split("/"))
    except ValueError:
        raise ValueError(
            f"--weights {text!r} cannot be read: need the weights of high, low_top and low_other "
            "between slashes, such as 1/1/8"
        ) from None
    return first, second, third


def parse_names(text: str) -> tuple[str, ...] | None:
    """Read ``layer1,layer2``; None where nothing is given."""
    return tuple(name.strip() for name in text.split(",") if name.strip()) or None


def parse_keys(texts: list[str] | None) -> dict[str, str]:
    """Read ``teacher_logits=out,target=y``, given once or several times.

    Raises:
        ValueError: a part has no name; the reader checks the names themselves.
    """
    pairs = [part.partition("=") for text in texts or () for part in text.split(",")]
    if wrong := [column for column, _, name in pairs if not (column.strip() and name.strip())]:
        raise ValueError(
            f"--keys {wrong[0]!r:.60} cannot be read: need COLUMN=NAME, such as teacher_logits=out"
        )
    return {column.strip(): name.strip() for column, _, name in pairs}


@contextmanager
def all_kept() -> Iterator[None]:
    """Look for no garbage in what is imported here, now and later: there is none.

    Python would go through hundreds of thousands of objects again and again, a seventh of the time
    that the imports take. Where torch is there already nothing is done.
    """
    if "torch" in sys.modules:
        yield
        return
    with uncollected():
        yield
        gc.freeze()


def device_of(seed: int, device: str) -> "torch.device":
    """Meet the other ranks, seed torch and return the device of this one.

    ``auto`` takes CUDA where there is one; of several ranks each takes the device of its number on
    the machine.

    Raises:
        ValueError: this machine has no such device, or not one for every rank.
    """
    with all_kept():
        import pandas  # noqa: F401, every command makes tables
        import torch

    RANKS.connect()
    torch.manual_seed(seed)
    available = torch.cuda.is_available()
    if device.startswith("cuda") and not available:
        raise ValueError(f"--device {device}: torch finds no CUDA device here; use cpu or auto")
    if device == "auto":
        device = "cuda" if available else "cpu"
    if device.startswith("cuda") and RANKS.world > 1:
        place = place_of_rank(device, torch.cuda.device_count())
        torch.cuda.set_device(place)
        return torch.device("cuda", place)
    return torch.device(device)


def place_of_rank(device: str, count: int) -> int:
    """Return which of a machine's ``count`` devices this rank takes.

    Raises:
        ValueError: there is none for it, or one was named for all.
    """
    place = int(os.environ.get("LOCAL_RANK", RANKS.rank))
    if device != "cuda" or place >= count:
        raise ValueError(
            f"--device {device}: {RANKS.world} ranks need a CUDA device each, and this machine has "
            f"{count} of them; start that many with --device cuda, or use --device cpu"
        )
    return place


Seed = Annotated[
    int, typer.Option(min=0, help="Seed of random draws, where the command makes any.")
]
Device = Annotated[
    str, typer.Option(help="Where to compute: auto, cpu, cuda, cuda:1.", callback=check_device)
]
Temperatures = Annotated[str, typer.Option(metavar="T,T,...", help="Temperatures T > 0.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace output that exists.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as the recorder wrote it.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="DIR", help="Write a page and its tables here."),
]
Figures = Annotated[
    str,
    typer.Option(
        "--figures",
        metavar="KIND,...",
        help="Write the page's figures as files too: svg,png,pdf.",
        callback=check_figures,
    ),
]
Keys = Annotated[
    list[str] | None,
    typer.Option(
        "--keys",
        metavar="COLUMN=NAME,...",
        help="What our columns are called in the file: teacher_logits=out,target=y.",
    ),
]
Vocabulary = Annotated[
    int | None,
    typer.Option(
        metavar="CLASSES",
        help="Keep so many classes of both sides, where vocabularies are padded differently.",
    ),
]
CHECKPOINT = "A checkpoint that kdanalysis train wrote."
IMAGES = typer.Option(
    metavar="PATH",
    help="Images: a folder of class folders, Parquet, CIFAR batches, glyphs or digits.",
)
BatchSize = Annotated[int, typer.Option(help="Images looked at together.")]
