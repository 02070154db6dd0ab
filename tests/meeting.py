"""Two processes that wait for each other: that both do something does not hang on who is faster."""

import multiprocessing
import os
from collections.abc import Callable
from typing import Any

SECONDS = 30  # longer waits nobody, and the test that needs both fails


class Meeting:
    """Called in this process and in its fork: the first call of each waits for the other's."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("fork")
        self._here, self._there, self._process = context.Event(), context.Event(), os.getpid()

    def __call__(self, task: Callable[[], Any] = lambda: None) -> Any:
        """Meet, then do the task."""
        here, there = self._here, self._there
        own, other = (here, there) if os.getpid() == self._process else (there, here)
        own.set()
        if not other.wait(SECONDS):
            other.set()  # nobody comes: wait no more
        return task()
