"""Two processes that read several sources find what one finds, to the bit."""

import os
import sys
import threading
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from meeting import Meeting

from kdanalysis.core.cores import on_cores, one_thread
from kdanalysis.pages import reading
from kdanalysis.pages.reading import read_all
from kdanalysis.store.sources import load_logits
from kdanalysis.studies.run import tables_of
from kdanalysis.studies.source import Source

NOUNS = ["agreement", "magnitude", "direction", "relation"]


@pytest.fixture
def sources(tmp_path):
    """Give what opens two files, one with samples that have no label."""
    draw = np.random.default_rng(0)
    for name, without in (("a", 3), ("b", 0)):
        student, teacher = draw.normal(size=(2, 40, 6)).astype("f")
        target = draw.integers(0, 6, 40)
        target[:without] = -1
        columns = {"student_logits": student, "teacher_logits": teacher, "target": target}
        np.savez(tmp_path / f"{name}.npz", **columns)
    return lambda: {n: Source(n, load_logits(tmp_path / f"{n}.npz")) for n in ("a", "b")}


def tables(source, watch):
    return tables_of(source, NOUNS, "cpu", watch)


@pytest.fixture
def processes(monkeypatch):
    """Two cores that both read something; gives which processes read, by this one's account."""
    meet, threads = Meeting(), []

    def together(tasks):
        def one(task):
            threads.append(torch.get_num_threads())
            return meet(lambda: (task(), os.getpid()))

        done = on_cores([partial(one, task) for task in tasks])
        together.found = {process for _, process in done}
        return [found for found, _ in done]

    together.threads = threads
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    monkeypatch.setattr(reading, "on_cores", together)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield together
    torch.set_num_threads(before)


@pytest.mark.skipif(sys.platform != "linux", reason="one process elsewhere")
def test_two_processes_find_what_one_finds(processes, sources, monkeypatch):
    ours, theirs = sources(), sources()
    shared, sliders = read_all(ours, tables)
    assert len(processes.found) == 2
    assert set(processes.threads) == {1}
    assert torch.get_num_threads() == 2
    monkeypatch.setattr(reading, "FEW", 0)
    with one_thread():
        alone, same = read_all(theirs, tables)
    assert list(shared) == list(alone) == ["a", "b"]
    for name in shared:
        assert list(shared[name]) == NOUNS
        for noun in NOUNS:
            pd.testing.assert_frame_equal(shared[name][noun], alone[name][noun], check_exact=True)
        pd.testing.assert_frame_equal(sliders.grams[name], same.grams[name], check_exact=True)
        assert ours[name].unlabelled == theirs[name].unlabelled == {"a": 3, "b": 0}[name]


def test_rows_without_a_label_are_counted_whoever_reads_them(sources, monkeypatch):
    given = sources()

    def elsewhere(tasks):
        done = [task() for task in tasks]
        for source in given.values():
            source.unlabelled = 0
        return done

    monkeypatch.setattr(reading, "on_cores", elsewhere)
    read_all(given, tables)
    assert [source.unlabelled for source in given.values()] == [3, 0]


@pytest.mark.parametrize("lacking", ["few", "ranks"])
def test_many_logits_and_ranks_are_read_here_with_a_word_of_progress(sources, monkeypatch, lacking):
    if lacking == "few":
        monkeypatch.setattr(reading, "FEW", 479)
    else:
        monkeypatch.setattr(reading, "RANKS", type("Two", (), {"world": 2}))
    monkeypatch.setattr(reading, "on_cores", None)
    seen = []
    read_all(sources(), tables, watch=lambda batches, one: seen.append(one.name) or batches)
    assert seen == ["a", "b", "a", "b"]


def test_the_first_error_is_that_of_one_process(sources):
    def refuse(source, watch):
        raise ValueError(f"no rows in {source.name}")

    with pytest.raises(ValueError, match="no rows in a"):
        read_all(sources(), refuse)


def test_nothing_comes_of_no_source():
    assert read_all({}, tables) == ({}, None)
