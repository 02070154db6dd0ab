"""A warning points at the user's own line, whatever lies between it and where it arises."""

import warnings
from pathlib import Path

import torch
from torch import nn
from toy import Training, batches

from kdanalysis import KD, Recorder, RegionTap, Side, at, every
from kdanalysis.core.warn import warn


def line_of(text: str) -> int:
    """The number of the line of this file that ends with a comment."""
    lines = Path(__file__).read_text().splitlines()
    (found,) = [number for number, line in enumerate(lines, 1) if line.endswith(f"# {text}")]
    return found


def places(caught: list) -> list[tuple[str, int]]:
    return [(one.filename, one.lineno) for one in caught]


def test_a_warning_of_ours_stands_where_it_was_asked_for():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn("here")  # plain
    assert places(caught) == [(__file__, line_of("plain"))]


def test_from_a_hook_it_is_the_forward_pass(tmp_path):
    training, (x, y, _) = Training(), next(batches(1))
    training.teacher.train()
    sides = {"student": training.student, "teacher": nn.Sequential(training.teacher)}
    with Recorder(tmp_path / "run", KD(), **sides) as recorder:
        training.student(x)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            sides["teacher"](x)  # unsettled
        recorder.observe(y)
    assert places(caught) == [(__file__, line_of("unsettled"))]
    assert "the teacher is in train mode" in str(caught[0].message)


def test_from_a_call_of_the_recorder_it_is_the_call(tmp_path):
    logits, y = torch.randn(2, 6), torch.tensor([0, 1])
    with Recorder(tmp_path / "run", schedule=every(1)) as recorder:
        ids = torch.zeros(2, dtype=torch.long)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            recorder.observe(y, ids, student=logits, teacher=logits)  # twice
    assert places(caught) == [(__file__, line_of("twice"))]


def test_at_the_end_it_is_the_block_or_the_call(tmp_path):
    training, (x, y, _) = Training(), next(batches(1))
    recorder = Recorder(tmp_path / "run", KD(), schedule=at([9]), student=training.student)
    recorder.observe(y, teacher=training.student(x))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        recorder.close()  # nothing
    assert places(caught) == [(__file__, line_of("nothing"))]


def test_from_the_hook_of_a_layer_inside_it_is_the_users_forward_function():
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 6)

        def forward(self, x):
            return self.fc(self.map(x).amax((2, 3)))  # inside

    model = Own()
    side = Side(model, layer="fc", map="map", head="fc")
    with RegionTap(side), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model(torch.randn(2, 3, 8, 8))
    assert places(caught) == [(__file__, line_of("inside"))]
