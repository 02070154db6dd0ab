"""Importing kdanalysis costs next to nothing: no heavy package is loaded before it is needed."""

import subprocess
import sys

import pytest

HEAVY = (
    *("torch", "matplotlib", "pandas", "pyarrow", "torchmetrics", "sklearn", "scipy"),
    *("lightning", "transformers"),
)


def loaded(statement: str) -> set[str]:
    """Heavy packages that a fresh interpreter holds after the statement."""
    code = f"{statement}\nimport sys\nprint(*(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_package_loads_nothing_heavy():
    assert loaded("import kdanalysis") == set()


@pytest.mark.parametrize(
    ("statement", "package"),
    [
        ("import kdanalysis; kdanalysis.TopK", "torch"),
        ("import kdanalysis.draw.figure", "matplotlib"),
        ("import kdanalysis.analyzers.base", "pandas"),
    ],
)
def test_control_a_loaded_package_is_seen(statement, package):
    assert package in loaded(statement)


def test_the_look_loads_no_torch():
    assert "torch" not in loaded("import kdanalysis.draw.look, kdanalysis.draw.panels")


def test_tables_need_neither_matplotlib_nor_torchmetrics():
    nouns = loaded("from kdanalysis.analyzers import load_nouns; load_nouns()")
    assert nouns & {"matplotlib", "torchmetrics", "sklearn"} == set()
