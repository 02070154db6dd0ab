"""What a model gives and what it is: rivals of its logits are named, and what takes no hook."""

import warnings
from typing import NamedTuple

import pytest
import torch
from torch import nn
from toy import batches, network

from kdanalysis import KD, Recorder, RegionTap, Side, every
from kdanalysis.networks.hook import logits_of, rivals_of


class Embedding(nn.Module):
    """Gives its embedding before its logits, in one tuple or list."""

    def __init__(self, kind=tuple, width: int = 6) -> None:
        super().__init__()
        self.body, self.head, self.kind = nn.Linear(8, width), nn.Linear(width, 6), kind

    def forward(self, x):
        embedding = self.body(x)
        return self.kind((embedding, self.head(embedding)))


class Named(NamedTuple):
    features: torch.Tensor
    logits: torch.Tensor


def record(path, teacher, side=None, steps=2) -> list[str]:
    student = network(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Recorder(
            path, KD(), student=student, teacher=side or teacher, schedule=every(1)
        ) as recorder:
            for x, y, _ in batches(steps):
                student(x), teacher(x)
                recorder.observe(y)
    return [str(one.message) for one in caught]


@pytest.mark.parametrize("kind", [tuple, list])
def test_two_outputs_of_logits_shape_are_said_once_with_the_option_that_chooses(tmp_path, kind):
    teacher = Embedding(kind).eval()
    (message,) = record(tmp_path / "run", teacher)
    assert message.startswith(
        "the teacher gives 2 outputs of logits' shape: entry 0 (10, 6) is taken for its logits, "
        "beside entry 1 (10, 6); where another one is meant, name the layer"
    )
    assert "kd.Side(model, layer=...)" in message
    assert record(tmp_path / "named", teacher, Side(teacher, layer="head")) == []


def test_what_has_no_logits_shape_is_no_rival():
    logits = torch.zeros(4, 6)
    others = [torch.zeros(4, 3, 2, 2), torch.zeros(()), torch.zeros(5, 6), torch.zeros(4, 1)]
    whole = torch.zeros(4, 6, dtype=torch.long)
    assert rivals_of((logits, *others, whole, {"features": logits}, None), logits) == []
    assert rivals_of((logits, torch.zeros(4, 32)), logits) == ["entry 1 (4, 32)"]  # the control


@pytest.mark.parametrize("kind", [Named, lambda a, b: {"features": a, "logits": b}])
def test_logits_that_have_a_name_have_no_rival(kind):
    output = kind(torch.zeros(4, 6), torch.ones(4, 6))
    assert logits_of(output).sum() == 24
    assert rivals_of(output, logits_of(output)) == []


@pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated")
def test_a_module_that_takes_no_hook_is_refused_with_the_way_out(tmp_path):
    scripted = torch.jit.script(network(1).eval())
    message = "teacher is a RecursiveScriptModule, whose forward pass no hook can watch .*: call it"
    with pytest.raises(ValueError, match=message):
        Recorder(tmp_path / "run", KD(), student=network(0), teacher=scripted)
    with pytest.raises(ValueError, match="model is a RecursiveScriptModule"):
        RegionTap(scripted)
    wrapped = nn.Sequential(nn.Identity(), scripted)
    assert record(tmp_path / "run", wrapped.eval()) == []


def test_a_forward_that_is_called_directly_is_among_the_causes(tmp_path):
    student, teacher, (x, y, _) = network(0), network(1).eval(), next(batches(1))
    with Recorder(tmp_path / "run", KD(), student=student, teacher=teacher) as recorder:
        student(x), teacher.forward(x)
        with pytest.raises(RuntimeError, match=r"as model\(x\), since model.forward\(x\) runs no"):
            recorder.observe(y)
        recorder.observe(y, student=student(x), teacher=teacher(x))
