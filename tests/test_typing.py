"""The public door is typed: a checker passes its right use and reports mistakes."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
REPORT = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+): error: .*\[(?P<kind>[a-z-]+)\]$", re.M)


def reported() -> list[tuple[str, int, str]]:
    """What the checker finds in the files of ``tool.mypy``: file, line and kind of each error."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    found = [(m["file"], int(m["line"]), m["kind"]) for m in REPORT.finditer(done.stdout)]
    assert f"Found {len(found)} errors" in done.stdout, done.stdout + done.stderr
    return sorted(found)


def mistakes() -> list[tuple[str, int, str]]:
    """Lines of ``misuse.py`` that say which mistake they are."""
    name = "tests/typing/misuse.py"
    lines = enumerate((ROOT / name).read_text().splitlines(), start=1)
    marked = [(number, line.partition("  # wrong: ")[2]) for number, line in lines]
    return [(name, number, kind) for number, kind in marked if kind]


def test_the_checker_reports_the_mistakes_and_nothing_else():
    assert reported() == mistakes()


def test_the_marker_by_which_checkers_read_the_package_is_shipped():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "py.typed" in data["package-data"]["kdanalysis"]
    assert (ROOT / "kdanalysis" / "py.typed").exists()
