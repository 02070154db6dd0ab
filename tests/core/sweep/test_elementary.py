"""What compiling says, and that it says so once."""

import logging

from numba import njit
from numba.core.event import Event, EventStatus

from kdanalysis.core.sweep.elementary import Told, exp


def test_loops_that_are_compiled_say_so_once(caplog):
    caplog.set_level(logging.INFO, "kdanalysis")
    listener = Told()

    def compile_(function: object) -> list[str]:
        for status in (EventStatus.START, EventStatus.END):
            listener.notify(Event("numba:compile", status, {"dispatcher": function}))
        return [record.getMessage() for record in caplog.records]

    said = "compiling loops for this processor: some seconds, once a kind of data"
    assert compile_(njit(lambda x: x)) == []  # none of ours
    assert compile_(exp) == [said]
    assert compile_(exp) == [said]
