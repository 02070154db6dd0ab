"""The public door: type checkers see the names that are there."""

import ast
from pathlib import Path

import kdanalysis as kd

ROOT = Path(__file__).parents[1]


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
