"""Lets the axes and letters of a picture follow the colours of the page, light or dark."""

import re
from functools import partial
from xml.etree import ElementTree

from kdanalysis.draw.colours import FAINT

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
TRANSLATE = re.compile(r"translate\((-?[\d.]+)[ ,]+(-?[\d.]+)\)")
COLOUR = re.compile(r"(fill|stroke): #([0-9a-f]{6})")
FRAME = ("patch_", "matplotlib.axis", "legend")
SHADED = ("QuadMesh", "PolyQuadMesh", "TriMesh", "image")


def follow_page_colours(root: ElementTree.Element) -> None:
    """Turn near-black into the page's text colour, and white paper into the page's own.

    Inside axes that hold a shaded image black and white may be data: there only the frame, the
    ticks and the labels change, and the text on the cells keeps its contrast.
    """
    for group in root.iter():
        identity = group.get("id", "")
        if identity.startswith("axes_"):
            recolour_axes(group)
        elif identity.startswith("figure_"):
            for child in group:
                if not child.get("id", "").startswith("axes_"):
                    recolour(child)


def recolour_axes(axes: ElementTree.Element) -> None:
    """Recolour all of an axes group, or only what lies beside its cells when they are shaded."""
    shaded = is_shaded(axes)
    for child in axes:
        if not shaded or child.get("id", "").startswith(FRAME) or is_beside(child, axes):
            recolour(child)
        else:
            child.set("style", f"fill: #000000; {child.get('style', '')}")


def is_beside(text: ElementTree.Element, axes: ElementTree.Element) -> bool:
    """Whether a text, such as a title, starts outside the box of the axes."""
    place = next(filter(None, map(start_of, text.iter())), None)
    outline = axes.find("*/{*}path")
    if place is None or outline is None or not text.get("id", "").startswith("text_"):
        return False
    numbers = [float(number) for number in NUMBER.findall(outline.get("d", ""))]
    x, y = place
    across, down = numbers[::2], numbers[1::2]
    return not (min(across) <= x <= max(across) and min(down) <= y <= max(down))


def start_of(element: ElementTree.Element) -> tuple[float, float] | None:
    """Return where a text stands; None for what is no text or says no place."""
    if "x" in element.attrib and element.tag.endswith("}text"):
        return float(element.get("x")), float(element.get("y"))
    found = TRANSLATE.match(element.get("transform", ""))
    return (float(found[1]), float(found[2])) if found else None


def is_shaded(axes: ElementTree.Element) -> bool:
    """Whether a picture or mesh of coloured cells lies in the axes."""
    return any(
        element.get("id", "").startswith(SHADED) or element.tag.endswith("}image")
        for element in axes.iter()
    )


def recolour(group: ElementTree.Element, letters: bool = False) -> None:
    """Rewrite the style of ``group`` and everything below it.

    White letters stay: they are written on something coloured.
    """
    letters = letters or group.get("id", "").startswith("text_")
    if "style" in group.attrib:
        replace = partial(page_colour, letters=letters)
        group.set("style", COLOUR.sub(replace, group.get("style")))
    for child in group:
        recolour(child, letters)


def page_colour(found: re.Match[str], letters: bool) -> str:
    """Return the declaration with black, white and the lines of a grid replaced, others kept."""
    if found[0] == f"stroke: {FAINT}":
        return "stroke: var(--faint)"
    red, green, blue = bytes.fromhex(found[2])
    if found[2] == "ffffff" and not letters:
        return f"{found[1]}: var(--paper)"
    if max(red, green, blue) < 0x60 and max(red, green, blue) - min(red, green, blue) < 8:
        return f"{found[1]}: currentColor"
    return found[0]
