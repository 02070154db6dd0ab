"""The three lists of dependencies say the same, and the scripts use them."""

import re
import tomllib
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
OWN = {"trl"}  # comes with those who train with it: nothing here installs it, so no pin is tried
RANGES = [*PROJECT["dependencies"], *chain(*(EXTRAS[name] for name in EXTRAS if name not in OWN))]


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
