"""A matplotlib figure as a clean piece of inline SVG that can live in any page."""

import re
from xml.etree import ElementTree

from kdanalysis.pages.html.compact import compact
from kdanalysis.pages.html.ink import SHADED, follow_page_colours

SVG = "http://www.w3.org/2000/svg"
HREF = "{http://www.w3.org/1999/xlink}href"
SHAPES = {"path", "use", "rect", "circle", "ellipse", "line", "polygon", "polyline"}
ALLOWED_TAGS = SHAPES | {
    *("svg", "g", "defs", "clipPath", "image", "text", "tspan"),
    *("linearGradient", "radialGradient", "stop", "pattern"),
}
ALLOWED_ATTRIBUTES = {
    *("id", "d", "x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "rx", "ry", "width", "height"),
    *("points", "transform", "viewBox", "clip-path", "clip-rule", "fill", "fill-opacity"),
    *("fill-rule", "stroke", "stroke-width", "stroke-opacity", "stroke-linecap", "opacity"),
    *("stroke-linejoin", "stroke-dasharray", "stroke-dashoffset", "stroke-miterlimit"),
    *("preserveAspectRatio", "offset", "stop-color", "stop-opacity", "gradientUnits"),
    *("gradientTransform", "patternUnits", "patternTransform", "font-size", "font-family"),
    *("font-style", "font-weight", "text-anchor", "image-rendering", "shape-rendering", HREF),
}
KNOWN_TAGS = {f"{{{SVG}}}{name}" for name in ALLOWED_TAGS}
REFERENCE = re.compile(r"url\(#([^)]+)\)")


def clean_svg(svg: bytes | str, prefix: str) -> str:
    """Return a figure as markup without scripts, styles, links or ids that another could share.

    Only known elements and attributes are kept. ``style`` becomes presentation attributes, which a
    Content-Security-Policy without ``unsafe-inline`` lets through.

    Args:
        svg: as matplotlib draws it.
        prefix: keeps the ids apart from those of other figures.
    """
    root = ElementTree.fromstring(svg)
    follow_page_colours(root)
    close_gaps(root)
    keep_known(root)
    rename_ids(root, prefix)
    compact(root, HREF)
    root.attrib.pop("height", None)
    root.attrib |= {
        "width": f"{float(root.attrib['width'].removesuffix('pt')) * 4 / 3:.0f}",  # CSS pixels
        "fill": "currentColor",
        "stroke-linejoin": "round",
        "stroke-linecap": "butt",
        "aria-hidden": "true",
    }
    strip_namespace(root)
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)


def close_gaps(root: ElementTree.Element) -> None:
    """Draw coloured cells without smoothing, which would let the page shine through their edges."""
    for group in root.iter():
        if group.get("id", "").startswith(SHADED):
            group.set("shape-rendering", "crispEdges")


def keep_known(element: ElementTree.Element) -> None:
    """Drop unknown elements and attributes, everywhere below ``element``; unfold ``style``."""
    element.attrib |= parse_style(element.attrib.pop("style", ""))
    for name in set(element.attrib) - ALLOWED_ATTRIBUTES:
        del element.attrib[name]
    if not is_local(element):
        del element.attrib[HREF]
    for child in list(element):
        if child.tag in KNOWN_TAGS:
            keep_known(child)
        else:
            element.remove(child)


def is_local(element: ElementTree.Element) -> bool:
    """Whether the element links to nothing, to its own picture, or to an embedded PNG."""
    return element.get(HREF, "#").startswith(("#", "data:image/png;base64,"))


def parse_style(style: str) -> dict[str, str]:
    """Split ``fill: red; stroke: none`` into its properties."""
    pairs = (part.partition(":") for part in style.split(";") if ":" in part)
    return {name.strip(): value.strip() for name, _, value in pairs}


def rename_ids(root: ElementTree.Element, prefix: str) -> None:
    """Give every id in use a name of this figure, and drop the ids nothing refers to."""
    used = set()
    for element in root.iter():
        used |= {found for value in element.attrib.values() for found in REFERENCE.findall(value)}
        used |= {element.get(HREF, "")[1:]} if element.get(HREF, "").startswith("#") else set()
    found = [element.get("id") for element in root.iter() if element.get("id") in used]
    order = (*found, *sorted(used.difference(found)))
    names = {name: f"{prefix}-{number}" for number, name in enumerate(order)}
    for element in root.iter():
        identity = element.attrib.pop("id", None)
        if identity in names:
            element.set("id", names[identity])
        for key, value in list(element.attrib.items()):
            if key == HREF and value.startswith("#"):
                element.set(key, f"#{names[value[1:]]}")
            elif "url(" in value:
                element.set(key, REFERENCE.sub(lambda found: f"url(#{names[found[1]]})", value))


def strip_namespace(root: ElementTree.Element) -> None:
    """Write plain HTML5 names: inside a page the parser knows the namespace of ``svg``."""
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.text = element.text if element.tag in {"text", "tspan"} else None
        element.tail = None
        if HREF in element.attrib:
            element.set("href", element.attrib.pop(HREF))
