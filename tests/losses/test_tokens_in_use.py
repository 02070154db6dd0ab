"""Losses of language models in a recorded training and in a comparison, as any other loss."""

import numpy as np
import pytest
import torch
from problems import batch
from torch import nn

import kdanalysis as kd
from kdanalysis.losses import restore_loss

TEXTS = [
    "trl-server:k=4",
    "verl:k=3",
    "nemo:k=3,divergence=reverse",
    "topk:k=2,tail=teacher,divergence=reverse,support=student",
    "jsd:beta=.1,scale=true",
    "rs:n=9",
    "sample:estimator=pg",
]


@pytest.mark.parametrize("text", TEXTS)
def test_the_recorder_finds_the_gradient_that_was_sent(text, tmp_path):
    torch.manual_seed(0)
    x, y = torch.randn(12, 5), torch.randint(7, (12,))
    teacher, student = nn.Linear(5, 7), nn.Linear(5, 7)
    loss = kd.Sum(kd.CrossEntropy(), kd.parse_loss(text))
    with kd.Recorder(
        tmp_path / "run", loss, student=student, teacher=teacher, schedule=kd.every(1)
    ) as recorder:
        for _ in range(2):
            with torch.no_grad():
                teacher(x)
            student(x)
            recorder.loss(y).backward()
            student.zero_grad()
    run = kd.open_run(tmp_path / "run")
    residual = np.concatenate([part["residual"] for part in run.batches(["residual"])])
    assert len(residual) == 24
    assert np.abs(residual).max() < 1e-5
    assert repr(restore_loss(run.info.loss)) == repr(loss)


def test_a_comparison_takes_them_by_name():
    student, teacher, target = batch(0, n=60)
    texts = ["kd:temperature=1", *TEXTS]
    arrays = {"student_logits": student, "teacher_logits": teacher, "target": target}
    arrays = {name: side.numpy() for name, side in arrays.items()}
    study = kd.compare(arrays, losses=texts)
    found = study.tables["losses"].set_index("loss").definition
    assert found["trl-server"] == repr(kd.JSD(0, k=4))
    assert found["verl"] == repr(kd.Truncated(3, "none", clamp=0))
    assert len(found) == len(texts)
    assert study.tables["magnitude"].notna().any(axis=None)
