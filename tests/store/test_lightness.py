"""The store loads no torch until a .pt file is opened."""

import subprocess
import sys

import pytest

MODULES = ["writer", "queue", "run", "inventory", "export", "sources", "sparse", "sparse_writer"]
CODE = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print([name for name in ("torch", "pandas", "matplotlib") if name in sys.modules])
"""


def heavy(*modules):
    arguments = [sys.executable, "-c", CODE, *modules]
    return subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("control", [False, True])
def test_importing_the_store_loads_no_torch(control):
    modules = [f"kdanalysis.store.{name}" for name in MODULES]
    if control:  # the check can fail
        assert heavy(*modules, "torch") == "['torch']"
    else:
        assert heavy(*modules) == "[]"
