"""Mutants of command lines: what does not end in one sentence of ours is printed.

Run as ``python tests/command_mutants.py FOLDER FIRST COUNT`` in a process of its own, whose memory
is bounded: FOLDER gets what the commands read, and every command its mutants FIRST, FIRST + 1, ...
No network is trained and no figure drawn: options are what is tried.
"""

import faulthandler
import os
import random
import resource
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from mutants import LONGEST, SLOW, respelt
from typer.testing import CliRunner

from kdanalysis.cli import experiment
from kdanalysis.cli.main import app
from kdanalysis.networks.zoo import build_model
from kdanalysis.pages.study import Study
from kdanalysis.store.info import RunInfo
from kdanalysis.store.writer import PartWriter
from kdanalysis.training.checkpoint import save_checkpoint

CODES = (0, 1, 2)
COMMANDS = [
    "diagnose both.npz",
    "sweep both.npz --ks 1,2",
    "compare both.npz --losses kd,gdkd:k=2",
    "compare run other",
    "truncation both.npz --ks 1,2",
    "ladder student.pt teacher.pt --data images --fit-images 8",
    "regions regions.npz --scales 1,2",
    "regions teacher.pt --data images --scales 1,2",
    "table run mass",
    "report run -o new.html",
    "info run",
    "verify run",
    "export run -o new.npz",
    "sparsify both.npz -k 2 -o new.parquet",
    "train --data images --teacher resnet8 --student resnet8 --loss kd --epochs 1 -o new",
    "quickstart --data digits -o new",
]
PATHS = ("out", "data", "student", "teacher", "file", "run", "runs", "paths", "files", "other")
READ = [*("both.npz", "run", "other", "images", "student.pt", "regions.npz", "sparse.parquet")]
READ += ["nowhere.npz", ".", "", "a/b", "x" * 300, "a\0b", "/dev/null", "/proc/version", "a.txt"]
WRITTEN = ["new", "new.html", "new.npz", "new.parquet", "new.csv", "new.tex", "a/b.csv", "", "run"]
WRITTEN += ["x" * 300, "new\0", "both.npz/new", "é.html", "."]
TEXTS = ["kd", "all", "auto", "cpu", "cuda:9", "1,2,4", "1/1/8", "1-3", "layer1", "svg,png", "mass"]
NUMBERS = ["0", "1", "2", "3", "7", "0.5", "1e-3", "-1", "100000"]
VALUES = ["", " ", "0", "-1", "1", "2", "7", "1.5", "nan", "inf", "-inf", "1e400", "1e-320"]
VALUES += ["9" * 30, "-" + "9" * 30, "0x10", "1_0", "٣", "1,,2", "1-9999999", "5-1", "a=b", "="]
VALUES += ["%s{}", "[red]x[/]", "\x1b[31m", "é\n", "kd,kd", ".x", "..", "a b", "--", "-", "\0"]
VALUES += ["None", "x" * 500]


def prepare(folder: Path) -> None:
    """Write what the commands read."""
    rng = np.random.default_rng(0)
    teacher, student = 3 * rng.standard_normal((2, 30, 5)).astype(np.float32)
    columns = {"teacher_logits": teacher, "student_logits": student, "target": np.arange(30) % 5}
    np.savez(folder / "both.npz", **columns)
    regions = {f"{s}_regions": rng.standard_normal((30, 5, 5)) for s in ("teacher", "student")}
    np.savez(folder / "regions.npz", **regions, target=columns["target"])
    for name in ("run", "other"):
        with PartWriter(folder / name, 0, RunInfo(5, list("abcde"), "KD()", ("kd",))) as writer:
            places = {"step": np.arange(30) // 10, "epoch": np.zeros(30, np.int32)}
            writer.write(columns | places | {"sample_id": np.arange(30)})
    facts = {"model": "resnet8", "classes": list("ab"), "mean": [0.5] * 3, "std": [0.5] * 3}
    for name in ("teacher", "student"):
        torch.manual_seed(0)
        save_checkpoint(folder / f"{name}.pt", build_model("resnet8", 2), facts)
    from PIL import Image

    for name in "ab":
        (folder / "images" / name).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / name / f"{number}.png")
    (folder / "a.txt").write_text("a")


def mutant(line: str, options: list[Any], draw: random.Random) -> list[str]:
    """Return a command line with an option or several added, doubled, or of another value."""
    words = line.split()
    for _ in range(draw.choice((1, 1, 1, 2))):
        if draw.random() < 0.08:
            place = draw.randrange(1, len(words) + 1)
            words[place : place + 1] = [draw.choice(READ if "." in line else VALUES)]
        named = draw.choice([one for one in options if one.param_type_name == "option"])
        option = draw.choice([*named.opts, *named.secondary_opts])
        words += [option] if named.is_flag else [option, value_for(named, draw)]
    if draw.random() < 0.05:
        words = ["--import", draw.choice(VALUES), *words]
    return words


def value_for(option: Any, draw: random.Random) -> str:
    """Return a value: where to write it lies in the folder, whatever else is drawn."""
    if option.name in PATHS:
        return draw.choice(WRITTEN if option.name == "out" else READ)
    if draw.random() < 0.3:
        return draw.choice(VALUES)
    if isinstance(option.default, int | float) or option.name in ("vocabulary", "limit"):
        return draw.choice(NUMBERS)
    known = draw.choice([*TEXTS, *[str(option.default)] * 9])
    return respelt(known.encode(), draw).decode() if draw.random() < 0.5 else known


def ended(words: list[str]) -> tuple[int, str]:
    """Return the exit code of a command, and what is wrong with its end; "" where all is well."""
    before = {*Path().iterdir()}
    begin = time.process_time()
    result = CliRunner().invoke(app, words, env={"KDANALYSIS_DEBUG": "0"})
    took, new = time.process_time() - begin, {*Path().iterdir()} - before
    said = [x for x in result.stderr.splitlines() if x.startswith("kdanalysis: error: ")]
    for path in new:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    wrong, code = "", result.exit_code
    if code not in CODES or "--debug shows where" in result.stderr:
        wrong = f"exit {code}: {result.stderr[-LONGEST:]!r} {result.exception!r:.200}"
    elif code == 2 and (len(said) != 1 or len(said[0]) > LONGEST + 12):
        wrong = f"sentences: {said!r:.900}"
    elif code == 2 and new:
        wrong = f"left {sorted(map(str, new))}"
    return code, wrong or (f"took {took:.1f} s" if took > SLOW else "")


def problems(first: int, count: int) -> Iterator[str]:
    """Yield what mutants of every command lead to, where it is no answer; each works as it is."""
    known = typer.main.get_command(app).commands
    for line in COMMANDS:
        code, found = ended(line.split())
        if code or found:
            yield f"{line}: exit {code} {found}"
    for number in range(first, first + count):
        for line in COMMANDS:
            draw = random.Random(f"{number} {line}")
            words = mutant(line, known[line.split()[0]].params, draw)
            faulthandler.dump_traceback_later(120, exit=True)
            if found := ended(words)[1]:
                yield f"{number} {words!r}: {found}"
    faulthandler.cancel_dump_traceback_later()


def without_work() -> None:
    """Let no command train or draw."""
    experiment.conduct = lambda *given, **more: None
    Study.html = lambda study: study.title
    Study.write_figures = lambda study, folder, kinds: None


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
    os.chdir(sys.argv[1])
    prepare(Path())
    without_work()
    for problem in problems(int(sys.argv[2]), int(sys.argv[3])):
        print(problem, flush=True)
