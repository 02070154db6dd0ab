"""Facts about runs and logits, as (label, value) pairs for a page's head or a terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from kdanalysis.data import DataSplits
from kdanalysis.studies.source import Source
from kdanalysis.training.checkpoint import load_network


def source_facts(source: Source) -> dict[str, object]:
    """Return what a source is: of a run what its run.json and its parts say."""
    if source.run is not None:
        return run_facts(source.run)
    return stated(
        {
            "logits": source.name,
            "samples": f"{source.num_rows:,}",
            "classes": class_fact(source.info.num_classes, source.info.classes),
        }
    )


def run_facts(run: Any) -> dict[str, object]:
    """Return what a run is, from its run.json and what its parts hold.

    Args:
        run: a ``StoredRun``, or what ``open_run`` gives.
    """
    info, steps = run.info, run.steps()
    layers = Source("", None, run).layers.layers
    facts = {
        "loss": info.loss,
        "terms": ", ".join(info.terms),
        "weights": ", ".join(f"{name} {weight:g}" for name, weight in info.weights.items()),
        "temperature": info.temperature,
        "classes": class_fact(info.num_classes, info.classes),
        "samples": f"{run.num_rows:,}",
        "captured steps": step_fact(steps),
        "columns": ", ".join(run.columns),
        "layers": ", ".join(layers),
        "regions": region_fact(run),
        "ranks": info.world_size,
        "seed": info.seed,
        "created": info.created,
        "duplicates": run.duplicates or None,
        "dropped while writing": run.dropped_rows or None,
        "residual": residual_fact(run),
        "skipped parts": skipped_fact(run.skipped),
        **{f"setting {key}": value for key, value in info.settings.items()},
    }
    return stated(facts)


def region_fact(run: Any) -> str | None:
    """Return how many samples have region logits, and the scales; None where none have."""
    if not run.columns_of("regions"):
        return None
    return f"{run.count('regions'):,} samples at scales {', '.join(map(str, run.info.scales))}"


def residual_fact(run: Any) -> str | None:
    """Return median and largest residual: how far autograd's gradient is from the closed forms.

    Samples whose gradient overflowed have an infinite one and are counted beside them.
    """
    if "residual" not in run.columns:
        return None
    parts = [batch["residual"] for batch in run.batches(["residual"], 65536)]
    residual = np.concatenate([part[~np.isnan(part)] for part in parts] or [np.zeros(0)])
    known, lost = residual[np.isfinite(residual)], int(np.isinf(residual).sum())
    words = [f"{lost:,} samples whose gradient overflowed"] if lost else []
    if len(known):
        largest = f"{known.max():.1e} (largest); 0 is as declared"
        words = [f"{np.median(known):.1e} (median), {largest}", *words]
    return "; ".join(words) or None


def stated(facts: Mapping[str, object]) -> dict[str, object]:
    """Leave out what is not known."""
    return {label: value for label, value in facts.items() if value not in (None, "")}


def class_fact(number: int, names: list[str] | None) -> str:
    """Return the number of classes with the first names."""
    if not names:
        return str(number)
    return f"{number} ({', '.join(names[:4])}{', ...' if number > 4 else ''})"


def step_fact(steps: Any) -> str:
    """Return how many steps were captured, and from where to where."""
    if len(steps) == 0:
        return "none"
    return f"{len(steps):,} ({steps[0]} to {steps[-1]})"


def skipped_fact(skipped: list[tuple[object, str]]) -> str | None:
    """Return the parts that could not be read, with the reason of the first."""
    if not skipped:
        return None
    part, reason = skipped[0]
    return f"{len(skipped)}, such as {part}: {reason}"


def network_of(given: Any, data: DataSplits, device: Any) -> nn.Module:
    """Return a network on the device, read from its checkpoint where a path is given."""
    network = given if isinstance(given, nn.Module) else load_network(Path(given), data)
    return network.to(device)


def called(given: Any) -> str:
    """Return what readers call a network, a file or arrays."""
    if isinstance(given, Mapping):
        return "arrays"
    return type(given).__name__ if isinstance(given, nn.Module) else str(given)
