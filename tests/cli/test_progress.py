"""Progress counts what passed, and only a terminal sees it."""

import io
import sys

from kdanalysis.cli.progress import track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_items_pass_unchanged_and_a_file_sees_nothing(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    assert list(track([[1, 2], [3]], "Reading", 3, len)) == [[1, 2], [3]]
    assert log.getvalue() == ""


def test_a_terminal_sees_the_share_done(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    assert list(track([[1, 2], [3, 4]], "Reading", 4, len)) == [[1, 2], [3, 4]]
    assert "Reading" in screen.getvalue()
    assert "100%" in screen.getvalue()
