"""The announced size of the regions is what the run then holds."""

import numpy as np
import pytest
import torch

from kdanalysis import open_run
from kdanalysis.data import load_data
from kdanalysis.training import Experiment, Settings, announce_regions, run_experiment
from kdanalysis.training.experiment import written


@pytest.mark.parametrize(("every", "captured"), [(1, 8), (3, 3)])
def test_captured_steps_rows_and_bytes_are_those_of_the_run(tmp_path, every, captured):
    data = load_data("digits", image_size=8, limit=97, seed=0)  # a last batch of one is not trained
    settings = Settings(
        epochs=2, batch_size=24, record_every=every, record_regions=5, region_scales=(1, 2)
    )
    experiment = Experiment(data, "resnet8", "resnet8", ("kd",), settings, teacher_epochs=1)
    (line,) = announce_regions(experiment)
    assert line.endswith(f"scales (1, 2), 5 samples of each of {captured} captured steps")
    run = open_run(run_experiment(experiment, tmp_path, torch.device("cpu")).runs["kd"])
    batches = list(run.batches(("step", "student_regions", "teacher_regions"), kind="regions"))
    values = sum(b["student_regions"].nbytes + b["teacher_regions"].nbytes for b in batches)
    assert len(np.unique(np.concatenate([b["step"] for b in batches]))) == captured
    assert f"about {values / 1e3:.0f} kB" in line
    assert values == captured * 5 * 2 * 10 * 5 * 2


def test_without_regions_nothing_is_announced():
    data = load_data("digits", image_size=8, limit=60, seed=0)
    assert announce_regions(Experiment(data, "resnet8", "resnet8", ("kd",), Settings())) == []


def test_bytes_are_written_in_the_unit_that_fits():
    assert [written(size) for size in (3_200, 999_400, 1_000_000, 134_400_000)] == [
        "3 kB",
        "999 kB",
        "1.0 MB",
        "134.4 MB",
    ]
