"""Several teachers as one: the mixture against autograd and plain loops, and each beside it."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import nn
from toy import Training, batches, network

import kdanalysis as kd
from kdanalysis.studies import pairing


def given(count: int = 2, n: int = 40, c: int = 6, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return list(3 * torch.randn(count, n, c, dtype=torch.float64, generator=generator))


@pytest.mark.parametrize("t", [1.0, 4.0])
def test_the_mixture_softens_to_the_weighted_mean_of_the_teachers(t):
    one, two = given()
    mixed = kd.mix([one, two], weights=(3, 1), temperature=t)
    p = 0.75 * softmax(one.numpy() / t, -1) + 0.25 * softmax(two.numpy() / t, -1)
    np.testing.assert_allclose(softmax(mixed.numpy() / t, -1), p, rtol=1e-12)
    logits = kd.mix([one, two], weights=(3, 1), of="logits")
    torch.testing.assert_close(logits, 0.75 * one + 0.25 * two)
    texts = kd.mix([one.view(2, 20, 6), two.view(2, 20, 6)], weights=(3, 1), temperature=t)
    torch.testing.assert_close(texts, mixed.view(2, 20, 6))


def test_the_gradient_for_the_mixture_is_the_weighted_sum_over_teachers_by_autograd():
    student, one, two = given(3)
    target = torch.zeros(40, dtype=torch.long)
    leaf = student.clone().requires_grad_()
    log_q = (leaf / 2).log_softmax(-1)
    total = sum(
        w * 4 * torch.nn.functional.kl_div(log_q, (x / 2).softmax(-1), reduction="sum")
        for w, x in ((0.25, one), (0.75, two))
    )
    (expected,) = torch.autograd.grad(total, leaf)
    mixed = kd.mix([one, two], weights=(0.25, 0.75), temperature=2)
    torch.testing.assert_close(kd.KD(2.0).gradients(student, mixed, target)["kd"], expected)


@pytest.mark.parametrize("of", ["probabilities", "logits"])
def test_a_student_of_two_teachers_is_recorded_with_a_residual_of_rounding(tmp_path, of):
    training, second = Training(), network(7).eval().requires_grad_(False)
    both = kd.Teachers(training.teacher, second, weights=(2, 1), of=of)
    loss = kd.Sum(kd.CrossEntropy(), kd.GDKD(k=2))
    options = {"schedule": kd.every(1), "store": kd.Store("float32")}
    sides = {"student": training.student, "teacher": both}
    with kd.Recorder(tmp_path / "run", loss, **sides, **options) as recorder:
        for x, y, index in batches(3):
            both(x), training.student(x)
            training.update(recorder.loss(y, sample_id=index))
    (rows,) = kd.open_run(tmp_path / "run").batches(["teacher_logits", "residual"], 100)
    assert rows["residual"].max() < 1e-5
    x = torch.cat([x for x, _, _ in batches(3)])
    expected = kd.mix([training.teacher(x), second(x)], (2, 1), of)
    np.testing.assert_allclose(rows["teacher_logits"], expected.numpy(), rtol=1e-5, atol=1e-5)


def test_each_teacher_is_held_against_the_mixture_as_a_loop_does():
    student, one, two = given(3)
    table = kd.mixture(student, {"one": one, "two": two.numpy()}, (3, 1), temperature=2)
    assert table.weight.tolist() == [0.75, 0.25]
    q, *p = (softmax(x.numpy() / 2, -1) for x in (student, one, two))
    whole = 0.75 * p[0] + 0.25 * p[1]
    for row, each in zip(table.itertuples(), p, strict=True):
        pairs = list(zip(2 * (q - each), 2 * (q - whole), strict=True))
        norms = [np.linalg.norm(a) for a, _ in pairs]
        cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs]
        divergence = (whole * np.log(whole / each)).sum(-1).mean()
        agreement = (each.argmax(-1) == whole.argmax(-1)).mean()
        assert row.agreement == agreement < 1
        found = row.cosine, row.divergence, row.norm, row.norm_mixture
        expected = np.mean(cosines), divergence, np.mean(norms)
        expected = *expected, np.mean([np.linalg.norm(b) for _, b in pairs])
        np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_doubts_of_rows_and_refusals_name_the_teacher_and_look_at_the_student_once(monkeypatch):
    looked, look = [], pairing.check_logits
    monkeypatch.setattr(
        pairing, "check_logits", lambda name, *x: (looked.append(name), look(name, *x))
    )
    teacher, other, noise = given(3, 300, 30)
    student, apart = teacher + 0.3 * noise, other.roll(1, 0)
    with pytest.warns(RuntimeWarning) as told:
        kd.mixture(student, {"good": teacher, "shifted": teacher.roll(1, 0), "other": apart})
    (message,) = [str(one.message) for one in told]
    assert message.startswith("the rows of student and teacher shifted seem to be one apart: ")
    assert looked == [
        f"{name} logits" for name in ("student", "teacher good", "teacher shifted", "teacher other")
    ]
    for wrong, words in (
        (other.softmax(-1), "teacher bad logits are probabilities"),
        (other[1:], r"student logits \(300, 30\) and teacher bad logits \(299, 30\) must have"),
        (
            other.masked_fill(other == other[7, 2], torch.nan),
            "teacher bad logits of sample 7 hold nan at",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            kd.mixture(student, {"good": teacher, "bad": wrong})


def test_rows_looked_at_in_parts_give_the_same_table(monkeypatch):
    student, one, two = given(3)
    whole = kd.mixture(student, {"one": one, "two": two})
    monkeypatch.setattr("kdanalysis.studies.mixture.ENTRIES", 100)
    np.testing.assert_allclose(
        kd.mixture(student, {"one": one, "two": two}).iloc[:, 1:], whole.iloc[:, 1:], rtol=1e-12
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"weights": (1,)}, "need a weight above 0 for each of 2 teachers, got .1.0,."),
        ({"weights": (1, -1)}, "need a weight above 0"),
        ({"of": "labels"}, "of is one of .'probabilities', 'logits'., got 'labels'"),
        ({"temperature": 0}, "temperature must lie between 0.001 and 10000"),
    ],
)
def test_what_cannot_be_mixed_is_refused(arguments, words):
    for call in (kd.mix, lambda x, **more: kd.Teachers(nn.Linear(2, 2), nn.Linear(2, 2), **more)):
        with pytest.raises(ValueError, match=words):
            call(given(), **arguments)


def test_one_of_several_teachers_that_gives_probabilities_is_named():
    plain, softened = nn.Linear(4, 3), nn.Sequential(nn.Linear(4, 3), nn.Softmax(-1))
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="teacher 1's outputs are probabilities: 8 rows"):
        kd.Teachers(plain, softened)(x)
    both = kd.Teachers(plain, plain, of="logits")
    both(x)
    torch.testing.assert_close(both(x), plain(x))


def test_teachers_that_are_none_and_shapes_that_differ_are_named():
    with pytest.raises(ValueError, match="Teachers takes one or more modules, got str"):
        kd.Teachers("resnet")
    with pytest.raises(ValueError, match=r"in one shape, got \(40, 6\), \(39, 6\)"):
        kd.mix([given()[0], given()[1][1:]])


def test_teachers_mixed_at_another_temperature_than_the_losss_are_told(tmp_path):
    loss, two = kd.Sum(kd.CrossEntropy(), kd.KD(4)), (nn.Linear(2, 2), nn.Linear(2, 2))
    told = "probabilities at T = 2, and KD softens the mixture at T = 4, .* temperature=4, or of="
    with pytest.warns(RuntimeWarning, match=told):
        kd.Recorder(tmp_path / "run", loss, teacher=kd.Teachers(*two, temperature=2)).close()
    for fits in ({"temperature": 4}, {"temperature": 2, "of": "logits"}):  # a warning is an error
        kd.Recorder(tmp_path / "run", loss, teacher=kd.Teachers(*two, **fits)).close()


def test_several_teachers_can_be_mapped_over_a_batch():
    teachers = kd.Teachers(torch.nn.Linear(3, 4), torch.nn.Linear(3, 4))
    mapped = torch.func.vmap(lambda x: teachers(x.unsqueeze(0)).squeeze(0))
    x = torch.randn(5, 3)
    torch.testing.assert_close(mapped(x), teachers(x))
