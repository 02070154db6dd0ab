"""Shares cover the rows; what the ranks say to each other comes to one end."""

import signal

import pytest
import torch

from kdanalysis.analyzers.teacher.mass import TopKMass
from kdanalysis.core.ranks import RANKS, Ranks, Told, first_problem


def ranks(rank: int, world: int) -> Ranks:
    one = Ranks()
    one.rank, one.world = rank, world
    return one


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("rows", [0, 1, 2, 3, 100, 1_000_003])
def test_shares_follow_one_another_and_differ_by_one_row(rows, world):
    shares = [ranks(rank, world).share(rows) for rank in range(world)]
    ends = [0, *(share.stop for share in shares)]
    assert [share.start for share in shares] == ends[:-1]
    assert ends[-1] == rows
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_alone_there_is_nobody_to_wait_for(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    alone = Ranks()
    alone.join()
    alone.connect()
    mass = TopKMass(4)
    mass.update(torch.eye(4))
    before = mass.mass.clone()
    alone.unite([mass], 4)
    alone.agree("4 rows")
    assert alone.tell(("a bad k", 2)) == ("a bad k", 2)
    with alone.training():
        assert alone.gather(mass.mass, 1) is mass.mass
    alone.part()
    handler = signal.getsignal(signal.SIGTERM)
    alone.leave()
    assert signal.getsignal(signal.SIGTERM) == handler
    assert alone.first
    assert alone.speaks
    assert torch.equal(mass.mass, before)


def test_a_rank_that_has_lost_the_others_and_said_so_exits_undisturbed(monkeypatch):
    """Torchrun sends SIGTERM then; raising in the interpreter's last calls, it left a traceback."""
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    before = signal.getsignal(signal.SIGTERM)
    try:
        lost = Ranks()
        lost.join()
        assert callable(signal.getsignal(signal.SIGTERM))
        lost.leave()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_no_python_call_joins():
    assert (RANKS.rank, RANKS.world) == (0, 1)


def test_the_lowest_rank_with_a_problem_is_heard():
    fine = Told(None, "5 rows")
    assert first_problem([fine, fine]) is None
    assert first_problem([fine, Told(("b", 2), ""), Told(("c", 1), "")]) == ("b", 2)


def test_ranks_that_see_other_data_are_told_apart():
    sentence, code = first_problem([Told(None, "5 rows"), Told(None, "6 rows")])
    assert code == 2
    assert "rank 0 has 5 rows, rank 1 has 6 rows; every machine needs the same file" in sentence


def test_who_cannot_be_reached_is_said(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    lost = Ranks()
    lost.join()
    assert not lost.first
    with pytest.raises(ValueError, match=r"rank 1 of 2 cannot reach the others: .*MASTER_ADDR"):
        lost.connect()
    assert lost.first  # there is nobody else to say it
