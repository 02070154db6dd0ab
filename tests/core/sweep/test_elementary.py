"""What compiling says, and that it says so once."""

import logging

from numba import njit
from numba.core.event import Event, EventStatus

from kdanalysis.core.sweep.elementary import Told, exp


def test_loops_that_are_compiled_say_so_once(caplog):
    caplog.set_level(logging.INFO, "kdanalysis")
    listener = Told()
    for function in (njit(lambda x: x), exp, exp):  # the first is none of ours
        listener.notify(Event("numba:compile", EventStatus.START, {"dispatcher": function}))
        listener.notify(Event("numba:compile", EventStatus.END, {"dispatcher": function}))
    assert [record.getMessage() for record in caplog.records] == [
        "compiling loops for this processor: some seconds, once after installation"
    ]
