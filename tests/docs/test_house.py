"""docs/architecture.md: its table is the tested one, its picture that of the code."""

import re
import subprocess
import sys
from pathlib import Path

from test_architecture import ROOMS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
PICTURE = ROOT / "docs" / "architecture.svg"
SCRIPT = ROOT / "scripts" / "draw_architecture.py"


def check(picture: Path) -> subprocess.CompletedProcess:
    """Run the script's own comparison of a picture with the code."""
    return subprocess.run(
        [sys.executable, SCRIPT, "--check", "--picture", picture], capture_output=True, text=True
    )


def test_the_table_says_who_may_import_whom():
    rows = re.findall(r"^\| `(\w+)` \| .* \| ([\w, ]*) ?\|$", PAGE, re.M)
    said = {room: set(filter(None, below.strip().split(", "))) for room, below in rows}
    assert said == {room: below for room, (below, _) in ROOMS.items()}


def test_every_file_that_the_page_names_is_there():
    named = re.findall(r"[`(]((?:\w+/)*[a-z_]+\.(?:py|md|svg))[`)]", PAGE)
    places = ROOT, ROOT / "kdanalysis", ROOT / "docs"
    assert len(named) > 10
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


def test_the_picture_is_that_of_the_code():
    done = check(PICTURE)
    assert (done.returncode, done.stderr) == (0, "")


def test_control_a_picture_of_other_code_is_seen(tmp_path):
    changed = PICTURE.read_text().replace('"arrow-cli-pages"', '"arrow-pages-cli"')
    (tmp_path / "old.svg").write_text(changed)
    done = check(tmp_path / "old.svg")
    assert done.returncode == 1
    assert "the code alone has arrow-cli-pages" in done.stderr
    assert "the picture alone has arrow-pages-cli" in done.stderr
