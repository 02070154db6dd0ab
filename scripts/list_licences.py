"""Write docs/licences.md: the licence of every direct dependency, as its own metadata say it.

python scripts/list_licences.py > docs/licences.md
"""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
HEAD = """\
# Licences

kdanalysis is under Apache-2.0. It needs the packages below and contains none of them. What is
written here is what their metadata say, of the versions in `constraints.txt`.
Written by `python scripts/list_licences.py > docs/licences.md`.

| package | needed for | licence |
|---|---|---|
"""
ABSENT = {  # of what the tests do not install, from its project's page
    "jupyterlab": "BSD License",
}


def needed() -> dict[str, str]:
    """Return what every direct dependency is needed for, by its name: all of it, or extras."""
    lists = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    found: dict[str, list[str]] = {}
    for extra, entries in lists.items():
        for entry in entries:
            name = re.match(r"[\w-]+", entry).group()
            found.setdefault(name, []).append(f"`{extra}`" if extra else "everything")
    return {name: ", ".join(extras) for name, extras in found.items()}


def licence(name: str) -> str:
    """Return a package's licence: the expression in its metadata, else classifiers, else a word.

    Raises:
        ValueError: it is not installed and not known, or says nothing of its licence.
    """
    try:
        said = metadata(name)
    except PackageNotFoundError:
        if name in ABSENT:
            return ABSENT[name]
        raise ValueError(f"{name} is not installed, so its licence cannot be read") from None
    classes = [
        one.rpartition(":: ")[2]
        for one in said.get_all("Classifier") or []
        if one.startswith("License ::")
    ]
    words = (said.get("License") or "").partition("\n")[0]
    found = said.get("License-Expression") or ", ".join(classes) or words
    if not found:
        raise ValueError(f"the metadata of {name} say nothing of its licence")
    return found


def page() -> str:
    """Return the page."""
    return HEAD + "".join(
        f"| {name} | {why} | {licence(name)} |\n" for name, why in needed().items()
    )


if __name__ == "__main__":
    print(page(), end="")
