"""Shared settings of the tests."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from typing import Any

import matplotlib
import pytest
from beartype import BeartypeConf
from beartype.claw import beartype_packages
from filelock import FileLock
from hypothesis import settings
from jaxtyping import install_import_hook

ROOT = Path(__file__).parents[1]


def check_types() -> None:
    """Check arguments against annotations; shapes, at forty times the cost, where there are any."""
    files = [path for path in ROOT.glob("kdanalysis/**/*.py") if "jaxtyping" in path.read_text()]
    shaped = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    beartype_packages("kdanalysis", conf=BeartypeConf(claw_is_pep526=False))
    install_import_hook(shaped, "shapes.check")


check_types()
matplotlib.use("Agg")
collect_ignore = ["typing"]  # read by a type checker, never run
settings.register_profile("default", deadline=None, derandomize=True)
settings.load_profile("default")


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """Make in a folder of its own what is dear, once for all processes that test.

    Gives the folder and what was made of it.
    """
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def made(name: str, make: Callable[[Path], Any]) -> tuple[Path, Any]:
        folder, kept = root / name, root / f"{name}.pickle"
        with FileLock(root / f"{name}.lock"):
            if not kept.exists():
                rmtree(folder, ignore_errors=True)  # of one that failed
                folder.mkdir()
                kept.write_bytes(pickle.dumps(make(folder)))
        return folder, pickle.loads(kept.read_bytes())

    return made


@pytest.fixture(autouse=True)
def losses_of_the_package():
    """Losses that a test defines are unheard of again after it."""
    from kdanalysis.losses.registry import KINDS

    before = {*KINDS}
    yield
    for name in {*KINDS} - before:
        if not KINDS[name].__module__.startswith("kdanalysis."):
            del KINDS[name]


@pytest.fixture(scope="module", autouse=True)
def pictures(request):
    """Pages whose figures are made but not drawn, which takes long, unless a module says DRAWN.

    Gives what is replaced: one test of a module has it back by ``drawn``.
    """
    from markupsafe import Markup

    from kdanalysis.draw.drawn import Drawn
    from kdanalysis.pages.html import page
    from kdanalysis.pages.html.picture import Picture

    def blank(asked, others=()):
        svg = Markup("<svg/>")
        for one, *_ in asked:
            assert one.refusal or one.figure
        made = [Picture(one.caption, svg, None, 480, 320, one.name, one.table) for one, *_ in asked]
        return made, [task() for task in others]

    real = ((page, "make_pictures", page.make_pictures), (Drawn, "as_bytes", Drawn.as_bytes))
    with pytest.MonkeyPatch.context() as patch:
        if not getattr(request.module, "DRAWN", False):
            patch.setattr(page, "make_pictures", blank)
            patch.setattr(Drawn, "as_bytes", lambda drawn, kind: kind.encode())
        yield real


@pytest.fixture
def drawn(pictures, monkeypatch):
    """Draw the pictures of one test."""
    for owner, name, value in pictures:
        monkeypatch.setattr(owner, name, value)
