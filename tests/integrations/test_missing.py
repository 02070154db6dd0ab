"""An adapter whose package is not installed says what to install, in one sentence."""

import sys
from importlib import import_module

import pytest


@pytest.mark.parametrize(
    ("module", "package"), [("lightning", "lightning"), ("huggingface", "transformers")]
)
def test_the_extra_is_named(module, package, monkeypatch):
    adapter = f"kdanalysis.integrations.{module}"
    for name in [name for name in sys.modules if name.startswith((adapter, f"{package}."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError) as caught:
        import_module(adapter)
    assert f"pip install 'kdanalysis[{package}]'" in str(caught.value)
    assert "\n" not in str(caught.value)
