"""The public door: type checkers see the names that are there, and examples come in by it."""

import ast
import json
import re
from importlib import import_module
from pathlib import Path

import pytest

import kdanalysis as kd

ROOT = Path(__file__).parents[1]
DOORS = ("kdanalysis", "kdanalysis.data", "kdanalysis.networks.zoo", "kdanalysis.training")
INSIDE = {  # measures of a part that stands behind the door
    "scripts/measures/parameter.py": {
        # gradients at layers without the recorder around them
        "kdanalysis.core.parameters.layer_grams",
        "kdanalysis.networks.names.find_layers",
    },
    "scripts/measures/wide.py": {
        # gradients at layers without the recorder around them
        "kdanalysis.core.parameters.layer_grams",
        "kdanalysis.networks.names.find_layers",
    },
    "scripts/measures/reading.py": {
        # a run to read, without a training
        "kdanalysis.store.info.RunInfo",
        "kdanalysis.store.writer.PartWriter",
    },
    "scripts/measures/store.py": {
        # the writer's speed without a training
        "kdanalysis.store.info.RunInfo",
        "kdanalysis.store.writer.PartWriter",
    },
}
SCRIPTS = sorted((ROOT / "scripts").rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def seen_by_checkers() -> dict[str, str]:
    """Public names that ``if TYPE_CHECKING`` imports, and the module each comes from."""
    tree = ast.parse((ROOT / "kdanalysis" / "__init__.py").read_text())
    (block, *_) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.asname: node.module for node in imports for alias in node.names if alias.asname}


def test_type_checkers_see_every_name_where_it_lives():
    seen, loaded = seen_by_checkers(), kd._HOMES
    assert sorted(loaded.keys() - seen.keys()) == [], "not in the block `if TYPE_CHECKING`"
    assert seen == loaded


def test_every_name_is_there():
    assert [name for name in kd.__all__ if not hasattr(kd, name)] == []
    assert dir(kd) == sorted(kd.__all__)


def behind(source: str) -> set[str]:
    """Names that a source imports from behind the public doors."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name not in DOORS}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    ours = {name for name in found if name.split(".")[0] == "kdanalysis"}
    return {name for name in ours if not is_public(name)}


def is_public(name: str) -> bool:
    """Whether a door lists it, or an integration holds it."""
    home, _, last = name.rpartition(".")
    if home.rpartition(".")[0] == "kdanalysis.integrations":
        return not last.startswith("_")
    return home in DOORS and last in import_module(home).__all__


def python_blocks(text: str) -> str:
    """The Python code of a Markdown text."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.M | re.S))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_come_in_by_the_door(path):
    inside = INSIDE.get(str(path.relative_to(ROOT)), set())
    assert behind(path.read_text()) == inside


def code_cells(notebook: str) -> str:
    """The code of a notebook, without the lines that are commands to it."""
    cells = [cell for cell in json.loads(notebook)["cells"] if cell["cell_type"] == "code"]
    lines = "\n".join("".join(cell["source"]) for cell in cells).split("\n")
    return "\n".join(line for line in lines if not line.startswith(("%", "!")))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_come_in_by_the_door(path):
    code = code_cells(path.read_text(encoding="utf-8"))
    assert "import kdanalysis as kd" in code
    assert behind(code) == set()


def test_the_readme_comes_in_by_the_door():
    code = python_blocks((ROOT / "README.md").read_text())
    assert "import kdanalysis as kd" in code
    assert behind(code) == set()


@pytest.mark.parametrize(
    "line",
    [
        "import kdanalysis.pages.teacher",
        "from kdanalysis import pages",
        "from kdanalysis.data import images",
        "from kdanalysis.losses import KD",
        "def f():\n    from kdanalysis.integrations import lightning",
    ],
)
def test_control_a_way_round_the_door_is_seen(line):
    assert behind(line)
