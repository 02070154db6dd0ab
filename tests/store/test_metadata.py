"""run.json and the records are covered like the parts: a flipped bit or a cut is named."""

import json

import numpy as np
import pytest

from kdanalysis.store.info import RunInfo, read_info
from kdanalysis.store.inventory import list_starts, verify
from kdanalysis.store.run import StoredRun
from kdanalysis.store.writer import PartWriter


@pytest.fixture
def run(tmp_path, batch):
    """A closed run of three parts, with names and settings to damage."""
    root = tmp_path / "run"
    info = RunInfo(6, list("abcdef"), "KD()", ("kd",), {"kd": 1.0}, 4.0, {"lr": 0.1}, seed=3)
    with PartWriter(root, 0, info, rows_per_part=16) as writer:
        for step in range(3):
            writer.write(batch(step))
    return root


def flips(whole, count=200):
    """The file with one bit flipped, at random places and at both ends."""
    ends = [*range(16), *range(8 * len(whole) - 16, 8 * len(whole))]
    some = np.random.default_rng(0).integers(0, 8 * len(whole), count - len(ends))
    for bit in [*ends, *some.tolist()]:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        yield bytes(damaged)


def cuts(whole, count=200):
    """The file truncated, every length near the ends and some between."""
    lengths = {*range(20), *range(len(whole) - 20, len(whole))}
    lengths |= {*np.random.default_rng(0).integers(0, len(whole), count - len(lengths)).tolist()}
    return [whole[:length] for length in sorted(lengths)]


@pytest.mark.parametrize("damage", [flips, cuts])
def test_a_damaged_run_json_is_named_and_nothing_of_it_is_used(run, damage):
    path = run / "run.json"
    whole = path.read_bytes()
    for damaged in damage(whole):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"run\.json (is altered|is not the run\.json)"):
            read_info(run)
    assert [finding.part for finding in verify(run)] == ["run.json"]  # and the parts are whole
    with pytest.raises(ValueError, match=r"run\.json"):
        StoredRun(run)
    path.write_bytes(whole)
    assert (verify(run), read_info(run).classes) == ([], list("abcdef"))


@pytest.mark.parametrize("damage", [flips, cuts])
def test_a_damaged_record_is_named(run, damage):
    (path,) = run.rglob("record.jsonl")
    whole = path.read_bytes()
    for damaged in damage(whole):
        path.write_bytes(damaged)
        (start,) = list_starts(run, "samples")
        assert start.record_problem is not None
    assert [finding.part for finding in verify(run)] == [path.relative_to(run).as_posix()]
    assert StoredRun(run).num_rows == 48  # parts answer for themselves
    path.write_bytes(whole)
    assert verify(run) == []


def test_what_follows_a_damaged_line_of_a_record_is_not_used(run):
    (path,) = run.rglob("record.jsonl")
    lines = path.read_bytes().splitlines(True)
    forged = lines[-1].replace(b'"dropped_rows": 0', b'"dropped_rows": 9')
    path.write_bytes(b"".join([*lines[:-1], forged]))
    assert [finding.problem for finding in verify(run)] == ["line 4 is damaged"]
    assert StoredRun(run).dropped_rows == 0


def test_the_record_of_a_killed_writer_may_end_anywhere_in_its_last_line(tmp_path, batch):
    writer = PartWriter(tmp_path / "run", 0, RunInfo(6), rows_per_part=16)
    writer.write(batch(0))
    writer.write(batch(1))  # and never closed
    (path,) = (tmp_path / "run").rglob("record.jsonl")
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for length in (first, first + 7, len(whole) - 1, len(whole)):
        path.write_bytes(whole[:length])
        assert verify(tmp_path / "run") == []
    writer.abandon("the test ends")


def test_run_json_stays_json_for_others(run):
    assert json.loads((run / "run.json").read_text())["temperature"] == 4.0
