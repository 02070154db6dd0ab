"""The page: template, style and script united in one file that asks the network for nothing."""

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from kdanalysis.pages.html.picture import make_picture
from kdanalysis.pages.html.section import Section
from kdanalysis.pages.html.table import make_table


def build(sections: Sequence[Section], title: str, facts: Mapping[str, object]) -> str:
    """Return one self-contained HTML page; equal input gives equal bytes.

    Texts from users, such as class names, are escaped: they show as they are written.

    Args:
        sections: what to show, in this order.
        title: heading of the page.
        facts: what the numbers come from, as (label, value) pairs under the heading.

    Raises:
        ValueError: two sections share a name.
    """
    twice = [name for name, n in Counter(s.name for s in sections).items() if n > 1]
    if twice:
        raise ValueError(f"two sections are named {twice[0]!r}: a name is an anchor of the page")
    style, script = read("page.css"), read("page.js")
    return (
        make_environment()
        .from_string(read("page.html.j2"))
        .render(
            title=title,
            facts={label: fact_text(value) for label, value in facts.items()},
            sections=[show(place, section) for place, section in enumerate(sections)],
            style=Markup(style),
            script=Markup(script),
            policy=content_policy(style, script),
        )
    )


def make_environment() -> Environment:
    """Escape everything, and refuse a name that the template misspells."""
    return Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def read(name: str) -> str:
    """Return a file that is installed beside this module."""
    return resources.files("kdanalysis.pages.html").joinpath(name).read_text(encoding="utf-8")


def show(place: int, section: Section) -> dict[str, object]:
    """Return what the template writes of the section at a place of the page."""
    return {
        "name": section.name,
        "title": section.title,
        "text": section.text,
        "number": section.number,
        "tiles": section.tiles,
        "pictures": [
            make_picture(shown, f"_{place}-{i}")  # no section's name starts so
            for i, shown in enumerate(section.figures)
        ],
        "tables": [make_table(caption, frame) for caption, frame in section.tables],
    }


def fact_text(value: object) -> str:
    """Write a list as its members, anything else as it prints."""
    if isinstance(value, (list, tuple)):
        return ", ".join(str(member) for member in value)
    return str(value)


def content_policy(style: str, script: str) -> str:
    """Allow this style, this script and embedded images; nothing else, and no request."""
    return (
        f"default-src 'none'; style-src '{fingerprint(style)}'; "
        f"script-src '{fingerprint(script)}'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def fingerprint(text: str) -> str:
    """Return the SHA-256 source expression of an inline block."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")
