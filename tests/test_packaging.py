"""The lists of dependencies say the same, licences too; wheel and sdist hold the package alone."""

import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAME = re.compile(r"^[A-Za-z0-9-]+")


def pins(lines: list[str]) -> dict[str, str]:
    return dict(line.split("==") for line in lines if "==" in line)


CONSTRAINTS = pins((ROOT / "constraints.txt").read_text().split("\n"))
CONDA = pins(re.findall(r"- (\S+==\S+)", (ROOT / "environment.yml").read_text()))
EXTRAS = PROJECT["optional-dependencies"]
SOURCES = {
    str(path.relative_to(ROOT))
    for path in (ROOT / "kdanalysis").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
}
RANGES = [*PROJECT["dependencies"], *chain(*EXTRAS.values())]


def test_conda_users_get_the_pinned_set():
    assert CONDA == CONSTRAINTS


def test_every_dependency_is_pinned_and_nothing_else_is():
    assert {NAME.match(entry).group() for entry in RANGES} == set(CONSTRAINTS)


@pytest.mark.parametrize("entry", RANGES)
def test_the_pin_lies_in_the_range(entry):
    name = NAME.match(entry).group()
    pinned = tuple(int(part) for part in CONSTRAINTS[name].split("."))
    for operator, bound in re.findall(r"(>=|<)([0-9.]+)", entry):
        bound = tuple(int(part) for part in bound.split("."))
        assert pinned >= bound if operator == ">=" else pinned < bound


def test_the_version_is_the_packages():
    import kdanalysis

    assert PROJECT["version"] == kdanalysis.__version__


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Wheel and sdist, of a copy with some of what is not to be in them."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "tests/test_door.py"):
        (source / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    shutil.copytree(
        ROOT / "kdanalysis", source / "kdanalysis", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(ROOT / "notebooks" / "regions", source / "notebooks" / "regions")
    build = "from setuptools import build_meta as b; b.build_wheel('out'); b.build_sdist('out')"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    return source / "out"


def test_a_wheel_holds_the_files_of_the_package_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
    assert {Path(name).suffix for name in SOURCES} > {".py", ".j2", ".css", ".js"}
    assert names == SOURCES


def test_an_sdist_holds_the_package_and_what_builds_it(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as file:
        names = {m.name.partition("/")[2] for m in file.getmembers() if m.isfile()}
    about = {"pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "PKG-INFO", "setup.cfg"}
    assert {name for name in names if ".egg-info/" not in name} == SOURCES | about


def test_licences_are_those_of_the_installed_packages():
    page = runpy.run_path(str(ROOT / "scripts" / "list_licences.py"))["page"]
    assert page() == (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
