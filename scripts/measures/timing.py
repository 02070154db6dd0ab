"""Seconds of two ways of doing the same, in turn."""

import statistics
import time
from collections.abc import Callable

import torch


def wait(device: torch.device) -> None:
    """Wait until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Return how long one call takes, the device's work included."""
    wait(device)
    start = time.perf_counter()
    call()
    wait(device)
    return time.perf_counter() - start


def alternate(
    ours: Callable, plain: Callable, device: torch.device, repetitions: int, inner: int = 1
) -> dict[str, float]:
    """Time both in turn; medians of seconds a call, and of the ratios pair by pair."""
    ours(), plain()
    pairs = []
    for _ in range(repetitions):
        a, b = (
            seconds(lambda call=call: [call() for _ in range(inner)], device) / inner
            for call in (ours, plain)
        )
        pairs.append((a, b))
    return {
        "ours_ms": 1e3 * statistics.median(a for a, _ in pairs),
        "plain_ms": 1e3 * statistics.median(b for _, b in pairs),
        "plain_over_ours": statistics.median(b / a for a, b in pairs),
        "ours_over_plain": statistics.median(a / b for a, b in pairs),
    }
