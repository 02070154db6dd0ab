"""Hashes of every kind of page with its pictures and tables, from the committed logits and regions.

    python tests/pages/goldens.py WORK_FOLDER [> tests/pages/goldens.json]

Every page is made by the command line. What a page says of when and where it was made is masked.
Equal bits need equal arithmetic: the hashes are those of one kind of processor, so that the test
that holds them is run by hand (``-m long``), before and after a change that is to change nothing.
Loops that the same process has just compiled may differ in a last bit from the ones that are kept:
where they are new, the first run makes them and the second one counts.
"""

import hashlib
import json
import re
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import numpy as np

ROOT = Path(__file__).parents[2]
LOGITS = [str(ROOT / "notebooks" / "logits" / f"{name}.npz") for name in ("kd", "dkd", "gdkd")]
TRAIN = (
    *("train", "--data", "digits", "--teacher", "resnet8", "--student", "resnet8", "--epochs", "2"),
    *("--limit", "320", "--record-every", "2", "--batch-size", "32", "--seed", "1"),
)
RECORD = ("--record-layers", "logits,layer1,fc", "--record-regions", "8")
WHEN = re.compile(r"\d{4}-\d\d-\d\dT[\d:.+]+(Z|\+\d\d:\d\d)?|\d+(\.\d+)? s\b")
TABLES = (
    *("teacher", "mass", "profile", "modality", "calibration", "suppression", "magnitude"),
    *("share", "confidence", "nckd", "amplification", "conflict", "relation", "discrepancy"),
    *("direction", "agreement", "layers", "snr", "anatomy", "ambiguity", "cancellation", "uptake"),
)


def commands(work: Path) -> dict[str, tuple[str, ...]]:
    """The command of every page, by its name; later ones use what earlier ones wrote."""
    one, pages = LOGITS[0], work / "pages"
    runs = [str(work / "students" / "runs" / name) for name in ("kd", "dkd", "gdkd-k-3")]
    networks = work / "blocks"
    out = {
        "diagnose": ("diagnose", one, "--figures", "svg,png"),
        "sweep": ("sweep", one),
        "losses": ("compare", one, "--losses", "kd,dkd,gdkd:k=5,nkd", "--match-norm"),
        "losses-of-runs": ("compare", *runs[:2], "--losses", "kd,gdkd:k=3"),
        "files": ("compare", *LOGITS),
        "runs": ("compare", *runs),
        "regions": ("regions", str(work / "regions.npz"), "--loss", "dkd"),
        "regions-of-networks": (
            *("regions", str(work / "students" / "teacher.pt"), "--data", "digits"),
            *("--student", str(work / "students" / "students" / "kd.pt"), "--images", "2"),
            *("--scales", "1,2", "--limit", "320", "--seed", "1"),
        ),
        "ladder": (
            *("ladder", str(networks / "students" / "kd.pt"), str(networks / "teacher.pt")),
            *("--data", "digits", "--limit", "320", "--seed", "1", "--fit-images", "200"),
        ),
    }
    made = {name: (*command, "--out", str(pages / name)) for name, command in out.items()}
    made["report"] = ("report", *runs[:2], "-o", str(pages / "report.html"))
    made["report-of-one"] = ("report", runs[2], "-o", str(pages / "report-of-one.html"))
    for name in TABLES:
        made[f"table-{name}"] = (
            *("table", runs[0], name, "--out", str(pages / f"table-{name}.csv")),
        )
    return made


def trainings(work: Path) -> list[tuple[str, ...]]:
    """The trainings whose runs, networks and pages are looked at."""
    losses = ("--loss", "kd", "--loss", "dkd", "--loss", "gdkd:k=3")
    blocks = ("--method", "blocks", "--loss", "kd")
    return [
        (*TRAIN, *losses, *RECORD, "--out", str(work / "students")),
        (*TRAIN, *blocks, "--out", str(work / "blocks")),
    ]


def make_regions(file: Path) -> None:
    """Region logits of scales 1, 2 and 4 from the committed cells."""
    with np.load(ROOT / "notebooks" / "regions" / "kd.npz") as stored:
        sides = {
            side: stored[f"{side}_cells"].astype(np.float32) for side in ("teacher", "student")
        }
        target = stored["target"].astype(np.int64)
    regions = {}
    for side, cells in sides.items():
        n, c = cells.shape[:2]
        pooled = [
            cells.reshape(n, c, m, 4 // m, m, 4 // m).mean((3, 5)).reshape(n, c, -1)
            for m in (1, 2, 4)
        ]
        regions[f"{side}_regions"] = np.concatenate(pooled, -1)
    np.savez(file, target=target, **regions)


def run(arguments: tuple[str, ...]) -> None:
    """Run one command in this process; its words are not shown."""
    from kdanalysis.cli.main import main

    with redirect_stdout(StringIO()), patch.object(sys, "argv", ["kdanalysis", *arguments]):
        try:
            main()
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f"{arguments} ended with {end.code}") from None


def fingerprint(file: Path, work: Path) -> str:
    """Hash of a file without what differs from one making to the next."""
    data = file.read_bytes()
    if file.suffix in (".html", ".csv"):
        text = WHEN.sub("WHEN", data.decode()).replace(str(work), "WORK").replace(str(ROOT), "ROOT")
        data = text.encode()
    return hashlib.sha256(data).hexdigest()[:16]


def make(work: Path, only: tuple[str, ...] = ()) -> dict[str, str]:
    """Make the pages and return the hash of every file."""
    work = work.resolve()
    (work / "pages").mkdir(parents=True, exist_ok=True)
    make_regions(work / "regions.npz")
    for arguments in trainings(work):
        if not Path(arguments[-1]).exists():
            run(arguments)
    for name, arguments in commands(work).items():
        if not only or name in only:
            run(arguments)
    return fingerprints(work)


def fingerprints(work: Path) -> dict[str, str]:
    """Return the hash of every file of the pages by its path."""
    folders = [work / "pages", *(work / name for name in ("students", "blocks"))]
    files = [
        file
        for folder in folders
        for pattern in ("**/*.html", "**/*.csv", "**/*.png", "**/*.svg")
        for file in sorted(folder.glob(pattern))
    ]
    return {str(file.relative_to(work)): fingerprint(file, work) for file in files}


if __name__ == "__main__":
    print(json.dumps(make(Path(sys.argv[1]), tuple(sys.argv[2:])), indent=1, sort_keys=True))
