"""Inline pictures: nothing but known drawing elements, colours that follow the page."""

from xml.etree import ElementTree

from matplotlib.figure import Figure
from page_reader import draw

from kdanalysis.pages.html.svg import clean_svg, count_marks, draw_svg

EVIL = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
 width="72pt" height="72pt" viewBox="0 0 72 72" onload="alert(1)"><script>alert(1)</script>
 <style>* {color: red}</style><foreignObject><p>x</p></foreignObject><a xlink:href="javascript:x">
 <path d="M0 0"/></a><g onclick="x()"><path d="M0 0" style="fill: #ff0000; stroke: none"/></g>
 <image xlink:href="https://example.org/x.png"/><use xlink:href="#gone"/></svg>"""


def test_only_known_elements_and_attributes_stay():
    root = ElementTree.fromstring(EVIL)
    clean = ElementTree.fromstring(clean_svg(root, "p"))
    assert [element.tag for element in clean.iter()] == ["svg", "g", "path", "image", "use"]
    assert clean.find("g/path").attrib == {"d": "M0 0", "fill": "#ff0000", "stroke": "none"}
    assert clean.find("image").attrib == {}
    assert clean.get("width") == "96"  # 72 points are 96 CSS pixels


def test_letters_are_not_counted_as_marks():
    few, many = (
        count_marks(draw_svg(draw(3, label))) for label in ("a", "a title of many letters")
    )
    assert few == many


def test_points_are_counted_as_marks():
    figure, more = Figure(), Figure()
    for drawn, points in ((figure, 3), (more, 103)):
        drawn.subplots().scatter(range(points), [0] * points).axes.set_xticks([])
    assert count_marks(draw_svg(more)) - count_marks(draw_svg(figure)) == 100


def fills(figure: Figure) -> list[str]:
    clean = ElementTree.fromstring(clean_svg(draw_svg(figure), "p"))
    return [element.get("fill") for element in clean.iter() if "fill" in element.attrib]


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
