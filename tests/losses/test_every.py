"""Every registered loss: all claims, and that text, repr and figures know it."""

from inspect import isabstract

import pytest
from problems import EVERY

from kdanalysis import Loss, parse_loss
from kdanalysis.analyzers import load_nouns
from kdanalysis.draw import colours as palette
from kdanalysis.losses import non_top_terms, term_colour_of
from kdanalysis.losses.registry import KINDS, named, prefixed
from tests.losses.claims import CLAIMS

TEXTS = [f"{prefix}{name}" for prefix in ("", *prefixed()) for name in named()]


@pytest.mark.parametrize("loss", EVERY, ids=repr)
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_every_loss(loss, claim):
    claim(loss)


def test_every_registered_loss_goes_through_the_claims():
    concrete = {kind for kind in KINDS.values() if not isabstract(kind)}
    assert {type(loss) for loss in EVERY} >= concrete


@pytest.mark.parametrize("text", TEXTS)
def test_text_names_it(text):
    prefix, _, name = text.rpartition("-")
    loss = parse_loss(text)
    assert type(loss) is (prefixed()[f"{prefix}-"][0] if prefix else named()[name])
    assert repr(parse_loss(text.upper())) == repr(loss)


def test_prefixes_stand_before_each_other_the_first_outermost():
    loss = parse_loss("sdd-unsure-ls-kd:threshold=0.9,scales=1/2,temperature=2")
    expected = "base=Confident(loss=LogitStandardized(loss=KD(temperature=2.0, weight=1.0)), thresh"
    assert expected in repr(loss)
    assert (loss.scales, loss.base.threshold, loss.base.side) == ((1, 2), 0.9, "unsure")


def test_terms_have_the_colours_and_roles_that_their_losses_give():
    assert non_top_terms() == ("low_other", "nckd")
    terms = {term for kind in KINDS.values() for term in kind.colours}
    assert terms >= {"ce", "kd", "tckd", "nckd", "high", "low_top", "low_other"}
    colours = [term_colour_of(term) for term in terms]
    assert len(set(colours)) == len(terms)
    load_nouns()  # from then on figures ask the losses
    assert [palette.term_colour(term) for term in terms] == [palette.PALETTE[c] for c in colours]
    assert term_colour_of("gdkd:low_other") == term_colour_of("low_other") == "vermilion"
    assert term_colour_of("low_7") is None


@pytest.mark.parametrize(
    ("title", "body", "options", "message"),
    [
        ("KD", {}, {}, "there is a loss KD in kdanalysis.losses.plain, and a repr could not tell"),
        ("Mine", {}, {"name": "kd"}, "'kd' names the loss KD already: call Mine"),
        ("Mine", {}, {"prefixes": {"sdd-": {}}}, "'sdd-' names the loss SDD already: call Mine"),
        ("Mine", {}, {"name": "my kd"}, "'my kd' cannot name a loss: a name is of small letters"),
        (
            "Mine",
            {},
            {"prefixes": {"mine": {}}},
            "'mine' cannot name a loss: .* a prefix ends with",
        ),
        ("Mine", {"colours": {"high": "red"}}, {}, "the term 'high' is blue .* Mine makes it red"),
    ],
)
def test_a_loss_that_could_be_taken_for_another_is_refused(title, body, options, message):
    before = dict(KINDS)
    with pytest.raises(ValueError, match=message):
        type(Loss)(title, (Loss,), body | {"__module__": "elsewhere"}, **options)
    assert before == KINDS
