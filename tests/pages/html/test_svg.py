"""Inline pictures: nothing but known drawing elements, colours that follow the page."""

import re
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from page_reader import draw

from kdanalysis.draw.drawn import Drawn
from kdanalysis.pages.html.svg import clean_svg

DRAWN = True  # the pictures are looked at

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
EVIL = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
 width="72pt" height="72pt" viewBox="0 0 72 72" onload="alert(1)"><script>alert(1)</script>
 <style>* {color: red}</style><foreignObject><p>x</p></foreignObject><a xlink:href="javascript:x">
 <path d="M0 0"/></a><g onclick="x()"><path d="M0 0" style="fill: #ff0000; stroke: none"/></g>
 <image xlink:href="https://example.org/x.png"/><use xlink:href="#gone"/></svg>"""


def test_only_known_elements_and_attributes_stay():
    clean = ElementTree.fromstring(clean_svg(EVIL, "p"))
    assert [element.tag for element in clean.iter()] == ["svg", "path", "image", "use"]
    assert clean.find("path").attrib == {"d": "M0 0", "fill": "#ff0000", "stroke": "none"}
    assert clean.find("image").attrib == {}
    assert clean.get("width") == "96"  # 72 points are 96 CSS pixels


def cleaned(figure: Figure) -> ElementTree.Element:
    return ElementTree.fromstring(clean_svg(Drawn(lambda: figure).as_bytes("svg"), "p"))


def test_texts_are_texts_in_the_fonts_of_the_page():
    texts = [text for text in cleaned(draw(3, "<b> & title")).iter("text")]
    (title,) = (text for text in texts if text.text == "<b> & title")
    assert title.attrib.keys() == {"font-size", "text-anchor", "x", "y"}
    with mpl.rc_context({"font.family": ["DejaVu Serif"]}):
        (title,) = (text for text in cleaned(draw(3, "t")).iter("text") if text.text == "t")
    assert title.get("font-family").startswith("'DejaVu Serif'")


def test_every_shape_stands_where_matplotlib_drew_it():
    """To a hundredth of a point, whatever is left out or shortened."""
    figure = draw(40, "two\nlines")
    figure.axes[0].set_xlabel("$10^{-1}$")
    raw = ElementTree.fromstring(Drawn(lambda: figure).as_bytes("svg"))
    clean = cleaned(figure)
    shapes = (
        ("tspan", ("x", "y")),
        ("path", ("d",)),
        ("use", ("x", "y")),
        ("text", ("x", "y", "transform")),
    )
    for tag, names in shapes:
        before, after = (
            [one for one in side.iter() if one.tag.endswith(tag)] for side in (raw, clean)
        )
        assert len(before) == len(after) > 0
        for old, new in zip(before, after, strict=True):
            assert places(new, names) == pytest.approx(places(old, names), abs=0.0051)


def places(shape: ElementTree.Element, names: tuple[str, ...]) -> list[float]:
    """Its coordinates, without a turn by nothing; those of a shift are a text's place."""
    given = " ".join(shape.get(name, "") for name in names)
    return [float(n) for n in NUMBER.findall(re.sub(r"rotate\(-?0 [^)]*\)", "", given))]


def fills(figure: Figure) -> list[str]:
    return [element.get("fill") for element in cleaned(figure).iter() if "fill" in element.attrib]


def test_black_and_white_follow_the_page_and_colours_stay():
    figure = Figure(figsize=(2, 2))
    figure.subplots().bar([0, 1, 2], [1, 1, 1], color=["#000000", "#ffffff", "#1c5d99"])
    found = fills(figure)
    assert "#000000" not in found
    assert "#ffffff" not in found
    assert found.count("#1c5d99") == 1
    assert "var(--paper)" in found


def test_black_and_white_cells_of_a_shaded_picture_are_data():
    figure = Figure(figsize=(2, 2))
    axes = figure.subplots()
    axes.pcolormesh([[0.0, 0.5], [0.5, 1.0]], cmap="gray")
    axes.text(0.5, 0.5, "cell", color="#ffffff")
    axes.set_title("title", color="#111111")
    axes.annotate("beside", (1.02, 0.5), xycoords="axes fraction", color="#222222")
    found = fills(figure)
    assert "#000000" in found  # the darkest cell
    assert found.count("#ffffff") == 2  # the lightest cell, and the text on the darkest
    assert "#111111" not in found
    assert "#222222" not in found


def test_white_letters_stay_white():
    figure = Figure(figsize=(2, 2))
    axes = figure.subplots()
    axes.bar([0], [1], color="#1c5d99")
    axes.text(0, 0.5, "on the bar", color="#ffffff")
    assert fills(figure).count("#ffffff") == 1


def test_lines_of_a_grid_follow_the_page_and_bars_of_their_grey_stay():
    figure = Figure(figsize=(2, 2))
    axes = figure.subplots()
    axes.bar([0], [1], color="#bdbdbd", edgecolor="#1c5d99")
    axes.grid(color="#bdbdbd")
    strokes = [element.get("stroke") for element in cleaned(figure).iter()]
    assert "var(--faint)" in strokes
    assert "#bdbdbd" not in strokes
    assert "#bdbdbd" in fills(figure)
