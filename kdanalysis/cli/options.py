"""Options that several commands share, each described once."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import torch

DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def check_device(name: str) -> str:
    """Return the name of a device as it is, or refuse it before anything is loaded."""
    if not DEVICE.fullmatch(name):
        raise ValueError(f"unknown device {name!r}: need auto, cpu, mps, cuda or cuda:NUMBER")
    return name


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


def prepare(seed: int, device: str) -> "torch.device":
    """Seed torch and return the device; ``auto`` takes CUDA where there is one.

    Raises:
        ValueError: this machine has no such device.
    """
    import torch

    torch.manual_seed(seed)
    available = torch.cuda.is_available()
    if device == "auto":
        return torch.device("cuda" if available else "cpu")
    if device.startswith("cuda") and not available:
        raise ValueError(f"--device {device}: torch finds no CUDA device here; use cpu or auto")
    return torch.device(device)


Seed = Annotated[int, typer.Option(help="Seed of random draws, where the command makes any.")]
Device = Annotated[
    str, typer.Option(help="Where to compute: auto, cpu, cuda, cuda:1.", callback=check_device)
]
Temperatures = Annotated[str, typer.Option(metavar="T,T,...", help="Temperatures T > 0.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace output that exists.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as the recorder wrote it.")]
