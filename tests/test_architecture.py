"""The house: rooms, floors and who may import whom, read from the sources."""

import ast
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "kdanalysis"
DOOR = PACKAGE / "__init__.py"  # hands on names of all rooms
PLAIN = {"numpy", "pandas"}
FILES = {"numpy", "ml_dtypes", "pyarrow", "torch", "safetensors", "filelock"}
# room: the rooms below that it may import, and which heavy packages (None: any)
ROOMS: dict[str, tuple[set[str], set[str] | None]] = {
    "core": (set(), {"torch", "numpy", "numba"}),
    "store": ({"core"}, FILES),
    "data": (set(), {"torch", "numpy", "pyarrow", "sklearn", "PIL", "matplotlib"}),
    "draw": ({"core"}, {"matplotlib", *PLAIN}),
    "networks": ({"core"}, {"torch"}),
    "losses": ({"core"}, {"torch"}),
    "analyzers": ({"core", "losses", "draw"}, {"torch", "matplotlib", *PLAIN}),
    "capture": ({"core", "networks", "losses", "store"}, {"torch", "numpy", "pyarrow"}),
    "stones": ({"core", "networks", "losses"}, {"torch"}),
    "studies": (
        {"analyzers", "losses", "store", "stones", "capture", "core", "draw"},
        {"torch", *PLAIN},
    ),
    "integrations": (
        {"capture", "networks", "losses", "core"},
        {"torch", "lightning", "transformers", "torchmetrics"},
    ),
    "training": (
        {"capture", "stones", "analyzers", "data", "networks", "losses", "store", "core"},
        {"torch", *PLAIN},
    ),
    "pages": (
        {"studies", "analyzers", "draw", "training", "data", "stones", "losses", "core"},
        None,
    ),
    "cli": (
        {"pages", "studies", "training", "analyzers", "data", "store", "losses", "core", "draw"},
        None,
    ),
}
HEAVY = {  # without jaxtyping, which only annotates
    *("torch", "numpy", "numba", "pandas", "matplotlib", "pyarrow", "torchmetrics"),
    *("sklearn", "scipy", "ml_dtypes", "safetensors", "filelock", "jinja2", "typer", "rich", "PIL"),
    *("lightning", "transformers"),
}
TORCH_AT_THE_EDGE = ("store", "core/ranks.py", "core/arguments.py", "core/wording.py")
LONGEST = 250  # lines of a file
HIGHEST = 7  # floors


def sources(room: str = ".") -> list[Path]:
    place = PACKAGE / room
    return sorted(place.rglob("*.py")) if place.is_dir() else [place] * place.exists()


def imported(source: str) -> set[str]:
    """Dotted names that a source imports, wherever the statement stands."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the room"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imported_at_once(source: str) -> set[str]:
    """Names that importing the source loads: statements outside functions and type checks."""
    tree = ast.parse(source)
    lazy = (ast.FunctionDef, ast.If)
    inner = {
        id(child) for node in ast.walk(tree) if isinstance(node, lazy) for child in ast.walk(node)
    }
    statements = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in inner
    ]
    return imported("\n".join(statements))


def trespasses(room: str, source: str) -> set[str]:
    """Imports that the table does not allow the room."""
    below, packages = ROOMS[room]
    found = set()
    for name in imported(source):
        top, _, rest = name.partition(".")
        if top == "kdanalysis":
            if rest.split(".")[0] not in below | {room, "__version__"}:
                found.add(name)
        elif packages is not None and top in HEAVY - packages:
            found.add(name)
    return found


def floor(room: str) -> int:
    """One above the highest room that the table lets it import."""
    return 1 + max(map(floor, ROOMS[room][0]), default=0)


@cache
def module_of(name: str) -> Path | None:
    """The file of the package that an imported name stands in or for."""
    place = PACKAGE.parent.joinpath(*name.split("."))
    for file in (place.with_suffix(".py"), place / "__init__.py"):
        if file.exists():
            return file
    parent = name.rpartition(".")[0]
    return module_of(parent) if parent else None


def arrows(file: Path) -> set[Path]:
    """Files of the package that a file imports, in functions and for types too; not the door."""
    names = {name for name in imported(file.read_text()) if name.startswith("kdanalysis.")}
    return {module_of(name) for name in names} - {file, None, DOOR}


def circle(graph: dict[Path, set[Path]]) -> list[Path]:
    """Files that load each other in a circle; none if it is a house."""
    left = dict(graph)
    while free := [file for file, below in left.items() if not below & left.keys()]:
        for file in free:
            del left[file]
    return sorted(left)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_the_table_allows(room):
    found = {str(f.relative_to(PACKAGE)): trespasses(room, f.read_text()) for f in sources(room)}
    assert {file: names for file, names in found.items() if names} == {}


def test_the_table_is_the_house():
    there = {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert there == {*ROOMS, "__init__.py", "__main__.py", "py.typed"}


def test_the_house_has_seven_floors_at_most():
    assert max(map(floor, ROOMS)) <= HIGHEST


def test_no_files_import_each_other_in_a_circle():
    assert circle({file: arrows(file) for file in sources() if file != DOOR}) == []


def test_files_are_short():
    lengths = {str(f.relative_to(PACKAGE)): f.read_text().count("\n") for f in sources()}
    assert {file: lines for file, lines in lengths.items() if lines > LONGEST} == {}


@pytest.mark.parametrize("room", TORCH_AT_THE_EDGE)
def test_torch_is_loaded_only_inside_functions(room):
    loaded = {f.name: imported_at_once(f.read_text()) for f in sources(room)}
    assert loaded
    assert [
        f for f, names in loaded.items() if any(n.split(".")[0] == "torch" for n in names)
    ] == []


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("analyzers", "from kdanalysis.studies.run import open_run"),
        ("analyzers", "def f():\n    import pyarrow.parquet"),
        ("draw", "import torch"),
        ("draw", "from kdanalysis.analyzers.base import Analyzer"),
        ("draw", "from kdanalysis import analyzers"),
        ("core", "import kdanalysis.losses"),
        ("losses", "from kdanalysis.capture.recorder import Recorder"),
        ("store", "import pandas"),
        ("integrations", "from kdanalysis.studies.run import open_run"),
    ],
)
def test_control_a_forbidden_import_is_seen(room, line):
    assert trespasses(room, line)


def test_control_imports_inside_functions_do_not_count_as_loaded():
    inside, outside = "def f():\n    import torch", "import torch.nn"
    assert imported_at_once(inside) == set()
    assert imported_at_once(outside) == {"torch.nn"}


def test_control_a_circle_is_seen():
    a, b, c = (Path(name) for name in "abc")
    assert circle({a: {b}, b: {a}, c: {a}}) == [a, b, c]
    assert circle({a: {b}, b: set(), c: {a, b}}) == []


def test_allowed_imports_are_not_trespasses():
    assert trespasses("analyzers", "from kdanalysis.core.gram import gram") == set()
    assert trespasses("draw", "import matplotlib.pyplot as plt\nimport math") == set()
