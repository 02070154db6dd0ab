"""An adapter whose package is not installed says what to install, in one sentence."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "package"), [("lightning", "lightning"), ("huggingface", "transformers")]
)
def test_the_extra_is_named(module, package):
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        f"try:\n    import kdanalysis.integrations.{module}\n"
        f"except ImportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"pip install 'kdanalysis[{package}]'" in done.stdout
    assert len(done.stdout.splitlines()) == 1
