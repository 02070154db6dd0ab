"""Frames are read by the place of their rows and classes, and refused where their names differ."""

import re

import numpy as np
import pandas as pd
import pytest

import kdanalysis as kd

RNG = np.random.default_rng(0)
TEACHER = pd.DataFrame(RNG.normal(size=(40, 5)), columns=list("abcde"))
FRAMES = {
    "teacher_logits": TEACHER,
    "student_logits": TEACHER + RNG.normal(0, 0.3, (40, 5)),
    "target": pd.Series(TEACHER.to_numpy().argmax(1)),
}
TURNED = {
    "rows of a side": ("student_logits", lambda x: x[::-1], "rows", "index"),
    "rows of labels": ("target", lambda x: x[::-1], "rows", "index"),
    "classes": ("student_logits", lambda x: x[list("edcba")], "classes", "columns"),
}


def accuracy(frames) -> float:
    table = kd.open(frames).table("teacher").set_index("quantity")
    return table.value["accuracy"]


@pytest.mark.parametrize(("name", "turn", "what", "axis"), TURNED.values(), ids=TURNED)
def test_names_in_another_order_are_refused_with_the_call_that_puts_them_in_one(
    name, turn, what, axis
):
    frames = FRAMES | {name: turn(FRAMES[name])}
    call = re.escape(f"{name}.reindex({axis}=teacher_logits.{axis})")
    says = f"{name} has the {what} of teacher_logits in another order, by its {axis}: .*{call}"
    with pytest.raises(ValueError, match=says):
        kd.open(frames)
    frames[name] = frames[name].reindex(**{axis: getattr(TEACHER, axis)})
    assert accuracy(frames) == 1.0


@pytest.mark.parametrize(
    "other",
    [
        FRAMES["target"].set_axis(range(100, 140)),  # other names
        FRAMES["target"].set_axis(map(str, range(40))),
        FRAMES["target"].to_numpy(),
    ],
    ids=["others", "texts", "none"],
)
def test_where_names_do_not_tell_the_place_does(other):
    assert accuracy(FRAMES | {"target": other}) == 1.0
