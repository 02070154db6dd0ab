"""The page: template, style and script united in one file that asks the network for nothing."""

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib import resources
from itertools import groupby, islice
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from kdanalysis.core.wording import LARGE, TIMES
from kdanalysis.draw.glyphs import tell_lacking
from kdanalysis.draw.look import Figure
from kdanalysis.pages.html.columns import in_columns
from kdanalysis.pages.html.picture import Picture, make_pictures
from kdanalysis.pages.html.section import ASIDE, Section
from kdanalysis.pages.html.table import Table, make_table
from kdanalysis.pages.html.words import WORDS

SIGNS = f"±=≤≥{TIMES}"
BREAKS = re.compile(f" (?=[%{SIGNS}])|(?<=[{SIGNS}]) |(?<=\\d) (?=(?:{'|'.join(LARGE.values())}))")
WIDE = 900  # CSS pixels; what is wider takes both columns


def build(
    sections: Sequence[Section],
    title: str,
    facts: Mapping[str, object],
    lead: Any = None,
    explorer: Any = None,
    kinds: Sequence[str] = (),
) -> str:
    """Return one self-contained HTML page; equal input gives equal bytes.

    Texts from users, such as class names, are escaped: they show as they are written. Tables stand
    collapsed at the end.

    Args:
        sections: what to show, in this order; neighbours of one group under its heading.
        title: heading of the page.
        facts: what the numbers come from, as (label, value) pairs; under the heading, or at the
            end of a page with a lead.
        lead: what to see first, a ``Lead``.
        explorer: sliders over k, T and weights, an ``Explorer``.
        kinds: of files that are wanted of the figures, which are drawn with the page.

    Raises:
        ValueError: two sections share a name.
    """
    twice = [name for name, n in Counter(s.name for s in sections).items() if n > 1]
    if twice:
        raise ValueError(f"two sections are named {twice[0]!r}: a name is an anchor of the page")
    style = read("page.css") + (read("explorer.css") if explorer else "")
    script = read("page.js") + read("picker.js") + (read("explorer.js") if explorer else "")
    runs = list(lead.runs) if lead else []
    pictures, tables = pictures_and_tables(sections, lead, explorer, kinds)
    shown = [show(section, pictures, tables, runs) for section in sections]
    here = [one for one in shown if one["group"] != ASIDE]
    aside = [one for one in shown if one["group"] == ASIDE]
    tabled = [one for one in here if one["tables"]]
    groups = grouped(here)
    drawn = [next(pictures) for _ in lead.figures] if lead else []
    tell_lacking(lacking(sections, lead))
    sliders = explorer.html(not runs, next(pictures)) if explorer else None
    first = [("verdict", "Verdict")] * bool(lead) + [("explorer", "Explorer")] * bool(explorer)
    last = [("collected", "Tables and words")] * bool(tabled)
    template = make_environment().from_string(read("page.html.j2"))
    return template.render(
        title=title,
        facts={label: fact_text(value) for label, value in facts.items()},
        lead={"verdict": lead.verdict, "pictures": drawn} if lead else None,
        explorer=sliders,
        groups=groups,
        shown=here,
        aside=aside,
        tabled=tabled,
        collected=bool(aside or tabled or lead),
        words=WORDS if lead else {},
        places=[*first, *group_places(groups), *last],
        runs=runs,
        style=Markup(style),
        script=Markup(script),
        policy=content_policy(style, script),
    ).lstrip()


def pictures_and_tables(
    sections: Sequence[Section], lead: Any, explorer: Any, kinds: Sequence[str]
) -> tuple[Iterator[Picture | None], Iterator[Table]]:
    """Draw a page's figures at once, of sections, lead and explorer, and write its tables."""
    asked = [  # no section's name starts so
        (x, f"_{place}-{i}", kinds)
        for place, one in enumerate(sections)
        for i, x in enumerate(one.figures)
    ]
    asked += [(x, f"_lead-{i}", kinds) for i, x in enumerate(lead.figures)] if lead else []
    asked += [(explorer.picture(), "_explorer", ())] if explorer else []
    tables = [partial(make_table, *one) for section in sections for one in section.tables]
    pictures, tables = make_pictures(asked, tables)
    return iter(pictures), iter(tables)


def lacking(sections: Sequence[Section], lead: Any) -> Iterator[tuple[Figure, dict[str, str]]]:
    """Yield figures that lack letters, with these."""
    for shown in (one for part in (*sections, *([lead] * bool(lead))) for one in part.figures):
        if shown.drawn.lacking:
            yield shown.drawn.figure, shown.drawn.lacking


def grouped(sections: Sequence[dict]) -> list[dict]:
    """Put neighbours of one group under its heading."""
    return [
        {"title": title, "name": anchor(title), "sections": in_columns(list(members))}
        for title, members in groupby(sections, key=lambda one: one["group"])
    ]


def anchor(title: str) -> str:
    """Return the name by which a group is linked to."""
    return f"group-{re.sub('[^a-z0-9]+', '-', title.lower())}"


def group_places(groups: Sequence[dict]) -> list[tuple[str, str]]:
    """Return the groups, and the sections of those without a heading."""
    found = []
    for group in groups:
        of_group = [(one["name"], one["title"]) for one in group["sections"]]
        found += [(group["name"], group["title"])] if group["title"] else of_group
    return found


def make_environment() -> Environment:
    """Escape everything, and refuse a name that the template misspells."""
    made = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters["unbroken"] = unbroken
    return made


def unbroken(text: str) -> str:
    """Keep a number on one line with its unit, its interval and its name: 95 %, 1 ± 2, T = 4."""
    return BREAKS.sub("\u00a0", text)


def read(name: str) -> str:
    """Return a file that is installed beside this module."""
    return resources.files("kdanalysis.pages.html").joinpath(name).read_text(encoding="utf-8")


def data_text(value: object) -> Markup:
    """Return data as JSON for an inline block that no script engine runs; no NaN gets in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def show(
    section: Section,
    drawn: Iterator[Picture | None],
    tables: Iterator[Table],
    runs: Sequence[str] = (),
) -> dict[str, Any]:
    """Return what the template writes of a section, whose figures and tables come next."""
    of_section = zip(section.figures, islice(drawn, len(section.figures)), strict=True)
    section = section.settled()
    left = {id(shown) for shown in section.figures}
    found = [picture for shown, picture in of_section if picture and id(shown) in left]
    pictures = [
        replace(one, table=one.table or section.name, run=run_of(one.caption, runs))
        for one in found
    ]
    widest = max((one.width for one in pictures), default=WIDE * bool(section.tiles))
    return {
        "name": section.name,
        "title": section.title,
        "group": section.group,
        "text": section.text,
        "lines": [(run_of(line, runs), line) for line in section.text.splitlines()],
        "number": section.number,
        "tiles": section.tiles,
        "pictures": pictures,
        "wide": widest >= WIDE,
        "tables": list(islice(tables, len(section.tables))),
    }


def run_of(text: str, runs: Sequence[str]) -> str:
    """Return the run, or student of a file, that a text is about, by the name it starts with."""
    starts = {run: tuple(f"{kind}{run}: " for kind in ("", "run ", "student ")) for run in runs}
    return next((run for run, start in starts.items() if text.startswith(start)), "")


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
