"""What a real browser makes of the page: no foreign tag, no request, and a script that runs."""

import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest
from page_reader import Reader, draw

from kdanalysis.report import Section, build

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
    section = Section("s", name, name, name, [(name, draw(label=name))], [(name, table)])
    document = open_page(build([section], name, {name: name}), tmp_path)
    assert paths == []
    assert document.all("img") == []
    assert len(document.all("script")) == 1
    assert name in document.text
    assert len(document.all("button")) == 3  # the theme and two headings: our script did run


def test_the_server_notes_a_page_that_does_leak(server, tmp_path):
    address, paths = server
    open_page(f"<!doctype html><img src={address}/leak>", tmp_path)
    assert "/leak" in paths
