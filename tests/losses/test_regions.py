"""SDD: the published values, a plain loop, gradients by autograd, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from problems import batch
from scipy.special import log_softmax, softmax

from kdanalysis import (
    DKD,
    GDKD,
    KD,
    NKD,
    SDD,
    CrossEntropy,
    LogitStandardized,
    Sum,
    feature_gradients,
    parse_loss,
    region_logits,
)
from kdanalysis.losses.base import checked

GOLDEN = Path(__file__).parents[1] / "golden"
ROWS = [
    row
    for row in json.loads((GOLDEN / "reference_losses.json").read_text())
    if row.get("method", "").startswith("sdd")
]


def regions(seed: int, count: int = 5, n: int = 6, c: int = 7) -> tuple[torch.Tensor, ...]:
    """Float64 region logits (n, c, count) of student and teacher with both kinds of region."""
    student, teacher, target = batch(seed, n=n * count, c=c)
    sides = (x.unflatten(0, (n, count)).mT.contiguous() for x in (student, teacher))
    return *sides, target[:n]


@pytest.fixture(scope="module")
def arrays():
    with np.load(GOLDEN / "reference_losses.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['case']}-{row['name']}")
def test_value_and_gradient_equal_the_published_code(arrays, row):
    student, teacher, target = (
        torch.from_numpy(arrays[f"{row['case']}/{name}"])
        for name in ("student_logits", "teacher_logits", "target")
    )
    t = row["temperature"]
    base = KD(t) if row["method"] == "sdd-kd" else DKD(row["alpha"], row["beta"], t)
    weight, scales = row["complementary_weight"], row["scales"]
    expected = torch.from_numpy(arrays[f"{row['case']}/{row['name']}/grad"])
    for reduction, factor in (("mean", 1), ("sum", 21)):
        loss = SDD(base, scales, weight, "correctness", reduction)
        value = sum(loss(student, teacher, target).values()).mean()
        gradient = sum(loss.gradients(student, teacher, target).values()) / len(student)
        assert float(value) == pytest.approx(factor * row["loss"], rel=1e-9)
        assert (gradient - factor * expected).norm() <= factor * 1e-9 * expected.norm()


def test_the_golden_rows_cover_both_methods_and_temperatures():
    assert {(row["method"], row["temperature"]) for row in ROWS} == {
        (method, t) for method in ("sdd-kd", "sdd-dkd") for t in (1.0, 4.0)
    }


def nkd(z: np.ndarray, t: np.ndarray, label: int, T: float, gamma: float, official: bool) -> tuple:
    """Both terms of NKD on one region, in plain numpy."""
    rest = np.arange(len(z)) if official else np.delete(np.arange(len(z)), label)
    other = -gamma * T**2 * softmax(t[rest] / T) @ log_softmax(z[rest] / T)
    return -softmax(t)[label] * log_softmax(z)[label], other


@pytest.mark.parametrize("split", ["class", "correctness"])
@pytest.mark.parametrize("official", [False, True])
def test_every_term_equals_a_plain_loop_over_samples_and_regions(split, official):
    problem = student, teacher, target = regions(3)
    loss = SDD(NKD(2.0, 0.7, official), (1, 2), 3.0, split)
    expected = {name: np.zeros(len(target)) for name in loss.terms}
    for i, label in enumerate(target.tolist()):
        whole = int(teacher[i, :, 0].argmax())
        for r in range(5):
            z, t = student[i, :, r].numpy(), teacher[i, :, r].numpy()
            same = t.argmax() == whole
            if split == "correctness":
                same = (t.argmax() == label) == (whole == label)
            kind, weight = ("consistent", 1.0) if same else ("complementary", 3.0)
            for name, value in zip(
                loss.base.terms, nkd(z, t, label, 2.0, 0.7, official), strict=True
            ):
                expected[f"{kind}/{name}"][i] += weight * value / 5
    values = loss(*problem)
    assert list(values) == list(expected) == list(loss.terms)
    for name in expected:
        np.testing.assert_allclose(values[name], expected[name], rtol=1e-12)
        assert np.any(expected[name] != 0)


def test_the_published_nkd_differs_from_the_right_one_inside_sdd():
    problem = regions(3)
    right, published = (SDD(NKD(official=o), (1, 2))(*problem) for o in (False, True))
    torch.testing.assert_close(right["consistent/nkd_target"], published["consistent/nkd_target"])
    gap = right["complementary/nkd_other"] - published["complementary/nkd_other"]
    assert gap.abs().max() > 1e-3


def test_the_gradient_in_the_feature_map_is_the_closed_form_pulled_through_the_head():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(4, 6, 7, 5, dtype=torch.float64, generator=generator).requires_grad_()
    theirs = torch.randn(4, 9, 4, 4, dtype=torch.float64, generator=generator)  # another grid
    heads = [torch.randn(8, d, dtype=torch.float64, generator=generator) for d in (6, 9)]
    student, teacher = (
        region_logits(*pair) for pair in zip((features, theirs), heads, strict=True)
    )
    problem = student, teacher, torch.tensor([0, 3, 7, 1])
    loss = SDD(DKD())
    total = sum(loss(*problem).values()).sum()
    (expected,) = torch.autograd.grad(total, features, create_graph=True)  # torch's own
    total = sum(loss.gradients(*problem).values())
    torch.testing.assert_close(feature_gradients(total, heads[0], features.shape), expected)


def test_consistent_and_complementary_terms_make_up_the_base_on_all_regions():
    student, teacher, target = problem = regions(4)
    values = SDD(GDKD(k=3), (1, 2), complementary_weight=1.0, reduction="sum")(*problem)
    for name in ("high", "low_top", "low_other"):
        every = [GDKD(k=3)(student[..., r], teacher[..., r], target)[name] for r in range(5)]
        total = values[f"consistent/{name}"] + values[f"complementary/{name}"]
        torch.testing.assert_close(total, sum(every))


def test_weights_of_zero_leave_the_other_part_alone():
    problem = regions(4)
    both = SDD(KD(), (1, 2), 3.0)(*problem)
    first, second = SDD(KD(), (1, 2), 0.0), SDD(KD(), (1, 2), 3.0, consistent_weight=0.0)
    for loss, kept, dropped in ((first, *both), (second, *reversed(both))):
        values = loss(*problem)
        torch.testing.assert_close(values[kept], both[kept])
        assert both[dropped].any()
        assert not values[dropped].any()


def test_scale_1_alone_is_the_base_loss():
    student, teacher, target = regions(5, 1)
    values = SDD(DKD(), (1,))(student, teacher, target)
    expected = DKD()(student[..., 0], teacher[..., 0], target)
    torch.testing.assert_close(values["consistent/nckd"], expected["nckd"])
    assert (values["complementary/nckd"] == 0).all()


def test_beside_sdd_a_plain_loss_sees_the_global_region_alone():
    student, teacher, target = problem = regions(6)
    loss = Sum(CrossEntropy(), SDD(KD(), (1, 2)))
    expected = CrossEntropy()(student[..., 0], teacher[..., 0], target)
    torch.testing.assert_close(loss(*problem)["ce"], expected["ce"])
    gradient = loss.gradients(*problem)["ce"]
    assert gradient[..., 0].abs().sum() > 0
    assert (gradient[..., 1:] == 0).all()


def test_weights_and_terms_have_the_bases_names():
    loss = SDD(DKD(beta=4.0), complementary_weight=2.5)
    assert loss.term_weights == {
        "consistent/tckd": 1.0,
        "consistent/nckd": 4.0,
        "complementary/tckd": 2.5,
        "complementary/nckd": 10.0,
    }
    assert loss.temperature == 4.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_input_gives_the_float64_result(dtype):
    student, teacher, target = regions(7)
    student, teacher = student.to(dtype), teacher.to(dtype)
    loss = SDD(GDKD(k=3), (1, 2))
    exact = loss(student.double(), teacher.double(), target)
    for name, value in loss(student, teacher, target).items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), exact[name], rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("side", [0, 1])
def test_nan_is_an_error_that_names_sample_class_and_region_and_never_zero(side):
    problem = regions(8)
    problem[side][2, 4, 3] = problem[side][2, 5, 1] = float("nan")
    name = ("student", "teacher")[side]
    loss = SDD(KD(), (1, 2))
    for call in (loss, loss.gradients):
        with pytest.raises(
            ValueError,
            match=rf"{name} logits of sample 2 hold nan at class 4 of region 3; .*1 of 6",
        ):
            call(*problem)


@pytest.mark.parametrize(
    ("text", "loss"),
    [
        ("sdd-kd", SDD(KD())),
        ("sdd-gdkd:k=5,scales=1/2", SDD(GDKD(5), (1, 2))),
        ("SDD-NKD:official=true,split=correctness", SDD(NKD(official=True), split="correctness")),
        ("sdd-ls-kd:reduction=sum", SDD(LogitStandardized(KD()), reduction="sum")),
        ("ce+sdd-dkd:complementary_weight=4", Sum(CrossEntropy(), SDD(DKD(), (1, 2, 4), 4.0))),
    ],
)
def test_text_gives_the_loss(text, loss):
    assert repr(parse_loss(text)) == repr(loss)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: parse_loss("sdd"), "unknown loss 'sdd'; did you mean 'sdd-kd'"),
        (lambda: parse_loss("ls-sdd-kd"), r"standardise inside SDD instead: SDD\(LogitStandar"),
        (lambda: parse_loss("sdd-kd:scale=1/2"), "no option 'scale'; did you mean 'scales'"),
        (lambda: parse_loss("sdd-kd:base=kd"), "no option 'base'"),
        (lambda: parse_loss("kd:scales=1/2"), "loss 'kd' has no option 'scales'"),
        (lambda: parse_loss("sdd-kd:scales=1/2.5"), "is not of the kind of its default"),
        (lambda: SDD(KD(), (2, 4)), "scales must rise from 1"),
        (lambda: SDD(KD(), split="label"), "split is one of .* got 'label'"),
        (lambda: SDD(KD(), reduction="max"), "reduction is one of .* got 'max'"),
        (lambda: SDD(KD(), complementary_weight=float("nan")), "must be a finite number"),
        (lambda: SDD(SDD(KD())), "the base of SDD is a loss on one region, got SDD"),
        (lambda: LogitStandardized(SDD(KD())), "standardise inside SDD instead"),
        (lambda: Sum(SDD(KD()), SDD(KD(), (1, 2))), "losses on regions need the same scales"),
        (lambda: checked(*batch(0), (1, 2)), r"need student and teacher region logits \(n, c, 5\)"),
        (lambda: checked(*regions(0), (1, 2, 4)), r"region logits \(n, c, 21\) of the scales"),
        (lambda: checked(*(x[:, 0] for x in batch(0)[:2]), batch(0)[2]), r"got student \(5,\)"),
        (lambda: checked(*regions(0)), r"need student and teacher logits \(n, c\) and targets"),
    ],
)
def test_bad_use_is_answered_in_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("loss", [SDD(DKD(), (1, 2)), SDD(KD(), (1, 2), split="correctness")])
def test_a_target_that_is_no_class_is_named_by_its_sample(loss):
    student, teacher, target = regions(9)
    target[3] = 7
    with pytest.raises(ValueError, match="target of sample 3 is 7, need an index from 0 to 6"):
        loss(student, teacher, target)
