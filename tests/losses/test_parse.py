"""Losses as text: every name and option is read, every typo is answered with the nearest name."""

import pytest

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

TEXTS = {
    "kd": KD(),
    "ce": CrossEntropy(),
    "kd:temperature=2,weight=0.9": KD(2.0, 0.9),
    "dkd:alpha=0.5,beta=2,temperature=1,partition=top1": DKD(0.5, 2.0, 1.0, "top1"),
    "gdkd:k=3,weights=1/2/8,strategy=worst": GDKD(3, (1.0, 2.0, 8.0), strategy="worst"),
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
        ("nkd:official=maybe", "nkd:official=maybe is not of the kind of its default False"),
        ("kd:temperature=0", "temperature must lie between 0.001 and 10000, got 0.0"),
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
