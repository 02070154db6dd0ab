"""The teacher of a run of K kept classes: what diagnose says of it, and sparsify writes."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from kept_runs import LOSS, train
from scipy.special import log_softmax

import kdanalysis as kd
from kdanalysis.studies.kept import SHOWN
from kdanalysis.studies.run import open_run

LABELS = {"all": LOSS, "some": kd.Truncated(8, temperature=2.0)}  # which rows have a label


@pytest.fixture(scope="module", params=LABELS.values(), ids=LABELS)
def runs(request, tmp_path_factory):
    """A training with all logits, and with 16 classes a row."""
    folder, loss = tmp_path_factory.mktemp("runs"), request.param
    return train(folder / "dense", (), loss), train(folder / "top", kd.TopK(16), loss)


def assert_said_exactly(top, of_file, dense):
    """What a file of tokens says is the same; in place of bounds stands numpy's value."""
    batch = next(open_run(dense).batches(["teacher_logits", "target"], 1000))
    target = batch["target"]
    (rows,) = np.nonzero(target >= 0)
    top, of_file = (one.set_index(["temperature", "quantity"]).value for one in (top, of_file))
    bounds = {"entropy_low", "entropy_high", "nll_low"}
    for t in (1.0, 2.0):
        log_p = log_softmax(batch["teacher_logits"].astype(float) / t, -1)
        entropy, nll = -(np.exp(log_p) * log_p).sum(-1).mean(), -log_p[rows, target[rows]].mean()
        assert {*of_file[t].index} - {*top[t].index} == bounds
        same = [name for name in of_file[t].index if name not in bounds]
        pd.testing.assert_series_equal(top[t][same], of_file[t][same])
        assert top[t]["entropy"] == pytest.approx(entropy, rel=1e-9)
        assert top[t]["nll"] == pytest.approx(nll, rel=1e-9)
        assert of_file[t]["entropy_low"] < top[t]["entropy"] < of_file[t]["entropy_high"]
        assert of_file[t]["nll_low"] < top[t]["nll"]


def test_its_teacher_is_diagnosed_as_the_file_that_a_run_of_all_logits_gives(runs, tmp_path):
    files = [tmp_path / name for name in ("dense.parquet", "top.parquet")]
    for run, file in zip(runs, files, strict=True):
        kd.sparsify(run, file, 16, (2, 1))
    dense, top = (pq.read_table(file).to_pandas() for file in files)
    assert list(top) == list(dense)
    for name in top:
        ours, theirs = (np.stack(one[name].to_numpy()) for one in (top, dense))
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, err_msg=name)
    of_file = kd.diagnose(files[0], (1, 2)).tables
    study = kd.diagnose(runs[1], (1, 2, 4))
    assert_said_exactly(study.tables["known"], of_file.pop("known"), runs[0])
    pd.testing.assert_frame_equal(study.tables["known_mass"], of_file["known_mass"])
    assert {*study.tables} == {"known", "known_mass", *SHOWN}
    assert "T = 4" in study.facts["left out"]


def test_fewer_classes_than_were_kept_are_those_of_a_run_of_all_logits(runs, tmp_path):
    for run, name in zip(runs, ("dense", "top"), strict=True):
        kd.sparsify(run, tmp_path / f"{name}.parquet", 5, (1,))
    dense, top = (kd.read_sparse(tmp_path / f"{name}.parquet") for name in ("dense", "top"))
    assert top.ids.shape[1] == 5
    torch.testing.assert_close(top.ids, dense.ids)
    torch.testing.assert_close(top.logprobs, dense.logprobs)
    torch.testing.assert_close(top.log_other, dense.log_other, rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match=r"k = 17 is more than .* keeps: .* take k up to 16"):
        kd.sparsify(runs[1], tmp_path / "17.parquet", 17)
    with pytest.raises(ValueError, match=r"T = 3 is not known .* were made at T = 1, 2"):
        kd.sparsify(runs[1], tmp_path / "at3.parquet", 5, (3,))
    assert {file.name for file in tmp_path.iterdir()} == {"dense.parquet", "top.parquet"}
