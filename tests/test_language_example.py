"""The language example: classes of tokens are Python's own, and a killed training goes on alike."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

SCRIPTS = str(Path(__file__).parents[1] / "scripts")


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "language"]:
        del sys.modules[name]


def test_tokens_have_the_class_of_their_first_dark_character():
    from language.text import CLASSES, classes_of_tokens

    text = "if x1 >= 2:  # no\n    y = 'a b'\n"
    offsets = [(0, 2), (2, 5), (5, 8), (8, 10), (11, 17), (17, 22), (25, 27), (27, 30)]
    found = [CLASSES[number] for number in classes_of_tokens(text, offsets)]
    assert found == [
        *("keyword", "identifier", "operator", "number"),
        *("string or comment", "whitespace", "string or comment", "string or comment"),
    ]


def test_a_training_that_was_stopped_ends_with_the_same_weights(tmp_path, monkeypatch):
    from language import training

    plan = training.Plan(
        vocabulary=20, length=6, batch=2, student=(1, 8, 2), teacher_steps=4, student_steps=4
    )
    tokens = np.random.default_rng(0).integers(20, size=200).astype(np.int32)

    def gradient(logits, seen, following):
        slope = logits.softmax(-1)
        slope[torch.arange(len(following)), following] -= 1
        return slope

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    once = training.train(plan, "student", tokens, gradient, whole, 4)
    monkeypatch.setattr(training, "KEEP_SECONDS", -1.0)

    def killed(logits, seen, following, calls=[0]):  # noqa: B006
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt
        return gradient(logits, seen, following)

    with pytest.raises(KeyboardInterrupt):
        training.train(plan, "student", tokens, killed, parts, 4)
    assert torch.load(parts / "student.pt", weights_only=True)["step"] == 2
    again = training.train(plan, "student", tokens, gradient, parts, 4)
    for one, other in zip(once.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    assert {p.name for p in parts.iterdir()} == {p.name for p in whole.iterdir()}
