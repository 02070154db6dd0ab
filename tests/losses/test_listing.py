"""Lists of losses: the commas of options stay with their loss, labels tell the losses apart."""

import pytest

from kdanalysis import DKD, GDKD, GDKD3, KD, NKD, CrossEntropy, LogitStandardized, Sum
from kdanalysis.losses import parse_losses

LISTS = {
    "kd,dkd,gdkd:k=5,temperature=2,nkd": {
        "kd": KD(),
        "dkd": DKD(),
        "gdkd": GDKD(5, temperature=2),
        "nkd": NKD(),
    },
    "kd , gdkd3:k=3, weights=1/2/4 ,ce": {
        "kd": KD(),
        "gdkd3": GDKD3(3, (1, 2, 4)),
        "ce": CrossEntropy(),
    },
    "dkd:beta=1,dkd:beta=8,alpha=2": {"dkd:beta=1": DKD(beta=1), "dkd:beta=8,alpha=2": DKD(2, 8)},
    "ce+gdkd:k=3,temperature=2+kd:weight=2,kd": {
        "ce+gdkd+kd": Sum(CrossEntropy(), GDKD(3, temperature=2), KD(weight=2)),
        "kd": KD(),
    },
    "KD,ls-kd": {"kd": KD(), "ls-kd": LogitStandardized(KD())},
    "kd,kd:temperature=1": {"kd": KD(), "kd:temperature=1": KD(1)},
}


@pytest.mark.parametrize(("text", "losses"), LISTS.items(), ids=list(LISTS))
def test_a_list_gives_its_losses(text, losses):
    found = parse_losses(text)
    assert {label: repr(loss) for label, loss in found.items()} == {
        label: repr(loss) for label, loss in losses.items()
    }


def test_several_lists_are_read_as_one():
    assert list(parse_losses(["kd,dkd", "gdkd:k=2"])) == ["kd", "dkd", "gdkd"]


def test_a_temperature_goes_to_the_losses_that_name_none():
    found = parse_losses("kd,gdkd:temperature=2,ce,ce+nkd", temperature=3)
    assert [loss.temperature for loss in found.values()] == [3, 2, None, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kd,gdk:k=5", "unknown loss 'gdk'; did you mean 'gdkd'?"),
        ("kd,gdkd:k=5,temprature=2", "loss 'gdkd' has no option 'temprature'; did you mean 'temp"),
        ("gdkd:weights=1,2,8", "has no option '2' .several numbers are written 1/2/8."),
        ("k=5,kd", "the list of losses 'k=5,kd' begins with an option: need a name"),
        ("kd,,dkd", "unknown loss ''; known: ce, kd"),
        ("kd,", "unknown loss ''"),
        ("kd,dkd,kd:temperature=4", "'kd' and 'kd:temperature=4' are both KD.*every loss is ne"),
    ],
)
def test_a_mistake_in_a_list_is_answered(text, message):
    with pytest.raises(ValueError, match=message):
        parse_losses(text)
