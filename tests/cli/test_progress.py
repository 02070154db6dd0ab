"""Progress counts what passed: a bar on a terminal, elsewhere a line for every note."""

import io
import sys
from itertools import count

import pytest

from kdanalysis.cli import progress as shown
from kdanalysis.cli.progress import duration, progress, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_items_pass_unchanged_and_a_file_sees_nothing(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    assert list(track([[1, 2], [3]], "Reading", 3, len)) == [[1, 2], [3]]
    assert log.getvalue() == ""


def test_a_terminal_sees_the_share_done_and_the_note(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    assert list(track([[1, 2], [3, 4]], "Reading", 4, len)) == [[1, 2], [3, 4]]
    assert "Reading" in screen.getvalue()
    assert "100%" in screen.getvalue()
    with progress("student", 4) as advance:
        advance(4, "epoch 1 of 1")
    assert "epoch 1 of 1" in screen.getvalue()


def test_a_file_sees_a_line_for_every_note_with_rate_and_time_left(monkeypatch):
    log, clock = io.StringIO(), count(0, 5)
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr(shown.time, "perf_counter", lambda: next(clock))  # 5 s from call to call
    with progress("student kd", 3000, "images") as advance:
        advance(1000)
        advance(0, "epoch 1 of 3")
        advance(500, "half of epoch 2")
    assert log.getvalue().splitlines() == [
        "student kd: epoch 1 of 3, 100 images/s, 20 s left",
        "student kd: half of epoch 2, 100 images/s, 15 s left",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (7_830, "2 h 10 min")],
)
def test_a_duration_is_written_for_people(seconds, text):
    assert duration(seconds) == text
