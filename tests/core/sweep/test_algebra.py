"""The sweep's closed forms of every k agree with float64 autograd, sample by sample."""

from decimal import Decimal, localcontext

import pytest
import torch

from kdanalysis import GDKD, KD
from kdanalysis.core.divergence import decompose
from kdanalysis.core.sweep import algebra
from kdanalysis.core.sweep.algebra import sweep_terms
from kdanalysis.core.sweep.order import class_order, rank

from .pairs import PROBLEMS, TEACHER, C, N, normal

TERMS = ("high", "low_top", "low_other", "kd")


def autograd(
    values: dict[str, torch.Tensor], student: torch.Tensor
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Values and gradients by name; with a graph, so that these are torch's own."""
    gradients = {
        name: torch.autograd.grad(value.sum(), student, create_graph=True)[0].detach()
        for name, value in values.items()
    }
    return {name: value.detach() for name, value in values.items()}, gradients


def oracle(student: torch.Tensor, teacher: torch.Tensor, k: int, temperature: float):
    """The split of the divergence over the stable top k, and KD, by autograd."""
    student = student.clone().requires_grad_()
    order = teacher.sort(stable=True, dim=-1, descending=True).indices
    parts = decompose(student, teacher, (order[:, :k], None), temperature)
    whole = decompose(student, teacher, (None,), temperature).low[:, 0]
    raw = dict(zip(TERMS, (parts.high, *parts.low.unbind(-1), whole), strict=True))
    scaled = {name: temperature**2 * value for name, value in raw.items()}
    return *autograd(scaled, student), parts.mass


@pytest.mark.parametrize("temperature", [1, 4.0])
@pytest.mark.parametrize("name", PROBLEMS)
def test_norms_values_and_products_are_autograds(name, temperature):
    student, teacher = PROBLEMS[name]
    swept = sweep_terms(rank(student, teacher), temperature)
    scale = max(student.abs().max(), teacher.abs().max()).item()
    compared = 0
    for k in range(1, teacher.shape[1]):
        values, gradients, mass = oracle(student, teacher, k, temperature)
        row = {field: part[min(k, len(part)) - 1] for field, part in swept._asdict().items()}
        torch.testing.assert_close(row["mass_top"], mass[:, 0], rtol=1e-12, atol=0)
        torch.testing.assert_close(row["mass_other"], mass[:, 1], rtol=1e-12, atol=1e-300)
        norms = {term: gradient.norm(dim=-1) for term, gradient in gradients.items()}
        large = {term: norm > 1e-6 * scale for term, norm in norms.items()}
        for term, field in zip(
            TERMS, ("high_high", "top_top", "other_other", "kd_kd"), strict=True
        ):
            seen, near = row[field].sqrt(), large[term]
            compared += int(near.sum())
            torch.testing.assert_close(seen[near], norms[term][near], rtol=1e-8, atol=0)
            torch.testing.assert_close(seen, norms[term], rtol=1e-8, atol=1e-15 * scale + 4e-15)
            value = row[f"value_{term}"]
            torch.testing.assert_close(value[near], values[term][near], rtol=1e-8, atol=0)
        for term, field in (("low_top", "high_top"), ("low_other", "high_other")):
            near = large["high"] & large[term]
            product = (gradients["high"] * gradients[term]).sum(-1)
            error = (row[field] - product).abs() / (norms["high"] * norms[term])
            assert (error[near] < 1e-8).all()
    assert compared > 0 or name == "close 1e-7"


def with_forty_digits(student: list[float], teacher: list[float], k: int) -> dict[str, float]:
    """Norms and values of one sample at T = 1, by Python's decimals."""
    with localcontext(prec=40):
        weights = [[Decimal(x).exp() for x in side] for side in (teacher, student)]
        p, q = ([w / sum(side) for w in side] for side in weights)
        order = sorted(range(len(p)), key=lambda i: -teacher[i])
        groups = {"low_top": order[:k], "low_other": order[k:]}
        norms, high, value = {}, [], Decimal(0)
        for name, group in groups.items():
            big_p, big_q = (sum(side[i] for i in group) for side in (p, q))
            norms[name] = sum((q[i] / big_q - p[i] / big_p) ** 2 for i in group).sqrt()
            high += [q[i] / big_q * (big_q - big_p) for i in group]
            value += big_p * (big_p / big_q).ln()
        norms["high"] = sum(x * x for x in high).sqrt()
        norms["kd"] = sum((x - y) ** 2 for x, y in zip(p, q, strict=True)).sqrt()
        norms["value"] = value
    return {name: float(x) for name, x in norms.items()}


@pytest.mark.parametrize("size", [1e-3, 1e-5, 1e-7])
def test_a_student_close_to_its_teacher_keeps_its_digits(size):
    student, teacher = (TEACHER + normal(1, size))[:4], TEACHER[:4]
    swept = sweep_terms(rank(student, teacher), 1.0)
    fields = {"high": swept.high_high, "low_top": swept.top_top, "low_other": swept.other_other}
    for sample in range(4):
        for k in range(1, C):
            expected = with_forty_digits(student[sample].tolist(), teacher[sample].tolist(), k)
            kd = expected.pop("kd")
            # The float64 logits differ by their rounding, relative to the change: 1e-16 / size.
            close = {"rel": 1e-7, "abs": 1e-9 * kd}
            assert swept.kd_kd[0, sample].sqrt().item() == pytest.approx(kd, rel=1e-8)
            value = swept.value_high[k - 1, sample].item()
            assert value == pytest.approx(expected.pop("value"), rel=1e-6, abs=1e-9 * kd**2)
            for term, norm in expected.items():
                assert fields[term][k - 1, sample].sqrt().item() == pytest.approx(norm, **close)


def test_a_student_equal_to_its_teacher_has_no_gradient():
    same = sweep_terms(rank(TEACHER, TEACHER), 1.0)
    assert not torch.stack([same.high_high, same.top_top, same.other_other, same.value_high]).any()


@pytest.mark.parametrize("k", [1, 4, 8])
def test_terms_are_those_of_the_losses(k):
    student, teacher = normal(1).requires_grad_(), TEACHER
    target = torch.zeros(N, dtype=torch.long)
    losses = GDKD(k, (1, 1, 1), 2.0), KD(2.0)
    values = losses[0](student, teacher, target) | losses[1](student, teacher, target)
    values, gradients = autograd(values, student)
    swept = sweep_terms(rank(student.detach(), teacher), 2.0)
    for term, field in zip(TERMS, ("high_high", "top_top", "other_other", "kd_kd"), strict=True):
        row = min(k, len(getattr(swept, field))) - 1
        norms = getattr(swept, field)[row].sqrt()
        torch.testing.assert_close(norms, gradients[term].norm(dim=-1), rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(
            getattr(swept, f"value_{term}")[row], values[term], rtol=1e-10, atol=1e-14
        )


def test_terms_of_one_class_are_exactly_zero():
    swept = sweep_terms(rank(normal(1), TEACHER), 1.0)
    for first in (swept.top_top[0], swept.value_low_top[0], swept.high_top[0]):
        assert not first.any()
    for last in (swept.other_other[-1], swept.value_low_other[-1], swept.high_other[-1]):
        assert not last.any()


def test_chosen_ks_are_rows_of_all_of_them():
    for name in ("random", "some steep"):
        ranked = rank(*PROBLEMS[name])
        every, some = sweep_terms(ranked, 2.0), sweep_terms(ranked, 2.0, torch.tensor([2, 7]))
        for whole, part in zip(every, some, strict=True):
            assert torch.equal(part, whole[[1, 6]] if len(whole) > 1 else whole)


@pytest.mark.parametrize(("name", "scanned"), [("random", [N]), ("some steep", [6]), ("steep", [])])
def test_every_sample_is_computed_once(monkeypatch, name, scanned):
    seen, own = [], algebra._scan
    monkeypatch.setattr(algebra, "_scan", lambda r, *x: seen.append(len(r.span)) or own(r, *x))
    sweep_terms(rank(*PROBLEMS[name]), 1.0)
    assert seen == scanned


@pytest.mark.parametrize("name", ["random", "close 1e-2", "saturated teacher", "some steep"])
def test_float32_is_near_float64(name):
    student, teacher = (side.float() for side in PROBLEMS[name])
    exact, rough = (
        sweep_terms(rank(student, teacher, d), 4.0) for d in (torch.float64, torch.float32)
    )
    assert rough.mass_top.dtype == torch.float32
    for field in ("high_high", "top_top", "other_other", "kd_kd"):
        a, b = (getattr(swept, field).double().sqrt() for swept in (exact, rough))
        torch.testing.assert_close(b, a, rtol=1e-3, atol=1e-5 * float(student.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_classes_are_ordered_by_logit_and_ties_by_place(dtype):
    teacher = torch.cat((3 * TEACHER, TEACHER.round(), torch.zeros_like(TEACHER))).to(dtype)
    teacher[-1, ::2] = -0.0  # equal to 0.0
    expected = [sorted(range(C), key=lambda i: -row[i]) for row in teacher.tolist()]
    assert class_order(teacher).tolist() == expected
