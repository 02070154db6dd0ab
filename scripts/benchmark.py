"""Measures what the toolkit promises, each as a ratio against the plain way in the same process.

    python scripts/benchmark.py --json benchmark.json --markdown docs/benchmarks.md
    python scripts/benchmark.py --only closed_form sweep --device cuda
    python scripts/benchmark.py --only sweep --full --repetitions 1

Every ratio is the median over alternating repetitions (ours, plain, ours, plain, ...). The plain
way is written out here beside ours, and checked to give the same numbers before anything is timed.
Commands and the quickstart are processes of their own; their plain way is to import what the
heaviest of them needs, and to do nothing with it.
"""

import argparse
import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch
from measures.capture import capture
from measures.closed_form import closed_form
from measures.commands import commands
from measures.memory import memory
from measures.parameter import parameter
from measures.quickstart import quickstart
from measures.reading import reading
from measures.rows import as_text, rows_of
from measures.stones import stones
from measures.store import store
from measures.sweep import imagenet, sweep
from measures.truncation import truncation
from measures.vocabulary import vocabulary

MEASURES = {
    "commands": commands,
    "quickstart": quickstart,
    "reading": reading,
    "closed_form": closed_form,
    "capture": capture,
    "parameter": parameter,
    "store": store,
    "stones": stones,
    "sweep": sweep,
    "truncation": truncation,
    "vocabulary": vocabulary,
    "imagenet": imagenet,
    "memory": memory,
}


def main() -> None:
    """Measure, print a table of the figures beside their goals, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, help="write the figures and the rows to this file")
    parser.add_argument(
        "--markdown", type=Path, help="write the tables into this page; other measures stay there"
    )
    parser.add_argument("--only", choices=MEASURES, nargs="+", help="some measures, not all")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repetitions", type=int, default=5, help="at least 5 for a median")
    parser.add_argument(
        "--full", action="store_true", help="the plain sweep in full, not scaled up from a part"
    )
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    chosen, figures = arguments.only or list(MEASURES), {}
    machine = describe(device) | {"repetitions": arguments.repetitions}
    for name in chosen:
        print(f"measuring {name} ...", file=sys.stderr)
        options = {"full": True} if name == "sweep" and arguments.full else {}
        figures[name] = MEASURES[name](device, arguments.repetitions, **options)
    rows = rows_of(figures)
    print(as_text(rows))
    if arguments.json:
        rows = [row._asdict() for row in rows]
        text = json.dumps({"machine": machine, "rows": rows, **figures}, indent=2)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    if arguments.markdown:
        old = arguments.markdown.read_text("utf-8") if arguments.markdown.exists() else ""
        arguments.markdown.write_text(page(machine, figures, old), encoding="utf-8")


def page(machine: dict[str, object], figures: dict[str, dict], old: str = "") -> str:
    """Return the page with a section a measure, those of an old page that were not measured now."""
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    sections = dict(part.split("\n", 1) for part in old.split("\n## ")[1:])
    for name, found in figures.items():
        sections[name] = f"\n{facts}\n\n{as_text(rows_of({name: found}))}\n"
    head = (
        "# Benchmarks\n\nWritten by `python scripts/benchmark.py --markdown docs/benchmarks.md`, "
        "each section by the last run that\nmeasured it; what a row is says the docstring of its "
        "measure in `scripts/measures/`. Medians; `plain` is the\nsame done the plain way, of "
        "commands the imports alone: `import torch, pandas, matplotlib.figure`.\n"
    )
    known = [name for name in MEASURES if name in sections]
    return head + "".join(f"\n## {name}\n{sections[name]}" for name in known)


def describe(device: torch.device) -> dict[str, object]:
    """Return what the figures were measured on."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "device": torch.cuda.get_device_name() if device.type == "cuda" else processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def processor() -> str:
    """Return the processor's name as Linux knows it, elsewhere its kind."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return " ".join((*named[:1], platform.machine()))


if __name__ == "__main__":
    main()
