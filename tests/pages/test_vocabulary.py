"""Logits of a vocabulary: the card, the tokens to keep, what is left out, and what it costs."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

import kdanalysis as kd
from kdanalysis.analyzers.teacher.card import TeacherDistribution
from kdanalysis.analyzers.teacher.mass import TopKMass, mass_ks
from kdanalysis.core.vocabulary import VOCABULARY
from kdanalysis.pages.compare import open_all
from kdanalysis.studies.opening import open_source
from kdanalysis.studies.run import left_out_of, possible, table_names, tables_of

C, N = VOCABULARY + 1000, 9


def peaked(seed: int, n: int = N, c: int = C) -> np.ndarray:
    """Logits with a few large values and a long tail, as language models have them."""
    rng = np.random.default_rng(seed)
    ranks = -2.0 * np.log(np.arange(1, c + 1))
    return np.stack([rng.permutation(ranks * rng.uniform(0.7, 1.5)) for _ in range(n)])


@pytest.fixture(scope="module")
def arrays():
    teacher = peaked(0)
    target = np.where(np.arange(N) % 3, teacher.argmax(1), 7)
    student = 0.8 * teacher + peaked(1)
    return {"teacher_logits": teacher, "student_logits": student, "target": target}


@pytest.fixture(scope="module")
def study(arrays):
    return kd.diagnose({name: arrays[name] for name in ("teacher_logits", "target")}, (1, 4))


def test_the_card_is_numpys(study, arrays):
    card = study.tables["teacher"].set_index(["quantity", "temperature"]).value
    for t in (1.0, 4.0):
        p = softmax(arrays["teacher_logits"] / t, -1)
        ranked = np.sort(p)[:, ::-1]
        expected = {
            "confidence_mean": ranked[:, 0].mean(),
            "entropy_mean": entropy(p, axis=1).mean(),
            "rest_entropy_mean": entropy(ranked[:, 1:], axis=1).mean(),  # scipy renormalises
            "p_other_mean": ranked[:, 5:].sum(1).mean(),
            "nll": -np.log(p[np.arange(N), arrays["target"]]).mean(),
            "k_mass_95": 1 + (ranked.mean(0).cumsum() >= 0.95).argmax(),
        }
        for name, value in expected.items():
            assert card[name, t] == pytest.approx(value, rel=1e-9), name
    assert "auto_k" not in card.index.get_level_values(0)


def test_masses_of_a_ladder_of_k_are_numpys(study, arrays):
    table = study.tables["mass"]
    ks = table.k[table.temperature == 1].to_numpy()
    assert ks[:100].tolist() == list(range(1, 101))
    assert ks[-1] == C
    steps = ks[101:-1] / ks[100:-2]
    assert steps.max() < 10 ** (1 / 24) + 0.01
    for t, rows in table.groupby("temperature"):
        ranked = np.sort(softmax(arrays["teacher_logits"] / t, -1))[:, ::-1].cumsum(1)
        np.testing.assert_allclose(rows["mean"], ranked.mean(0)[rows.k - 1], rtol=1e-9)
        exact = np.quantile(ranked, 0.5, axis=0, method="inverted_cdf")[rows.k - 1]
        np.testing.assert_allclose(rows["median"], exact, atol=0.003)


def test_every_k_is_there_up_to_the_vocabulary():
    assert mass_ks(VOCABULARY) == tuple(range(1, VOCABULARY + 1))
    assert len(mass_ks(152_064)) < 250


def test_the_k_suggested_leaves_the_mass_it_names_and_bounds_the_lost_gradient(study, arrays):
    """The gradient lost by a bucket is T P_O (q - p) inside the others, for any student."""
    p, q = (softmax(arrays[f"{side}_logits"], -1) for side in ("teacher", "student"))
    order = np.argsort(-p, axis=1)
    p, q = (np.take_along_axis(x, order, 1) for x in (p, q))
    for row, lost in zip(study.tables["tokens"].itertuples(), (0.1, 0.05, 0.01), strict=True):
        outside = p[:, row.k :].sum(1)
        assert outside.mean() <= lost
        before = [k for k in mass_ks(C) if k < row.k][-1]
        assert p[:, before:].sum(1).mean() > lost
        inside = [x[:, row.k :] / x[:, row.k :].sum(1, keepdims=True) for x in (q, p)]
        gradient = outside * np.abs(inside[0] - inside[1]).sum(1)
        assert (gradient <= 2 * outside + 1e-12).all()
    reading = study.readings["tokens"]
    assert "kdanalysis truncation" in reading.sentence


def test_what_is_left_out_is_said(study):
    assert {*study.tables} == {"teacher", "tokens", "mass", "calibration", "suppression"}
    assert "more than 5,000 classes are a vocabulary" in study.facts["left out"]
    assert "more than 5,000 classes are a vocabulary" in study.html()


def test_control_few_classes_leave_nothing_out():
    few = {"teacher_logits": peaked(0, c=12), "target": np.arange(N)}
    study = kd.diagnose(few)
    assert "left out" not in study.facts
    assert {"profile", "modality", "amplification"} <= {*study.tables}
    assert "auto_k" in set(study.tables["teacher"].quantity)


@pytest.mark.parametrize("noun", ["profile", "modality", "discrepancy"])
def test_a_table_of_all_pairs_is_refused_before_it_is_made(arrays, noun):
    source = open_source(arrays)
    with pytest.raises(
        ValueError, match=r"6,000 \u00d7 6,000 numbers, 0\.288 GB or more: beyond 5,000"
    ):
        tables_of(source, [noun])
    wide = open_source({"teacher_logits": np.zeros((1, 32_000), np.float16)})
    with pytest.raises(ValueError, match=r"32,000 \u00d7 32,000 numbers, 8\.19 GB or more"):
        tables_of(wide, [noun])


def test_tables_of_images_are_made_where_they_are_asked_for(arrays):
    source = open_source(arrays)
    made = [name for name in table_names() if possible(source, name)]
    assert not {*made} & {*left_out_of(C)}
    assert {"agreement", "magnitude"} <= {*made}
    assert len(tables_of(source, ["amplification"])["amplification"])


def test_states_do_not_grow_with_the_square_of_the_vocabulary():
    """The histograms of every k would be 2.4 GB at 152,064 tokens."""
    for one in (TopKMass(152_064), TeacherDistribution(152_064)):
        assert sum(state.numel() * state.element_size() for state in one.states.values()) < 1e7


@pytest.mark.parametrize(("classes", "rows"), [(10, 4096), (1000, 131), (32_000, 32), (152_064, 6)])
def test_batches_are_as_narrow_as_the_vocabulary_is_wide(classes, rows):
    source = open_source({"teacher_logits": np.zeros((1, classes), np.float16)})
    assert source.batch_size("samples") == rows


def test_students_of_a_vocabulary_are_compared_without_the_tables_of_images(arrays):
    study = kd.compare(open_all({"a": arrays, "b": arrays}))
    assert not {*study.tables} & {*left_out_of(C)}
    assert "vocabulary" in study.facts["left out"]
    assert study.tables["agreement"].agreement.iloc[0] == pytest.approx(
        (arrays["teacher_logits"].argmax(1) == arrays["student_logits"].argmax(1)).mean()
    )


def padded(arrays: dict, teacher: int, student: int) -> dict:
    """The same logits with padding of other lengths, on which the student puts some mass."""
    widths = {"teacher_logits": teacher, "student_logits": student}
    wide = {
        name: np.pad(arrays[name], ((0, 0), (0, more)), constant_values=-3.0 if more > 5 else -80.0)
        for name, more in widths.items()
    }
    return arrays | wide


@pytest.mark.parametrize("kind", ["arrays", "npz"])
def test_vocabularies_of_unequal_padding_are_cut(arrays, tmp_path, kind):
    wide, few = padded(arrays, 2, 9), (1.0, 2.0)
    given = wide
    if kind == "npz":
        given = tmp_path / "a.npz"
        np.savez(given, **wide)
    cut = open_source(given, vocabulary=C)
    assert cut.info.num_classes == C
    found = kd.sweep_study(cut, few, (1, 8))
    whole = kd.sweep_study(arrays, few, (1, 8))
    np.testing.assert_array_equal(found.tables["sweep"].values, whole.tables["sweep"].values)
    beyond = {
        side: softmax(wide[f"{side}_logits"], -1)[:, C:].sum(1).mean()
        for side in ("teacher", "student")
    }
    fact = found.facts["cut"]
    assert f"{C:,} classes kept: teacher of {C + 2:,}, mean mass beyond" in fact
    assert f"student of {C + 9:,}, mean mass beyond {beyond['student']:.2g}" in fact
    for side, mass in beyond.items():
        assert cut.logits.cut[f"{side}_logits"].mean == pytest.approx(mass, rel=1e-6)


def test_a_vocabulary_is_swept_over_some_k_unless_told_otherwise(arrays):
    two = {name: values[:2] for name, values in arrays.items()}
    ks = kd.sweep_study(two, (1.0,)).tables["sweep"].k.tolist()
    assert (len(ks) <= 100, ks[:5], ks[-1]) == (True, [1, 2, 3, 4, 5], C - 1)
    few = {name: values[:, :50] for name, values in two.items() if name != "target"}
    assert kd.sweep_study(few, (1.0,)).tables["sweep"].k.tolist() == [*range(1, 50)]


def test_without_vocabulary_the_option_that_helps_is_named(arrays):
    with pytest.raises(ValueError, match=rf"\[:, :{C}\] of each side cuts off padding"):
        open_source(padded(arrays, 0, 9))
    with pytest.raises(ValueError, match=f"have {C} classes: vocabulary={C + 1} cannot be cut"):
        open_source(arrays, vocabulary=C + 1)


def test_a_label_beyond_the_cut_is_refused(arrays):
    with pytest.raises(ValueError, match="need 0 to 6, the 7 classes"):
        list(open_source(arrays, vocabulary=7).logits.batches())


def test_equal_vocabularies_are_not_said_to_be_cut(arrays):
    assert open_source(arrays, vocabulary=C).logits.cut == {}


def test_float16_gives_the_card_of_the_same_numbers(arrays):
    half = arrays["teacher_logits"].astype(np.float16)
    cards = [
        kd.diagnose({"teacher_logits": x}, (1,)).tables["teacher"].value.to_numpy()
        for x in (half, half.astype(np.float64))
    ]
    np.testing.assert_array_equal(*cards)
    assert torch.isfinite(torch.tensor(cards[0])).all()
