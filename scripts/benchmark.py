"""Measures what the toolkit promises, each as a ratio against the plain way in the same process.

    python scripts/benchmark.py --json benchmark.json
    python scripts/benchmark.py --only closed_form --device cuda
    python scripts/benchmark.py --only sweep --full --repetitions 1

Every ratio is the median over alternating repetitions (ours, plain, ours, plain, ...). The plain
way is written out here beside ours, and checked to give the same numbers before anything is timed.
"""

import argparse
import json
import os
import platform
import sys
from pathlib import Path

import torch
from measures.capture import capture
from measures.closed_form import closed_form
from measures.memory import memory
from measures.parameter import parameter
from measures.stones import stones
from measures.store import store
from measures.sweep import imagenet, sweep

MEASURES = {
    "closed_form": closed_form,
    "capture": capture,
    "parameter": parameter,
    "store": store,
    "stones": stones,
    "sweep": sweep,
    "imagenet": imagenet,
    "memory": memory,
}


def main() -> None:
    """Measure and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--only", choices=MEASURES, help="one measure instead of all")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repetitions", type=int, default=7, help="at least 5 for a median")
    parser.add_argument(
        "--full", action="store_true", help="the plain sweep in full, not scaled up from a part"
    )
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    figures = {"machine": describe(device)}
    for name in [arguments.only] if arguments.only else MEASURES:
        print(f"measuring {name} ...", file=sys.stderr)
        options = {"full": True} if name == "sweep" and arguments.full else {}
        figures[name] = MEASURES[name](device, arguments.repetitions, **options)
    text = json.dumps(figures, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


def describe(device: torch.device) -> dict[str, object]:
    """Return what the figures were measured on."""
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    main()
