"""The layers import downwards only: the table of the architecture, read from the sources."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "kdanalysis"

ALGEBRA = {"partition", "decompose", "slopes", "regions", "cases"}
PLAIN = {"numpy", "pandas"}
# layer: what of the project it may import, and which heavy packages
LAYERS: dict[str, tuple[set[str], set[str]]] = {
    "partition": (set(), {"torch"}),
    "decompose": (set(), {"torch"}),
    "slopes": (set(), {"torch"}),
    "regions": (set(), {"torch"}),
    "cases": ({"partition"}, {"torch"}),
    "losses": (ALGEBRA, {"torch"}),
    "gradients": (ALGEBRA, {"torch", *PLAIN}),
    "store": (set(), {"numpy", "pyarrow", "torch", "safetensors", "filelock"}),
    "capture": (
        ALGEBRA | {"gradients", "losses", "store"},
        {"torch", "numpy", "pyarrow"},
    ),
    "stones": ({"capture", "losses"}, {"torch"}),
    "analysis": (ALGEBRA | {"gradients"}, {"torch", "torchmetrics", *PLAIN}),
    "figures": (set(), {"matplotlib", "seaborn", *PLAIN}),
    "messages": (set(), {"torch"}),
    "ranks": ({"messages"}, {"torch"}),
    "integrations": ({"capture", "losses"}, {"torch", "lightning", "transformers"}),
}
HEAVY = {  # without jaxtyping, which only annotates
    *("torch", "numpy", "pandas", "matplotlib", "seaborn", "pyarrow", "torchmetrics"),
    *("sklearn", "scipy", "safetensors", "filelock", "jinja2", "typer", "rich", "PIL"),
    *("lightning", "transformers"),
}
TORCH_AT_THE_EDGE = {"store", "ranks"}  # only inside functions


def sources(layer: str) -> list[Path]:
    folder, module = PACKAGE / layer, PACKAGE / f"{layer}.py"
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [module] * module.exists()


def imported(source: str) -> set[str]:
    """Dotted names that a source imports, wherever the statement stands."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the layer"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imported_at_once(source: str) -> set[str]:
    """Top packages that importing the source loads: statements outside functions."""
    tree = ast.parse(source)
    inner = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for child in ast.walk(node)
    }
    statements = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in inner
    ]
    return {name.split(".")[0] for name in imported("\n".join(statements))}


def trespasses(layer: str, source: str) -> set[str]:
    """Imports that the table does not allow the layer."""
    own, packages = LAYERS[layer]
    found = set()
    for name in imported(source):
        top, _, rest = name.partition(".")
        if top == "kdanalysis":
            below = rest.split(".")[0]
            if below not in own | {layer, "__version__"}:
                found.add(name)
        elif top in HEAVY - packages:
            found.add(name)
    return found


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_what_the_table_allows(layer):
    files = sources(layer)
    found = {str(f.relative_to(PACKAGE)): trespasses(layer, f.read_text()) for f in files}
    assert {file: names for file, names in found.items() if names} == {}


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_is_there(layer):
    assert sources(layer)


@pytest.mark.parametrize("layer", sorted(TORCH_AT_THE_EDGE))
def test_torch_is_loaded_only_inside_functions(layer):
    assert [f.name for f in sources(layer) if "torch" in imported_at_once(f.read_text())] == []


@pytest.mark.parametrize(
    ("layer", "line"),
    [
        ("analysis", "from kdanalysis.figures.style import GREY"),
        ("analysis", "from kdanalysis.losses import KD"),
        ("analysis", "def f():\n    import pyarrow.parquet"),
        ("figures", "import torch"),
        ("figures", "from kdanalysis.analysis.base import Analyzer"),
        ("figures", "from kdanalysis import analysis"),
        ("partition", "import kdanalysis.losses"),
        ("losses", "from kdanalysis.capture.recorder import Recorder"),
        ("store", "import pandas"),
        ("integrations", "from kdanalysis.run import open_run"),
    ],
)
def test_control_a_forbidden_import_is_seen(layer, line):
    assert trespasses(layer, line)


def test_control_imports_inside_functions_do_not_count_as_loaded():
    inside, outside = "def f():\n    import torch", "import torch.nn"
    assert imported_at_once(inside) == set()
    assert imported_at_once(outside) == {"torch"}


def test_allowed_imports_are_not_trespasses():
    assert trespasses("analysis", "from kdanalysis.gradients.logit import gram") == set()
    assert trespasses("figures", "import matplotlib.pyplot as plt\nimport math") == set()
