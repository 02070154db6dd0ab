"""A figure is laid out once, and its files, equal byte for byte, come from that layout."""

import io
import re

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from kdanalysis.draw.drawn import DOTS_PER_INCH, Drawn
from kdanalysis.draw.look import new_axes, side_legend

DRAWN = True  # the pictures are looked at


def drawing():
    ax = new_axes()
    ax.plot([0, 1], [0, 1], marker="o", label="a line")
    ax.bar([0, 1, 2], [1, 2, 3])
    ax.pcolormesh(np.ones((3, 4)))
    ax.set(xlabel="x", ylabel="a label")
    side_legend(ax)
    return ax.figure


def size_of(svg: bytes) -> list[float]:
    """Width and height in points."""
    return [float(found) for found in re.findall(rb'(?:width|height)="([\d.]+)pt"', svg)[:2]]


def test_equal_figures_are_equal_files(tmp_path):
    kinds = ("svg", "png", "pdf")
    for name in ("one.v1", "two"):
        Drawn(drawing).write(tmp_path / name, kinds)
    for kind in kinds:
        first = (tmp_path / f"one.v1.{kind}").read_bytes()
        assert first == (tmp_path / f"two.{kind}").read_bytes()
        assert b"Date" not in first
        assert b"<dc:date>" not in first


def test_one_layout_serves_the_page_and_every_file(monkeypatch):
    count = []
    lay_out = ConstrainedLayoutEngine.execute
    monkeypatch.setattr(
        ConstrainedLayoutEngine, "execute", lambda self, fig: count.append(lay_out(self, fig))
    )
    drawn = Drawn(drawing)
    for kind in ("svg", "png", "pdf", "svg"):
        drawn.as_bytes(kind)
    assert len(count) == 1
    assert drawn.as_bytes("svg") is drawn.as_bytes("svg")


def test_the_layout_is_the_one_that_matplotlib_makes_of_each_file():
    drawn, plain = Drawn(drawing), io.BytesIO()
    drawing().savefig(plain, format="svg", bbox_inches="tight")
    ours = size_of(drawn.as_bytes("svg"))
    assert ours == pytest.approx(size_of(plain.getvalue()), abs=2)  # points
    png = Image.open(io.BytesIO(drawn.as_bytes("png")))
    assert list(png.size) == pytest.approx([p / 72 * DOTS_PER_INCH for p in ours], abs=1)


def test_texts_stay_texts_and_keep_the_fonts_of_the_user():
    with mpl.rc_context({"font.family": ["DejaVu Serif"]}):
        svg = Drawn(drawing).as_bytes("svg").decode()
    assert re.search(r"<text[^>]*DejaVu Serif[^>]*>a label</text>", svg)


def test_marks_are_lines_markers_bars_and_cells():
    assert Drawn(drawing).marks == 1 + 2 + 3 + 12
