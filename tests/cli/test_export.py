"""`export` writes the logits of a run for other tools."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from kdanalysis.store.run import StoredRun

READERS = {
    "npz": (".npz", lambda path: dict(np.load(path, allow_pickle=False))),
    "safetensors": (".safetensors", load_file),
    "list": (
        ".parquet",
        lambda path: {n: np.array(v) for n, v in pq.read_table(path).to_pydict().items()},
    ),
}


@pytest.mark.parametrize("kind", READERS)
def test_other_tools_read_the_same_logits(run_command, run_folder, tmp_path, kind):
    suffix, read = READERS[kind]
    out = tmp_path / f"out{suffix}"
    result = run_command("export", run_folder, "--logits", kind, "-o", out)
    assert result.exit_code == 0, result.stderr
    (batch,) = StoredRun(run_folder).batches(["student_logits", "target"])
    exported = read(out)
    assert (exported["student_logits"] == batch["student_logits"]).all()
    assert (exported["target"] == batch["target"]).all()


def test_an_unknown_format_names_the_valid_ones(run_command, run_folder, tmp_path):
    result = run_command("export", run_folder, "--logits", "csv", "-o", tmp_path / "x.csv")
    assert result.exit_code == 2
    assert "safetensors" in result.stderr


def test_a_suffix_of_another_format_is_refused(run_command, run_folder, tmp_path):
    result = run_command("export", run_folder, "--logits", "npz", "-o", tmp_path / "x.parquet")
    assert result.exit_code == 2
    assert "need one of" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["gdkd"]
