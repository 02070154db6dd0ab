"""Objects come whole to every rank, and nothing of them stays with gloo's threads."""

import threading
import time

import pytest
import torch
from torch import distributed

from kdanalysis.core import messages
from kdanalysis.core.messages import gather_objects


@pytest.fixture
def alone():
    """A group of one rank."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize("said", [None, ("a bad k", 2), "ß" * 10_000, {"rows": range(5)}])
def test_an_object_comes_back_whole(alone, said):
    assert gather_objects(said) == [said]


def test_objects_of_several_lengths_come_by_rank(monkeypatch):
    """Two ranks as threads that meet at a barrier: what one hands in, both receive."""
    meeting, given, heard = threading.Barrier(2), {}, {}

    def all_gather(out: list[torch.Tensor], own: torch.Tensor) -> None:
        given[threading.current_thread().name] = own
        meeting.wait()
        for place, name in zip(out, sorted(given), strict=True):
            place.copy_(given[name])
        meeting.wait()

    def speak() -> None:
        name = threading.current_thread().name
        heard[name] = gather_objects(name * int(name))

    monkeypatch.setattr(messages, "PATIENCE", 0.0)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_gather", all_gather)
    ranks = [threading.Thread(target=speak, name=name) for name in ("1", "30")]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    assert heard["1"] == heard["30"] == ["1", "30" * 30]


def test_it_waits_for_a_thread_that_still_holds_the_tensors(alone, monkeypatch):
    """Left behind, such a thread aborts the process when the interpreter shuts down."""
    gather, released = distributed.all_gather, []

    def hold(tensors: list[torch.Tensor]) -> None:
        time.sleep(0.2)
        released.append(True)
        tensors.clear()

    def gather_and_hold(out: list[torch.Tensor], own: torch.Tensor) -> None:
        gather(out, own)
        threading.Thread(target=hold, args=([*out, own],)).start()

    monkeypatch.setattr(distributed, "all_gather", gather_and_hold)
    gather_objects("done")
    assert released == [True, True]
