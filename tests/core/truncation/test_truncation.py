"""Closed forms of truncated losses against autograd and plain sums, a row and a K at a time."""

import pytest
import torch

from kdanalysis.core.truncation.algebra import CONVENTIONS
from kdanalysis.core.truncation.statistics import truncate

N, V, KS = 7, 300, (1, 2, 9, 64)


def pair(
    scale: float = 2.0, noise: float = 1.0, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """A student and its teacher, with a long tail."""
    generator = torch.Generator().manual_seed(seed)
    teacher, more = torch.randn(2, N, V, generator=generator, dtype=torch.float64)
    return scale * teacher + noise * more, scale * teacher


def published(name: str, log_q: torch.Tensor, p: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Value of one row's loss, written from the log-probabilities that are kept."""
    if name == "full":
        return (p * (p.log() - log_q)).sum()
    log_p, log_q = p[ids].log(), log_q[ids]
    if name == "renormalise":
        log_p, log_q = log_p.log_softmax(0), log_q.log_softmax(0)
    elif name == "bucket":
        rest = [torch.log1p(-x.exp().sum()).unsqueeze(0) for x in (log_p, log_q)]
        log_p, log_q = (torch.cat(x) for x in zip((log_p, log_q), rest, strict=True))
    elif name == "teacher":
        log_p = log_p.log_softmax(0)
    return (log_p.exp() * (log_p - log_q)).sum()


def by_autograd(name, student, teacher, k, temperature):
    """Value and gradient of one row, T^2 included."""
    z = student.clone().requires_grad_()
    p = (teacher / temperature).softmax(0)
    log_q = (z / temperature).log_softmax(0)
    value = temperature**2 * published(name, log_q, p, teacher.argsort(descending=True)[:k])
    return value.detach(), torch.autograd.grad(value, z)[0]


@pytest.mark.parametrize("noise", [1.0, 1e-3])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("name", CONVENTIONS)
def test_every_number_is_autograds(name, temperature, noise):
    student, teacher = pair(noise=noise)
    found, place = truncate(student, teacher, KS, temperature), CONVENTIONS.index(name)
    for row in range(N):
        value, full = by_autograd("full", student[row], teacher[row], V, temperature)
        digits = 1e-12 if noise == 1 else 1e-10  # autograd's own, of a difference of close numbers
        close = {"rel": digits, "abs": digits * float(full.norm())}
        assert found.full_l2[row] == pytest.approx(float(full.norm()), **close)
        assert found.full_l1[row] == pytest.approx(float(full.abs().sum()), rel=digits)
        assert found.full_value[row] == pytest.approx(float(value), rel=1e-12, abs=1e-14)
        for column, k in enumerate(KS):
            value, kept = by_autograd(name, student[row], teacher[row], k, temperature)
            at = (place, row, column)
            assert found.lost_l2[at] == pytest.approx(float((full - kept).norm()), **close)
            assert found.lost_l1[at] == pytest.approx(float((full - kept).abs().sum()), **close)
            assert found.kept_l2[at] == pytest.approx(float(kept.norm()), **close)
            assert found.value[at] == pytest.approx(float(value), rel=1e-12, abs=1e-13)
            if (name, k) != ("renormalise", 1):
                cosine = torch.cosine_similarity(full, kept, 0)
                assert found.cosine[at] == pytest.approx(float(cosine), abs=digits)


def in_words(student: torch.Tensor, teacher: torch.Tensor, k: int) -> dict[str, torch.Tensor]:
    """Lost gradients at T = 1, entry by entry, from logarithms: no sum cancels."""
    log_p, log_q = teacher.log_softmax(0), student.log_softmax(0)
    order = teacher.argsort(descending=True)
    top, other = order[:k], order[k:]
    p, q = log_p.exp(), log_q.exp()
    (log_P, log_Q), (log_P_O, log_Q_O) = (
        [side[group].logsumexp(0) for side in (log_p, log_q)] for group in (top, other)
    )
    found = {name: torch.zeros_like(p) for name in ("renormalise", "bucket")}
    shifted = (log_p + log_P_O - log_P).exp() - (log_q + log_Q_O - log_Q).exp()
    found["renormalise"][top], found["renormalise"][other] = shifted[top], (q - p)[other]
    found["bucket"][other] = (log_q + log_P_O - log_Q_O).exp()[other] - p[other]
    return found


@pytest.mark.parametrize("side", ["top", "other"])
def test_a_student_that_gives_a_group_next_to_nothing_keeps_its_digits(side):
    student, teacher = pair()
    for row in range(N):
        order = teacher[row].argsort(descending=True)
        student[row, order[:9] if side == "top" else order[9:]] -= 70
    found = truncate(student, teacher, (9,))
    for row in range(N):
        for name, expected in in_words(student[row], teacher[row], 9).items():
            at = (CONVENTIONS.index(name), row, 0)
            assert found.lost_l2[at] == pytest.approx(float(expected.norm()), rel=1e-12)
            assert found.lost_l1[at] == pytest.approx(float(expected.abs().sum()), rel=1e-12)


@pytest.mark.parametrize(("noise", "shift"), [(1.0, 0.0), (1e-3, 0.0), (1.0, -70.0), (3.0, 4.0)])
def test_lost_l1_of_every_k_is_the_sum_of_all_entries(noise, shift):
    generator = torch.Generator().manual_seed(1)
    teacher, more = torch.randn(2, 2, 5000, generator=generator, dtype=torch.float64)
    teacher *= 3
    student = teacher + noise * more
    student.scatter_add_(1, teacher.topk(40).indices, torch.full((2, 40), -shift).double())
    ks = tuple(range(1, 130))
    found = truncate(student, teacher, ks)
    for row in range(2):
        order = teacher[row].argsort(descending=True)
        p, q = (side[row].softmax(0)[order] for side in (teacher, student))
        for place, k in enumerate(ks):
            mass = p[k:].sum()
            bucket = (mass / q[k:].sum() * q[k:] - p[k:]).abs().sum()
            none = mass * q[:k].sum() + (mass * q[k:] - p[k:]).abs().sum()
            lost = found.lost_l1[:, row, place]
            assert lost[CONVENTIONS.index("bucket")] == pytest.approx(float(bucket), rel=1e-11)
            assert lost[CONVENTIONS.index("none")] == pytest.approx(float(none), rel=1e-11)


def test_masses_overlap_entropy_and_noise_are_plain_sums():
    student, teacher = pair()
    found = truncate(student, teacher, KS, 2.0)
    p, q = (teacher / 2).softmax(-1), (student / 2).softmax(-1)
    for row in range(N):
        best, mine = (x[row].argsort(descending=True) for x in (p, q))
        assert found.entropy[row] == pytest.approx(float(-(p[row] * p[row].log()).sum()))
        assert found.noise[row] == pytest.approx(4 * float(1 - (p[row] ** 2).sum()), rel=1e-12)
        for column, k in enumerate(KS):
            assert found.tail[row, column] == pytest.approx(
                float(p[row, best[k:]].sum()), rel=1e-12
            )
            outside = float(q[row, best[k:]].sum())
            assert found.student_tail[row, column] == pytest.approx(outside, rel=1e-12)
            both = {*best[:k].tolist()} & {*mine[:k].tolist()}
            assert found.overlap[row, column] == len(both) / k


def test_the_noise_of_sampling_is_that_of_draws():
    student, teacher = pair(3.0)
    p, draws, count = teacher[0].softmax(0), 20_000, 4
    drawn = torch.multinomial(p.expand(draws, V), count, replacement=True)
    target = torch.zeros(draws, V, dtype=torch.float64)
    target.scatter_add_(1, drawn, torch.full(drawn.shape, 1 / count, dtype=torch.float64))
    found = ((target - p) ** 2).sum(-1)
    error = float(found.std()) / draws**0.5
    predicted = float(truncate(student, teacher, (1,)).noise[0]) / count
    assert float(found.mean()) == pytest.approx(predicted, abs=4 * error)


def test_where_student_and_teacher_are_one_two_conventions_still_push():
    _, teacher = pair()
    found = truncate(teacher, teacher, KS)
    names = dict(zip(CONVENTIONS, found.lost_l2, strict=True))
    assert (found.full_l2 == 0).all()
    assert found.cosine.isnan().all()
    assert (names["renormalise"] == 0).all()
    assert (names["bucket"] == 0).all()
    p = teacher.softmax(-1).sort(-1, descending=True).values
    for column, k in enumerate(KS):
        mass = p[:, :k].sum(-1, keepdim=True)
        push = torch.cat((p[:, :k] * (1 - 1 / mass), p[:, k:]), -1).norm(dim=-1)  # q - p~ at q = p
        torch.testing.assert_close(names["teacher"][:, column], push)
        torch.testing.assert_close(names["none"][:, column], push * mass[:, 0])


def test_the_bias_of_a_push_grows_beside_full_kd_as_the_student_improves():
    shares = []
    for noise in (1.0, 0.3, 0.1, 0.03):
        found = truncate(*pair(noise=noise), (9,))
        shares.append(found.lost_l2.sum(1)[:, 0] / found.full_l2.sum())
    renormalise, bucket, none, teacher = torch.stack(shares, 1)
    assert (none.diff() > 0).all()
    assert (teacher.diff() > 0).all()
    assert teacher[-1] > 10 * teacher[0]
    for steady in (renormalise, bucket):
        assert steady.max() < 2 * steady.min()


def test_none_points_where_teacher_does_and_is_shorter_by_the_mass_of_the_top():
    found = truncate(*pair(), KS)
    _, _, none, teacher = found.kept_l2
    torch.testing.assert_close(none, teacher * (1 - found.tail))
    torch.testing.assert_close(found.cosine[2], found.cosine[3])
    assert not torch.allclose(found.cosine[1], found.cosine[3], atol=1e-2)


def test_l2_flatters_a_long_tail():
    ranks = torch.arange(1, 2001, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    teacher = -1.2 * ranks.log() + torch.zeros(20, 1, dtype=torch.float64)
    student = teacher + 0.5 * torch.randn(20, 2000, generator=generator, dtype=torch.float64)
    found, place = truncate(student, teacher, (32,)), CONVENTIONS.index("bucket")
    l2 = float(found.lost_l2[place].sum() / found.full_l2.sum())
    l1 = float(found.lost_l1[place].sum() / found.full_l1.sum())
    assert l1 > 3 * l2


def test_one_class_renormalised_teaches_nothing():
    found = truncate(*pair(), (1, 2))
    assert (found.kept_l2[0, :, 0] == 0).all()
    assert found.cosine[0, :, 0].isnan().all()
    torch.testing.assert_close(found.lost_l2[0, :, 0], found.full_l2)
    assert (found.kept_l2[0, :, 1] > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_narrow_logits_are_computed_in_float64(dtype):
    student, teacher = (side.to(dtype) for side in pair())
    for narrow, wide in zip(
        truncate(student, teacher, KS),
        truncate(student.double(), teacher.double(), KS),
        strict=True,
    ):
        torch.testing.assert_close(narrow, wide, rtol=1e-12, atol=1e-14, equal_nan=True)


def test_of_equal_logits_the_first_class_is_known():
    teacher = torch.zeros(1, 4, dtype=torch.float64)
    student = torch.tensor([[2.0, 0, 0, 0]], dtype=torch.float64)
    q = student.softmax(-1)[0]
    assert truncate(student, teacher, (1,)).student_tail[0, 0] == pytest.approx(float(1 - q[0]))
