"""Where to compute, as users name it."""

from contextlib import suppress

import torch


def as_device(device: torch.device | str | int) -> torch.device:
    """Return the device of a name.

    Raises:
        ValueError: torch knows no such device, or does not find it here.
    """
    with suppress(RuntimeError, AssertionError, NotImplementedError):  # torch's three answers
        found = torch.device(device)
        torch.empty(0, device=found)
        return found
    raise ValueError(
        f"device {str(device)!r} is none that torch finds here: need cpu, or cuda, cuda:1 or mps "
        f"where there is one"
    )
