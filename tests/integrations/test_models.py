"""Classes of two Transformers models need one order."""

from types import SimpleNamespace

import pytest
from torch import nn

from kdanalysis.integrations.models import check_class_names, class_names


def named(*names: str) -> nn.Module:
    model = nn.Linear(2, 2)
    model.config = SimpleNamespace(id2label=dict(enumerate(names)))
    return model


def test_the_first_class_that_differs_is_named_with_its_place():
    message = r"class 1 is 'dog' to the student and 'fox' to the teacher, whose class 2 it is: log"
    with pytest.raises(ValueError, match=message):
        check_class_names(named("cat", "dog", "fox"), named("cat", "fox", "dog"))


def test_a_class_that_one_side_lacks_is_named():
    with pytest.raises(ValueError, match="class 1 is 'dog' to the student and None to the teacher"):
        check_class_names(named("cat", "dog"), named("cat"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (named("cat", "dog"), named("Cat", "DOG")),
        (named("cat", "dog"), named("LABEL_0", "LABEL_1")),
        (named("cat", "dog"), nn.Linear(2, 2)),
    ],
    ids=["case", "numbers", "no config"],
)
def test_names_that_say_the_same_or_nothing_fit(one, other):
    check_class_names(one, other)
    check_class_names(other, one)


def test_names_of_a_config_read_from_a_file_have_text_for_numbers():
    model = nn.Linear(2, 2)
    model.config = SimpleNamespace(id2label={"0": "cat", "1": "dog"})
    assert class_names(model) == {0: "cat", 1: "dog"}
