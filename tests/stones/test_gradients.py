"""Gradients of stones in blocks: autograd's own of the loss's terms, whatever the batches."""

import pytest
import torch

from kdanalysis import DKD, Blockwise, Ladder
from kdanalysis.analyzers.stones.gradient import gradient_table
from kdanalysis.stones import gradients as gradients_module
from kdanalysis.stones.gradients import StoneGradients
from tests.stones.pairs import images, pair

LOSS = Blockwise(DKD(temperature=2.0), cross=3.0)
X, Y = images(1, 6), torch.tensor([0, 1, 2, 3, 4, 0])


def ladder_of() -> Ladder:
    made = pair("resnet")
    return Ladder(made.student, made.teacher, images()).eval()


def test_inner_products_are_those_of_autograd_on_the_loss():
    ladder = ladder_of()
    gradients = StoneGradients(ladder, LOSS)
    with torch.no_grad():  # what stands around does not matter
        gradients.add(X[:2], target=Y[:2], ramp=0.5)
    logits, taught = gradients.add(X[2:], target=Y[2:], ramp=0.5)
    torch.testing.assert_close(logits, ladder(X[2:]).student.detach())
    torch.testing.assert_close(taught, ladder.teacher(X[2:]).detach())
    terms = LOSS(*ladder(X), Y, ramp=0.5)
    for name, found in gradients.grams().items():
        parameters = list(ladder.student.get_submodule(name).parameters())
        rows = []
        for side in LOSS.sides:
            value = sum(terms[f"{side}/{part}"].mean() for part in ("task", "distill", "cross"))
            walk = torch.autograd.grad(value, parameters, retain_graph=True, materialize_grads=True)
            rows.append(torch.cat([g.flatten().double() for g in walk]))
        expected = torch.stack(rows) @ torch.stack(rows).T
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6 * float(expected.max()))
    assert all(p.grad is None for p in ladder.parameters())


def test_a_stone_sends_nothing_below_itself():
    gradients = StoneGradients(ladder_of(), LOSS)
    gradients.add(X, target=Y)
    norms = {name: gram.diagonal() for name, gram in gradients.grams().items()}
    assert list(norms) == ["layer1", "layer2", "layer3"]
    assert (norms["layer1"] > 0).tolist() == [True, True, True, True]
    assert (norms["layer2"] > 0).tolist() == [True, False, True, True]
    assert (norms["layer3"] > 0).tolist() == [True, False, False, True]


def test_shares_of_pieces_are_those_of_each_alone(monkeypatch):
    """And the halves are the t interval over them; in pieces the sums stay what they are."""
    ladder = ladder_of()
    whole = StoneGradients(ladder, LOSS)
    logits = whole.add(X, target=Y).student
    monkeypatch.setattr(gradients_module, "PIECE", 2)
    pieces = StoneGradients(ladder, LOSS)
    torch.testing.assert_close(pieces.add(X, target=Y).student, logits)
    alone = []
    for start in (0, 2, 4):
        one = StoneGradients(ladder, LOSS)
        one.add(X[start : start + 2], target=Y[start : start + 2])
        alone.append(one.grams())
    table = gradient_table(pieces.grams(), pieces.sides, 6, pieces.shares())
    for name, gram in whole.grams().items():
        torch.testing.assert_close(pieces.grams()[name], gram, rtol=1e-4, atol=1e-9)
        shares = torch.stack([found[name].sum(1) / found[name].sum() for found in alone])
        torch.testing.assert_close(pieces.shares()[name], shares, rtol=1e-4, atol=1e-6)
        half = 4.303 * shares.std(0) / 3**0.5  # Student's t of two degrees
        half += (shares.mean(0) - gram.sum(1) / gram.sum()).abs()
        rows = table[table.block == name]
        assert rows.share_half.tolist() == pytest.approx(half.tolist(), rel=1e-3, abs=1e-6)
    assert gradient_table(whole.grams(), whole.sides, 6, whole.shares()).share_half.isna().all()


def test_what_cannot_be_measured_is_refused():
    ladder = ladder_of()
    with pytest.raises(ValueError, match="make both with the same"):
        StoneGradients(ladder, Blockwise(light=True))
    with pytest.raises(ValueError, match="no batch was added"):
        StoneGradients(ladder, LOSS).grams()
    ladder.student.layer2.requires_grad_(False)
    with pytest.raises(ValueError, match="block 'layer2' has no parameter that learns"):
        StoneGradients(ladder, LOSS)


def test_shares_that_noise_makes_are_seen_to_differ_in_few_draws():
    """Two sides push alike; the gradients of 100 samples are noise for the most part."""
    generator, outside = torch.Generator().manual_seed(0), 0
    for _ in range(200):
        noise = torch.randn(8, 2, 40, dtype=torch.float64, generator=generator)
        pieces = 0.6 * noise + 0.15
        gram = pieces.mean(0) @ pieces.mean(0).T
        each = torch.stack([(one @ one.sum(0)) / one.sum(0).square().sum() for one in pieces])
        row = gradient_table({"a": gram}, ("student", "stone_1"), 800, {"a": each}).iloc[1]
        outside += abs(row.share - 0.5) > row.share_half
    assert outside <= 18  # 65 by the t interval of the pieces alone
