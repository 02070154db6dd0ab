"""The error of a full disk says which file or folder was being written."""

import contextlib
import errno
import os
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.cli.experiment import write_page
from kdanalysis.pages.publish import LEFTOVERS, output_file, output_folder
from kdanalysis.store.files import append_line, commit_file, whole_file
from kdanalysis.store.sparse_writer import writing_sparse

resource = pytest.importorskip("resource", reason="limits of file sizes")
FRAME = pd.DataFrame({"x": np.random.default_rng(0).normal(size=4000)})


@pytest.fixture
def full():
    """A disk on which no file has room for more than 8 KiB."""

    @contextlib.contextmanager
    def limited():
        old = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 13, old[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)

    return limited


def sparse(path):
    with writing_sparse(path, {}) as writer:
        writer.write({"ids": np.random.default_rng(0).integers(0, 9**9, (500, 8))})


def arrays(path):
    with whole_file(path) as file:
        np.savez(file, x=FRAME.x.to_numpy())


def network(path):
    with whole_file(path) as file:
        torch.save({"x": torch.randn(4000)}, file)


def csv(path):
    with output_file(path) as file:
        FRAME.to_csv(file)


def parquet(path):
    with output_file(path) as file:
        FRAME.to_parquet(file)


def page(path):
    with output_file(path) as file:
        file.write_text("x" * 10_000, encoding="utf-8")


def folder(path):
    with output_folder(path) as building:
        FRAME.to_csv(building / "inner.csv")


def part(path):
    commit_file(path, [b"x" * 10_000])


def record(path):
    append_line(path, 0, b"x" * 10_000)


@pytest.mark.parametrize(
    "write", [sparse, arrays, network, csv, parquet, page, folder, part, record]
)
def test_what_was_written_is_named(full, tmp_path, write):
    target = tmp_path / "target"
    with full(), pytest.raises(OSError, match=re.escape(os.strerror(errno.EFBIG))) as error:
        write(target)
    assert error.value.filename == str(target)
    assert str(target) in str(error.value)
    if write is not record:
        assert list(tmp_path.iterdir()) == []
    write(target)


def test_of_a_training_the_page_is_named_and_what_is_left_of_it_known(full, tmp_path, monkeypatch):
    folders = []

    def write(folder, figures):
        folders.append(folder.parent.name)
        (folder / "report.html").write_text("x" * 10_000, encoding="utf-8")

    study = SimpleNamespace(write=write)
    monkeypatch.setattr("kdanalysis.pages.experiment.experiment_study", lambda *_: study)
    outcome = SimpleNamespace(runs={}, students={}, logits={}, ladders={})
    with full(), pytest.raises(OSError, match=re.escape(os.strerror(errno.EFBIG))) as error:
        write_page(outcome, study, {}, tmp_path, "cpu", "")
    assert error.value.filename == str(tmp_path / "report.html")
    assert folders[0].startswith(LEFTOVERS)


def test_other_errors_and_names_stay(tmp_path):
    for given in (
        OSError("it changed while it was read"),
        OSError(errno.EIO, "Input/output error"),
        OSError(errno.ENOSPC, "No space left on device", "another"),
    ):
        said = str(given)
        with pytest.raises(OSError, match=re.escape(said)), output_file(tmp_path / "x"):
            raise given
        assert str(given) == said
