"""Shared settings of the tests."""

import matplotlib
import pytest
from hypothesis import settings

matplotlib.use("Agg")
collect_ignore = ["typing"]  # read by a type checker, never run
settings.register_profile("default", deadline=None, derandomize=True)
settings.load_profile("default")


@pytest.fixture(scope="module", autouse=True)
def pictures(request):
    """Pages whose figures are made but not drawn, which takes long, unless a module says DRAWN.

    Gives what is replaced: one test of a module has it back by ``drawn``.
    """
    from markupsafe import Markup

    from kdanalysis.draw.drawn import Drawn
    from kdanalysis.pages.html import page
    from kdanalysis.pages.html.picture import Picture

    def blank(shown, prefix):
        return Picture(shown.caption, Markup("<svg/>"), None, 480, shown.name, shown.table)

    real = ((page, "make_picture", page.make_picture), (Drawn, "as_bytes", Drawn.as_bytes))
    with pytest.MonkeyPatch.context() as patch:
        if not getattr(request.module, "DRAWN", False):
            patch.setattr(page, "make_picture", blank)
            patch.setattr(Drawn, "as_bytes", lambda drawn, kind: kind.encode())
        yield real


@pytest.fixture
def drawn(pictures, monkeypatch):
    """Draw the pictures of one test."""
    for owner, name, value in pictures:
        monkeypatch.setattr(owner, name, value)
