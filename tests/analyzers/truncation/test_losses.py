"""Losses beside full KD: cosines and norms as numpy finds them; sentence and figure show them."""

import numpy as np
import pandas as pd
import pytest

import kdanalysis as kd
from kdanalysis.analyzers.truncation.losses import (
    TruncatedLosses,
    losses_over_k,
    losses_reading,
    with_its_ks,
)
from kdanalysis.analyzers.truncation.part import LOOKS
from tests.analyzers.readback import lines, smallest_font, smallest_letters_on_a_page
from tests.analyzers.truncation.rows import KS, N, fed, pair, plain

STUDENT, TEACHER = pair()
TAILS = {"megatron": "bucket", "nemo": "renormalise", "axolotl": "teacher"}
LOSSES = {name: kd.parse_loss(f"{name}:temperature=2") for name in (*TAILS, "kd", "verl")}


def table() -> pd.DataFrame:
    return fed(TruncatedLosses, STUDENT, TEACHER, LOSSES, KS).table()


def test_projects_have_the_directions_of_their_conventions():
    frame = table().set_index(["quantity", "loss", "k"])
    for k in KS[1:]:
        gradients, values = plain(STUDENT, TEACHER, k, 2.0)
        full = gradients["full"]
        for name, tail in TAILS.items():
            kept = gradients[tail]
            lengths = np.linalg.norm(kept, axis=1), np.linalg.norm(full, axis=1)
            cosine = (kept * full).sum(1) / lengths[0] / lengths[1]
            ratio = lengths[0] / lengths[1]
            assert frame["mean"]["cosine", name, k] == pytest.approx(cosine.mean(), rel=1e-9)
            assert frame["mean"]["ratio", name, k] == pytest.approx(ratio.mean(), rel=1e-9)
            assert frame.opposed["ratio", name, k] == (cosine < 0).mean()
            assert frame.silent["ratio", name, k] == 0
        assert frame.silent["ratio", "verl", k] == (values["none"] <= 0).mean()
    gradients, values = plain(STUDENT, TEACHER, 1, 2.0)
    assert frame.silent["ratio", "verl", 1] == (values["none"] <= 0).mean() > 0
    assert frame.silent["ratio", "nemo", 1] == 1  # one class renormalised teaches nothing


def test_a_loss_without_a_number_of_tokens_has_one_row():
    frame = table()
    assert frame.k[frame.loss == "kd"].tolist() == [0, 0]
    assert frame["mean"][frame.loss == "kd"].tolist() == pytest.approx([1, 1])
    quartiles = frame.loc[frame.loss == "kd", ["q25", "median", "q75"]].to_numpy()
    assert quartiles == pytest.approx(1, abs=1e-12)  # not the edges of a bin
    assert (frame.n[frame.loss == "kd"] == N).all()
    assert [k for k, _ in with_its_ks(kd.KD(), KS)] == [0]
    assert [one.k for _, one in with_its_ks(LOSSES["verl"], KS)] == list(KS)
    assert all(one.clamp == 0 for _, one in with_its_ks(LOSSES["verl"], KS))


@pytest.mark.parametrize(
    "losses", ["axolotl:k=3,kd,megatron", iter(["axolotl:k=3", kd.KD(), "megatron"])]
)
def test_a_loss_that_names_its_k_is_looked_at_with_that_alone(losses):
    study = kd.truncation(STUDENT, TEACHER, (1, 4), losses=losses)
    found = study.tables["truncation_losses"]
    found = found[found.quantity == "cosine"].set_index(["loss", "k"])["mean"].to_dict()
    assert list(found) == [("axolotl", 3), ("kd", 0), ("megatron", 1), ("megatron", 4)]
    gradients, _ = plain(STUDENT, TEACHER, 3, 1.0)
    kept, full = gradients["teacher"], gradients["full"]
    cosine = (kept * full).sum(1) / np.linalg.norm(kept, axis=1) / np.linalg.norm(full, axis=1)
    assert found["axolotl", 3] == pytest.approx(cosine.mean(), rel=1e-9)
    sentence = study.readings["truncation_losses"].sentence
    assert "axolotl at K = 3" in sentence
    assert "megatron at K = 4" in sentence


@pytest.mark.parametrize(
    "losses",
    [
        {"three": kd.JSD(k=3), "nine": kd.JSD(k=9), "all": kd.JSD(), "verl": kd.Truncated()},
        iter([kd.JSD(k=3), kd.JSD(k=9), kd.JSD(), kd.Truncated()]),
    ],
)
def test_so_is_a_loss_that_was_made_with_a_k_of_its_own(losses):
    found = kd.truncation(STUDENT, TEACHER, (1, 4), losses=losses).tables["truncation_losses"]
    assert found.k[found.quantity == "cosine"].tolist() == [3, 9, 0, 1, 4]


def test_a_stated_k_that_leaves_no_class_is_refused_by_the_name_of_its_loss():
    classes = TEACHER.shape[1]
    says = rf"the loss 'verl' has k = {classes}: need 1 to {classes - 1} where there are {classes}"
    with pytest.raises(ValueError, match=says):
        kd.truncation(STUDENT, TEACHER, (1, 4), losses=f"verl:k={classes}")


def test_a_loss_that_needs_labels_is_refused_without():
    for none in (None, np.full(N, -100)):
        with pytest.raises(ValueError, match=r"'dkd' needs labels \(target\), and there are none"):
            kd.truncation(STUDENT, TEACHER, KS, losses="dkd", target=none)
    labels = TEACHER.argmax(1)
    study = kd.truncation(STUDENT, TEACHER, KS, losses="dkd", target=labels)
    some = np.where(np.arange(N) < 20, labels, -100)  # as padding has it
    found = kd.truncation(STUDENT, TEACHER, KS, losses=["dkd", "kd"], target=some)
    found = found.tables["truncation_losses"].set_index("loss")
    assert (set(found.n["kd"]), set(found.n["dkd"])) == ({N}, {20})
    first = kd.truncation(STUDENT[:20], TEACHER[:20], KS, losses="dkd", target=labels[:20])
    first = first.tables["truncation_losses"].set_index("loss")
    pd.testing.assert_series_equal(found["mean"]["dkd"], first["mean"]["dkd"])
    assert list(study.tables)[-1] == "truncation_losses"
    assert study.readings["truncation_losses"].number.startswith("dkd cosine")


def test_losses_without_a_temperature_take_the_first():
    study = kd.truncation(STUDENT, TEACHER, (4,), (2, 1), losses="axolotl")
    found = study.tables["truncation_losses"].set_index("quantity")["mean"]
    expected = study.tables["truncation_direction"]
    expected = expected[(expected.temperature == 2) & (expected.convention == "teacher")]
    expected = expected.set_index("quantity")["mean"]
    assert found["cosine"] == pytest.approx(expected["cosine"], rel=1e-9)
    assert found["ratio"] == pytest.approx(expected["ratio"], rel=1e-9)


def example(cosine: float = 0.9) -> pd.DataFrame:
    rows = [
        (quantity, loss, k, value, value - 0.05, value, value + 0.05, 300, opposed, 0.0)
        for loss, ks, of, opposed in (
            ("near", (8, 64), (cosine, 1.1), 0.01),
            ("far", (8, 64), (0.5, 3.0), 0.2),
            ("kd", (0,), (1.0, 1.0), 0.0),
        )
        for quantity, value in zip(("cosine", "ratio"), of, strict=True)
        for k in ks
    ]
    names = ["quantity", "loss", "k", "mean", "q25", "median", "q75", "n", "opposed", "silent"]
    return pd.DataFrame(rows, columns=names).assign(non_finite=0)


def test_the_sentence_leaves_full_kd_out():
    sentence = losses_reading(example()).sentence
    assert sentence.startswith("That near points most nearly where full KD does is seen, with a")
    assert "median cosine of 0.900 ± 0.011 (next far, 0.500 ± 0.011) over 300 rows" in sentence
    length = "that far differs most in length is seen: 3.000 ± 0.011 times full KD's (next near, "
    assert length + "1.100 ± 0.011)" in sentence
    often = "that far opposes it most often is seen: in 20.0 % (15.9 % to 24.9 %) of the rows"
    assert f"{often} (next near)." in sentence
    assert losses_reading(example().assign(opposed=0.0)).sentence.endswith(
        "none of them opposes it."
    )
    assert "That far points most nearly" in losses_reading(example(0.1)).sentence
    close = losses_reading(example(0.51)).sentence
    assert "That near points most nearly where full KD does is not seen" in close
    one = losses_reading(example()[lambda t: t.loss != "far"]).sentence
    assert one.startswith("near points where full KD does with a median cosine of 0.900 ± 0.011")
    assert one.endswith(
        "its length is 1.100 ± 0.011 times full KD's; it opposes it in 1.0 % (0.3 % to 2.9 %) of "
        "the rows."
    )
    alone = example()[lambda t: t.loss == "kd"]
    assert losses_reading(alone).sentence == "These losses are full KD itself."


def test_what_is_within_noise_is_not_said_to_be_most():
    close = example()
    close.loc[(close.loss == "far") & (close.quantity == "ratio"), "median"] = 0.895
    close.loc[close.loss == "near", "opposed"] = 0.19
    sentence = losses_reading(close).sentence
    assert "that far differs most in length is not seen: 0.895 ± 0.011" in sentence
    assert "that far opposes it most often is not seen: in 20.0 %" in sentence


def test_lines_are_the_medians_and_a_loss_without_k_is_level():
    figure = losses_over_k(example())
    cosine, ratio = (lines(ax) for ax in figure.axes)
    assert cosine["near"] == ([8, 64], [0.9, 0.9])
    assert ratio["far"] == ([8, 64], [3.0, 3.0])
    assert cosine["kd"] == ([8, 64], [1.0, 1.0])
    hues = {line.get_color() for line in figure.axes[0].lines}
    assert len(hues) == 4  # with the dashed line of full KD
    assert not hues & {look["color"] for look in LOOKS.values()}  # of conventions
    assert smallest_font(figure) >= 9
    assert smallest_letters_on_a_page(figure) >= 9.5
