"""What a real browser makes of the page: no foreign tag, no request, and a script that runs."""

import shutil
import subprocess
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest
from page_reader import Reader, draw

from kdanalysis.pages.html import Section, Shown
from kdanalysis.pages.html.page import build

DRAWN = True  # the pictures are looked at

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")


@pytest.fixture
def server():
    """A server that notes the path of every request."""
    paths: list[str] = []

    class Note(BaseHTTPRequestHandler):
        def do_GET(self):
            paths.append(self.path)
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Note) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}", paths
        listening.shutdown()
        thread.join()


def open_page(page: str, folder) -> Reader:
    """Return the document as it stands after the scripts ran."""
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    command = [BROWSER, *QUIET, f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [*command, file.as_uri()], capture_output=True, text=True, check=True, timeout=60
    )
    return Reader(done.stdout)


def test_hostile_names_stay_text_and_nothing_is_requested(server, tmp_path):
    address, paths = server
    name = f"<img src={address}/leak><script>document.title='run'</script> $x$"
    table = pd.DataFrame({name: [2.0, 1.0], "class": [name, "b"]})
    section = Section(
        "s", name, name, name, [Shown(name, partial(draw, label=name), "a")], [(name, table)]
    )
    document = open_page(build([section], name, {name: name}), tmp_path)
    assert paths == []
    assert document.all("img") == []
    assert len(document.all("script")) == 1
    assert name in document.text
    # the theme, SVG and CSV of the figure, two headings: our script did run
    assert len(document.all("button")) == 5


def test_the_server_notes_a_page_that_does_leak(server, tmp_path):
    address, paths = server
    open_page(f"<!doctype html><img src={address}/leak>", tmp_path)
    assert "/leak" in paths


def act(page: str, script: str, folder) -> Reader:
    """Open the page without its policy, and with a script that acts as a reader would."""
    free = page.replace("Content-Security-Policy", "X-None", 1)
    acting = f"<script>addEventListener('load', () => {{{script}}})</script></body>"
    return open_page(free.replace("</body>", acting), folder)


def test_a_click_on_a_heading_sorts_by_number_and_says_so(tmp_path):
    close = [10.0, float("nan"), 9.0 + 1e-9, 9.0, -1.0, float("inf")]  # the nines are shown alike
    frame = pd.DataFrame({"name": list("abcdef"), "x": close})
    page = build([Section("s", "S", tables=[("t", frame)])], "T", {})
    click = "document.querySelectorAll('th button')[1].click();"
    once, twice = (act(page, click * n, folder(tmp_path, n)) for n in (1, 2))
    assert once.cells[::2] == list("edcafb")
    assert twice.cells[::2] == list("facdeb")  # NaN is last both ways
    assert [d.all("th")[1]["aria-sort"] for d in (once, twice)] == ["ascending", "descending"]


def test_minus_signs_are_sorted_and_saved_as_programs_read_them(tmp_path):
    frame = pd.DataFrame({"name": list("abc"), "x": [1.5, -3.0, -0.25]})
    page = build([Section("s", "S", tables=[("t", frame)])], "T", {})
    told = "document.querySelector('h1').textContent = csvText([document.querySelector('table')]);"
    shown = act(page, "document.querySelectorAll('th button')[1].click();" + told, tmp_path)
    assert shown.cells == ["b", "\u22123.000", "c", "\u22120.250", "a", "1.500"]
    assert "name,x\nb,-3.000\nc,-0.250\na,1.500" in shown.text


def test_a_long_table_unfolds_and_sorts_across_the_fold(tmp_path):
    frame = pd.DataFrame({"x": range(1000, 1020)})
    page = build([Section("s", "S", tables=[("t", frame)])], "T", {})
    press = "document.querySelector('.unfold').click();"
    sort = "const b = document.querySelector('th button'); b.click(); b.click();"
    folded = act(page, sort, folder(tmp_path, 1))
    assert folded.all("table")[0]["class"] == "folded"
    assert [row.get("class") for row in folded.all("tr")[1:]].count("more") == 12
    assert folded.cells[:2] == ["1,019", "1,018"]
    assert "Show all 20 rows" in folded.text
    unfolded = act(page, press, folder(tmp_path, 2))
    assert unfolded.all("table")[0]["class"] == ""
    assert "Show the first 8 rows" in unfolded.text


def test_a_thousand_rows_are_written_as_everywhere(tmp_path):
    page = build([Section("s", "S", tables=[("t", pd.DataFrame({"x": range(1500)}))])], "T", {})
    assert "Show all 1,000 rows" in act(page, "", tmp_path).text


def test_the_theme_button_goes_round(tmp_path):
    page = build([], "T", {})
    press = "document.getElementById('theme').click();"
    themes = [
        act(page, press * n, folder(tmp_path, n)).all("html")[0].get("data-theme")
        for n in (1, 2, 3)
    ]
    assert themes == ["light", "dark", None]


def folder(parent, number: int):
    made = parent / str(number)
    made.mkdir()
    return made
