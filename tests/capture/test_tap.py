"""Logits are found in every kind of output, and the hook sits where it was asked to."""

import copy
import pickle
from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from toy import network

from kdanalysis import Side, Teachers
from kdanalysis.capture.taps import Tap
from kdanalysis.networks.hook import logits_of

LOGITS = torch.zeros(3, 4)
Output = namedtuple("Output", "logits loss")


@pytest.mark.parametrize(
    "output",
    [
        LOGITS,
        (LOGITS, [torch.zeros(3, 16, 8, 8)]),
        [LOGITS],
        {"logits": LOGITS, "loss": None},
        SimpleNamespace(logits=LOGITS),
        Output(logits=LOGITS, loss=torch.zeros(())),
    ],
    ids=["tensor", "tuple", "list", "dict", "object", "namedtuple"],
)
def test_logits_are_found(output):
    assert logits_of(output) is LOGITS


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (torch.zeros(3, 4, 8, 8), r"got of shape \(3, 4, 8, 8\)"),
        (torch.zeros(3, 1), r"got of shape \(3, 1\)"),
        ({"scores": LOGITS}, "got <class 'dict'>"),
        (None, "got <class 'NoneType'>"),
    ],
)
def test_an_output_without_logits_is_refused(output, message):
    with pytest.raises(ValueError, match=message):
        logits_of(output, "student")


def test_a_layer_is_found_behind_a_wrappers_prefix():
    model = nn.ModuleDict({"module": network(0)})
    tap = Tap(Side(model, "4"), "student", lambda: False)
    expected = model["module"](torch.ones(2, 8))
    assert tap.take()[0] is expected


def test_an_unknown_layer_is_named():
    with pytest.raises(ValueError, match="the teacher has no layer 'head'; it has: 0, 1, 2, 3, 4"):
        Tap(Side(network(0), "head"), "teacher", lambda: False)


def test_a_second_take_without_a_forward_pass_is_an_error():
    model = network(0)
    tap = Tap(Side(model, ""), "student", lambda: False)
    model(torch.ones(2, 8))
    tap.take()
    with pytest.raises(RuntimeError, match="no forward pass of the student was seen"):
        tap.take()


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copied_model_does_not_reach_the_tap(clone):
    model = network(0)
    tap = Tap(Side(model, ""), "student", lambda: False)
    twin = clone(model)
    twin(torch.ones(2, 8))
    with pytest.raises(RuntimeError, match="no forward pass of the student"):
        tap.take()
    expected = model(torch.ones(2, 8))
    assert tap.take()[0] is expected  # the control


def test_of_several_teachers_the_object_that_mixes_them_is_to_be_called():
    one, two = network(0), network(1)
    tap = Tap(Side(Teachers(one, two), ""), "teacher", lambda: False)
    one(torch.ones(2, 8)), two(torch.ones(2, 8))
    with pytest.raises(RuntimeError, match=r"call the kd\.Teachers itself, not the models in it"):
        tap.take()


def test_a_validation_pass_does_not_take_the_training_passs_place():
    model = network(0)
    tap = Tap(Side(model, ""), "student", lambda: True)
    trained = model(torch.ones(2, 8))
    with torch.no_grad():
        model(torch.zeros(2, 8))
    taken = tap.take()
    assert taken.logits is trained
    assert torch.equal(taken.copy, trained)


def test_two_training_passes_in_a_step_are_an_error():
    model = network(0)
    tap = Tap(Side(model, ""), "student", lambda: False)
    model(torch.ones(2, 8)), model(torch.zeros(2, 8))
    with pytest.raises(RuntimeError, match=r"ran 2 training passes in .*\.end_step\(\)"):
        tap.take()


def test_a_teacher_with_gradients_is_not_taken_for_a_later_one_without():
    model = network(0)
    tap = Tap(Side(model, ""), "teacher", lambda: False)
    model(torch.ones(2, 8))  # left over, as from a look at the teacher after a step
    with torch.no_grad():
        model(torch.zeros(2, 8))
    with pytest.raises(RuntimeError, match=r"with gradients, and then without .*torch\.no_grad"):
        tap.take()

    expected = model(torch.ones(2, 8))
    with torch.no_grad():
        model(torch.zeros(3, 8))  # the control: of another batch, so that nothing is in doubt
    assert tap.take().logits is expected


def test_a_copy_is_made_only_where_it_is_wanted():
    model = network(0)
    tap = Tap(Side(model, ""), "student", lambda: False)
    model(torch.ones(2, 8))
    assert tap.take()[1] is None
