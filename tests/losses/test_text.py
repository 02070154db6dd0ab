"""Losses as text: every name and option is read, lists are split, typos get the nearest name."""

import pytest
import torch

from kdanalysis import (
    DKD,
    GDKD,
    GDKD3,
    KD,
    NKD,
    Confident,
    CrossEntropy,
    LogitStandardized,
    Sum,
    parse_loss,
)
from kdanalysis.core.partition import AutoK
from kdanalysis.losses import Blockwise, parse_losses, restore_loss, spelled
from kdanalysis.losses.registry import called

TEXTS = {
    "kd": KD(),
    "ce": CrossEntropy(),
    "kd:temperature=2,weight=0.9": KD(2.0, 0.9),
    "dkd:alpha=0.5,beta=2,temperature=1,partition=top1": DKD(0.5, 2.0, 1.0, "top1"),
    "gdkd:k=3,weights=1/2/8,strategy=worst": GDKD(3, (1.0, 2.0, 8.0), strategy="worst"),
    "gdkd:k=3,weights=1/mass/0": GDKD(3, (1, "mass", 0)),
    "gdkd:weights=mass": GDKD(weights="mass"),
    "gdkd:weights=.5/1/mass": GDKD(weights=(0.5, 1, "mass")),
    "gdkd3:weights=1 / mass / mass": GDKD3(weights=(1, "mass", "mass")),
    "gdkd:k=Auto,divergence=both": GDKD("auto", divergence="both"),
    "GDKD3:k=5": GDKD3(5),
    "nkd:gamma=2,official=true": NKD(gamma=2.0, official=True),
    "ls-dkd": LogitStandardized(DKD()),
    "sure-dkd:alpha=0,threshold=0.9": Confident(DKD(alpha=0.0), 0.9),
    "Unsure-ls-kd:temperature=2": Confident(LogitStandardized(KD(2.0)), 0.5, "unsure"),
    "ce + gdkd": Sum(CrossEntropy(), GDKD()),
}


@pytest.mark.parametrize(("text", "loss"), TEXTS.items(), ids=list(TEXTS))
def test_text_gives_the_loss(text, loss):
    assert repr(parse_loss(text)) == repr(loss)


@pytest.mark.parametrize("text", TEXTS)
def test_the_repr_gives_the_loss_again(text):
    loss = parse_loss(text)
    assert repr(restore_loss(repr(loss))) == repr(loss)


@pytest.mark.parametrize("weights", ["1/mass/0", "2/mass/mass", "0.5/3/mass"])
def test_a_mass_is_a_factor_of_its_low_term(weights):
    """Against autograd of the parts as masks have them."""
    student, teacher = torch.randn(2, 6, 9, generator=torch.Generator().manual_seed(0)).double()
    z, inside = student.requires_grad_(), torch.zeros(6, 9, dtype=torch.bool)
    inside.scatter_(-1, teacher.topk(3).indices, True)
    p, q = ((x / 2).softmax(-1) for x in (teacher, z))
    groups = inside, ~inside
    masses = [[(x * group).sum(-1) for group in groups] for x in (p, q)]
    high = sum(a * (a / b).log() for a, b in zip(*masses, strict=True))
    low = [
        ((p / a[:, None]) * ((p / a[:, None]) / (q / b[:, None])).log() * group).sum(-1)
        for group, a, b in zip(groups, *masses, strict=True)
    ]
    first, *written = weights.split("/")
    factors = [m if w == "mass" else float(w) for m, w in zip(masses[0], written, strict=True)]
    terms = (float(first) * high, *(f * part for f, part in zip(factors, low, strict=True)))
    loss = parse_loss(f"gdkd:k=3,temperature=2,weights={weights}")
    values = loss(student.detach(), teacher, torch.zeros(6, dtype=torch.long))
    slopes = loss.gradients(student.detach(), teacher, torch.zeros(6, dtype=torch.long))
    for name, term in zip(("high", "low_top", "low_other"), terms, strict=True):
        torch.testing.assert_close(values[name], 4 * term.detach(), rtol=1e-12, atol=1e-13)
        (expected,) = torch.autograd.grad(4 * term.sum(), z, retain_graph=True)
        torch.testing.assert_close(slopes[name], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gdk", "unknown loss 'gdk'; did you mean 'gdkd'?"),
        ("", "unknown loss ''; known: ce, kd, dkd, gdkd, gdkd3, nkd"),
        ("gdkd:temprature=4", "loss 'gdkd' has no option 'temprature'; did you mean 'temperature'"),
        ("gdkd:k", "option 'k' of loss 'gdkd' needs a value"),
        ("gdkd:k=five", "k of GDKD is a number, 'auto' or an AutoK, got 'five'"),
        ("gdkd:weights=1,2,8", "has no option '2' .several numbers are written 1/2/8."),
        ("gdkd:k=3,k=4", "option 'k' of loss 'gdkd' is given twice"),
        ("gdkd3:k=auto", "gdkd3:k=auto is not of the kind of its default 4"),
        ("kd:weight=nan", "weight must be a finite number, got nan"),
        ("gdkd:weights=1/2", r"needs 3 weights and names, got \(1.0, 2.0\)"),
        ("gdkd:weights=1/moss/0", "weights are numbers or 'mass', .* got 'moss'"),
        ("gdkd:weights=1//0", "weights are numbers or 'mass', .* got '1//0'"),
        ("gdkd:weights=mass/1/1", "the high term has no mass of a group"),
        ("nkd:official=maybe", "nkd:official=maybe is not of the kind of its default False"),
        ("kd:temperature=0", "temperature must lie between 0.001 and 10000, got 0"),
        ("dkd:partition=top2", "partition of DKD is 'target' or 'top1', got 'top2'"),
        ("sure-gdk", "unknown loss 'sure-gdk'; did you mean 'sure-gdkd'"),
        ("sure-kd:treshold=0.9", "loss 'kd' has no option 'treshold'; did you mean 'threshold'"),
        ("sure-kd:side=unsure", "loss 'kd' has no option 'side'"),
        ("unsure-kd:threshold=1", "threshold must lie between 0 and 1, both excluded, got 1.0"),
        ("sure-sdd-kd", "Confident needs a loss on whole images, got SDD"),
        ("gdkd:divergence=sideways", "divergence is one of .* got 'sideways'"),
    ],
)
def test_a_typo_is_answered(text, message):
    with pytest.raises(ValueError, match=message):
        parse_loss(text)


@pytest.mark.parametrize("text", TEXTS)
def test_a_loss_is_spelled_as_it_is_read(text):
    loss = parse_loss(text)
    assert spelled(loss) == spelled(repr(loss)) != repr(loss)
    assert repr(parse_loss(spelled(loss))) == repr(loss)


SPELLED = {
    "ce+dkd:beta=2.5": "ce + dkd:alpha=1,beta=2.5,temperature=4,partition=target",
    "unsure-ls-kd:weight=0.1": "unsure-ls-kd:temperature=4,weight=0.1,threshold=0.5",
    "nkd:official=1": "nkd:temperature=1,gamma=1.5,official=true",
    "gdkd:k=auto,weights=1/mass/0": (
        "gdkd:k=auto,weights=1/mass/0,temperature=4,strategy=best,divergence=forward"
    ),
    "kd:weight=0.1234567": "kd:temperature=4,weight=0.1234567",
    "sdd-kd:scales=1/2,reduction=sum": (
        "sdd-kd:temperature=4,scales=1/2,complementary_weight=2,split=class,reduction=sum,"
        "consistent_weight=1"
    ),
}


@pytest.mark.parametrize(("text", "written"), SPELLED.items(), ids=list(SPELLED))
def test_a_loss_is_spelled_with_its_options(text, written):
    assert spelled(parse_loss(text)) == written


@pytest.mark.parametrize(
    "loss",
    [Blockwise(), Sum(Sum(CrossEntropy()), KD()), GDKD(AutoK(3.0)), KD(weight=1e300)],
    ids=["no name", "a sum of sums", "an object", "a plus"],
)
def test_what_text_cannot_say_is_spelled_as_its_repr(loss):
    assert spelled(loss) == repr(loss)


def test_what_is_no_loss_is_spelled_as_it_stands():
    assert spelled("KD(temperature=2.0)") == "kd:temperature=2"  # made before there were weights
    for text in ("", "Mine(weight=2.0)", "KD(", "KD(*a)", "5", "KD(tau=1)", "my loss"):
        assert spelled(text) == text


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


def test_losses_that_are_made_already_stand_beside_texts():
    mine = [KD(2.0), "dkd", GDKD(k=2), GDKD(k=3), Sum(CrossEntropy(), KD())]
    found = parse_losses(mine, temperature=8)
    assert found["kd"] is mine[0]
    assert found["dkd"].temperature == 8
    names = [*found]
    assert names[:4] == ["kd", "dkd", "gdkd:k=2", "gdkd:k=3"]
    assert names[4].startswith("sum")
    with pytest.raises(ValueError, match="'kd' and 'kd' are both KD"):
        parse_losses(["kd", KD()])


def test_options_that_are_the_usual_ones_name_no_loss_and_the_others_are_read_back():
    given = [DKD(), DKD(beta=2, partition="top1"), GDKD3(), GDKD3(weights=(1, 2, 4))]
    written = [called(loss) for loss in given]
    assert written == ["dkd", "dkd:beta=2,partition=top1", "gdkd3", "gdkd3:weights=1/2/4"]
    assert [repr(loss) for loss in parse_losses(written).values()] == [*map(repr, given)]
    sums = [Sum(CrossEntropy(), KD()), Sum(CrossEntropy(), KD(2.0))]
    assert [*parse_losses(sums).values()] == sums


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


@pytest.mark.parametrize(
    "text",
    ["", "KD(", "KDX()", "KD(tau=1)", "TopK(k=3)", "__import__('os').getcwd()", "KD(4.0)(1)", "5"],
)
def test_what_is_no_repr_of_a_loss_is_never_evaluated(text):
    with pytest.raises(ValueError, match="not the repr of a loss of this package"):
        restore_loss(text)
