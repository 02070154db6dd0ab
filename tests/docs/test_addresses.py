"""What lies outside of the project is named as it can be found: addresses, papers on arXiv."""

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]
TEXTS = [
    path
    for pattern in (
        "*.md",
        "docs/*.md",
        "notebooks/*.ipynb",
        "kdanalysis/**/*.py",
        "scripts/**/*.py",
    )
    for path in sorted(ROOT.glob(pattern))
]
NAMES_OF_FORMATS = ("www.w3.org",)  # in the files of the format, and opened by nobody


def outside(page: Path) -> tuple[list[str], list[str]]:
    """Addresses in a text or the texts of a notebook, and the numbers of papers on arXiv."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    addresses = [one.rstrip(".,;:)}]") for one in re.findall(r"\bhttps?:[^\s<>\"'`{]*", text)]
    return addresses, re.findall(r"arxiv(?:\.org/\w+/|:? ?)(\d[\d.]*\d)", text, re.I)


def faults(page: Path) -> list[str]:
    """What of it nobody could follow."""
    addresses, papers = outside(page)
    found = []
    for address in addresses:
        parts = urlsplit(address)
        whole = re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", parts.netloc)
        if not whole or (parts.scheme != "https" and parts.netloc not in NAMES_OF_FORMATS):
            found.append(address)
    month = r"\d\d(0[1-9]|1[0-2])\."  # of the paper, by which five digits are counted since 2015
    for paper in papers:
        if not re.fullmatch(month + (r"\d{5}" if paper >= "15" else r"\d{4}"), paper):
            found.append(paper)
    return found


def test_addresses_and_papers_are_whole():
    assert {page: found for page in TEXTS if (found := faults(page))} == {}


def test_the_papers_are_found_where_they_are_named():
    papers = {paper for page in TEXTS for paper in outside(page)[1]}
    assert {"2203.08679", "2512.04625", "2403.13512", "2411.01547"} <= papers


def test_what_is_not_whole_would_be_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "https://example.org/a, http://example.org, (https://x), arXiv 2213.00001, "
        "arXiv:2203.0867, arXiv 1409.1556, https://arxiv.org/abs/2203.08679."
    )
    assert faults(page) == ["http://example.org", "https://x", "2213.00001", "2203.0867"]
