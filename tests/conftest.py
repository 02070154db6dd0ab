"""Shared settings of the tests."""

import matplotlib
import pytest
from hypothesis import settings

matplotlib.use("Agg")
collect_ignore = ["typing"]  # read by a type checker, never run
settings.register_profile("default", deadline=None, derandomize=True)
settings.load_profile("default")


@pytest.fixture
def blank_pictures(monkeypatch):
    """Pages whose figures are made but not drawn, for tests of their texts: drawing takes long."""
    from markupsafe import Markup

    from kdanalysis.draw.drawn import Drawn
    from kdanalysis.pages.html import page
    from kdanalysis.pages.html.picture import Picture

    def blank(shown, prefix):
        return Picture(shown.caption, Markup("<svg/>"), None, 480, shown.name, shown.table)

    monkeypatch.setattr(page, "make_picture", blank)
    monkeypatch.setattr(Drawn, "as_bytes", lambda drawn, kind: kind.encode())
