"""Lets a picture say the same in fewer bytes."""

import re
from xml.etree import ElementTree

DECIMALS = 2  # of a point, 1/72 inch
FAMILY = "'DejaVu Sans'"  # stands first among the fonts of page.css
LONG = re.compile(r"-?\d*\.\d{3,}(?:e-?\d+)?")
SHIFT = re.compile(r"(?:translate|rotate)\([^)]*\)")
UNTURNED = re.compile(r"rotate\(-?0 [^)]*\)")
MOVED = re.compile(r"translate\(([-\d.]+)[ ,]+([-\d.]+)\)")
STEP = re.compile(r"\s*([A-Za-z])\s*")
USUAL = {"stroke-dashoffset": "0", "fill-opacity": "1", "stroke-opacity": "1"}
PLACES = {*("d", "points", "viewBox", "x", "y", "width", "height", "cx", "cy", "r", "rx", "ry")}


def compact(root: ElementTree.Element, link: str) -> None:
    """Round to a hundredth of a point, and leave out what is inherited, repeated or usual.

    Args:
        root: a cleaned picture, with presentation attributes and no ``style``.
        link: name of the attribute by which ``use`` refers to what is drawn.
    """
    shared = {element.get("id"): element for element in root.iter() if "id" in element.attrib}
    for element in root.iter():
        shape = shared.get(element.get(link, "")[1:], root)
        for name, value in list(element.attrib.items()):
            inherited = shape is not root and shape.get(name) == value and name != "d"
            if USUAL.get(name) == value or (inherited and name not in ("id", "x", "y")):
                del element.attrib[name]
        if element.tag.endswith("text") or element.tag.endswith("tspan"):
            place_text(element)
        shorten_numbers(element)
    unwrap(root)


def place_text(text: ElementTree.Element) -> None:
    """Drop the page's own font and a turn by nothing; a shift becomes the text's place."""
    if text.get("font-family", FAMILY).startswith(FAMILY):
        text.attrib.pop("font-family", None)
    moved = UNTURNED.sub("", text.get("transform", "")).strip()
    if found := MOVED.fullmatch(moved):
        text.attrib |= {"x": found[1], "y": found[2]}
        moved = ""
    text.attrib.pop("transform", None)
    if moved:
        text.set("transform", moved)


def shorten_numbers(element: ElementTree.Element) -> None:
    """Round coordinates, and write paths without the blanks and letters that they can do without.

    Scales and matrices of images keep every digit.
    """
    for name in PLACES & element.attrib.keys():
        element.set(name, LONG.sub(rounded, element.attrib[name]))
    if "d" in element.attrib:
        element.set("d", STEP.sub(r"\1", element.attrib["d"]))
    if "transform" in element.attrib:
        turned = SHIFT.sub(lambda shift: LONG.sub(rounded, shift[0]), element.attrib["transform"])
        element.set("transform", turned)


def rounded(number: re.Match[str]) -> str:
    """Return the number with two decimals, without zeros that say nothing."""
    text = f"{float(number[0]):.{DECIMALS}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def unwrap(element: ElementTree.Element) -> None:
    """Put the children of groups that say nothing in their place, and drop empty definitions."""
    children = []
    for child in element:
        unwrap(child)
        bare = child.tag.endswith("}g") and not child.attrib
        empty = child.tag.endswith(("}g", "}defs")) and not len(child)
        children += list(child) if bare else [] if empty else [child]
    element[:] = children
