"""CKA agrees with its definition by Gram matrices of samples, in one piece or streamed."""

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.stones.alignment import (
    GROUPS,
    FeatureAlignment,
    alignment_reading,
    groups_of,
)

G = torch.Generator().manual_seed(0)
MAPS = torch.randn(40, 3, 4, 4, generator=G)
TOKENS = torch.randn(40, 5, 6, generator=G) + MAPS.mean((2, 3)).repeat(1, 2).unsqueeze(1)
VECTORS = torch.randn(40, 2, generator=G) + 50.0
STUDENT, TEACHER = {"a": 3, "b": 2}, {"c": 6}


def filled(ours=(MAPS, VECTORS), theirs=(TOKENS,), split=17) -> FeatureAlignment:
    metric = FeatureAlignment(STUDENT, TEACHER)
    for rows in (slice(None, split), slice(split, None)):
        metric.update([x[rows] for x in ours], [y[rows] for y in theirs])
    return metric


def by_samples(x: torch.Tensor, y: torch.Tensor) -> float:
    """HSIC of centred Gram matrices (n, n), as the paper defines it."""
    x, y = x.double().numpy(), y.double().numpy()
    centre = np.eye(len(x)) - 1 / len(x)
    k, g = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre
    return float((k * g).sum() / np.sqrt((k * k).sum() * (g * g).sum()))


def without_chance(x: torch.Tensor, y: torch.Tensor) -> float:
    """CKA of unbiased squares of covariances, as they are of normal features."""

    def square(a: np.ndarray, b: np.ndarray) -> float:
        scatter = [np.cov(one.T) for one in (a, b)]
        both = np.cov(a.T, b.T)[: a.shape[1], a.shape[1] :]
        return (both**2).sum() - np.trace(scatter[0]) * np.trace(scatter[1]) / (len(a) - 1)

    x, y = x.double().numpy(), y.double().numpy()
    return float(square(x, y) / np.sqrt(square(x, x) * square(y, y)))


def test_cka_agrees_with_gram_matrices_of_the_samples():
    table = filled().table()
    assert table.student_block.tolist() == ["a", "b"]
    assert table.teacher_block.tolist() == ["c", "c"]
    assert table.cka[0] == pytest.approx(by_samples(MAPS.mean((2, 3)), TOKENS.mean(1)))
    assert table.cka[1] == pytest.approx(by_samples(VECTORS, TOKENS.mean(1)))
    assert table.cka[0] > 0.2 > table.cka[1]
    assert (table.n == 40).all()


def test_intervals_are_the_jackknife_over_groups_of_samples():
    """Every group left out in turn, of CKA by Gram matrices of the samples."""
    n = 160
    x = torch.randn(n, 3, generator=G)
    theirs = [x @ torch.randn(3, 6, generator=G) + torch.randn(n, 6, generator=G)]
    theirs.append(torch.randn(n, 4, generator=G) + x[:, :1])
    metric = FeatureAlignment({"a": 3}, {"c": 6, "d": 4})
    metric.update([x], theirs)
    table = metric.table()
    place = groups_of(x.double(), GROUPS)
    assert place.bincount(minlength=GROUPS).min() > 8  # as chance would fill them
    left = np.array(
        [[by_samples(x[place != g], y[place != g]) for y in theirs] for g in range(GROUPS)]
    )
    t = 2.364624  # of Student's, seven degrees
    less = np.array([without_chance(x, y) for y in theirs])
    spread = t * np.sqrt((GROUPS - 1) * left.var(0)) + abs(table.cka.to_numpy() - less)
    assert table.cka_half.tolist() == pytest.approx(spread, rel=1e-6)
    apart = left[:, 0] - left[:, 1]
    first = table.cka[0] - table.cka[1]
    assert table.lead.tolist() == pytest.approx([first, -first])
    half = t * np.sqrt(7 * apart.var()) + abs(first - less[0] + less[1])
    assert table.lead_half.tolist() == pytest.approx([half] * 2, rel=1e-6)


def test_a_block_that_is_behind_is_so_at_a_level_for_all_its_rivals():
    """Beside a second rival that is never the first, Student's quantile alone is another."""
    x = torch.randn(160, 3, generator=G)
    theirs = [
        x + 0.1,
        torch.randn(160, 4, generator=G) + x[:, :1],
        torch.randn(160, 4, generator=G),
    ]
    found = []
    for count in (2, 3):
        metric = FeatureAlignment({"a": 3}, dict(zip("cde", (3, 4, 4)[:count], strict=False)))
        metric.update([x], theirs[:count])
        found.append(metric.table())
    leads = [by_samples(x, one) - without_chance(x, one) for one in theirs]
    bias = [abs(leads[place] - leads[other]) for place, other in ((0, 1), (1, 0))]
    few, more = (table.lead_half[:2].to_numpy() - bias for table in found)
    assert more / few == pytest.approx([1, 2.841244 / 2.364624], rel=1e-5)  # 95 and 97.5 %


def test_more_channels_that_know_nothing_of_the_student_are_not_seen_to_lead():
    """CKA of 16 channels with 64 unrelated ones is higher than with 16, in every draw."""
    generator, ahead = torch.Generator().manual_seed(0), []
    for _ in range(20):
        metric = FeatureAlignment({"a": 16}, {"wide": 64, "narrow": 16, "other": 16})
        sides = [torch.randn(100, width, generator=generator) for width in (16, 64, 16, 16)]
        metric.update(sides[:1], sides[1:])
        ahead.append(alignment_reading(metric.table()).sentence)
    assert sum("is seen for 1 of 1" in one for one in ahead) <= 2


def test_a_rotation_and_a_scale_change_nothing_and_itself_is_one():
    turn = torch.linalg.qr(torch.randn(6, 6, generator=G)).Q
    turned = filled(theirs=(3 * TOKENS @ turn,)).table()
    np.testing.assert_allclose(turned.cka, filled().table().cka, rtol=1e-5)
    metric = FeatureAlignment({"a": 3}, {"a": 3})
    metric.update([MAPS], [MAPS])
    assert metric.table().cka[0] == pytest.approx(1)


def test_a_constant_block_has_no_alignment_and_bad_rows_are_counted():
    constant = filled(ours=(torch.full_like(MAPS, 3.7), VECTORS)).table()
    assert constant.cka.isna().tolist() == [True, False]
    maps = MAPS.clone()
    maps[4, 0, 0, 0] = torch.nan
    table, kept = filled(ours=(maps, VECTORS)).table(), [i for i in range(40) if i != 4]
    assert table.non_finite.tolist() == [1, 1]
    assert table.cka[0] == pytest.approx(by_samples(MAPS.mean((2, 3))[kept], TOKENS.mean(1)[kept]))


def test_halves_merge_into_the_whole():
    left, right = FeatureAlignment(STUDENT, TEACHER), FeatureAlignment(STUDENT, TEACHER)
    left.update([MAPS[:9], VECTORS[:9]], [TOKENS[:9]])
    right.update([MAPS[9:], VECTORS[9:]], [TOKENS[9:]])
    left.merge_state(right)
    pd.testing.assert_frame_equal(left.table(), filled().table())


def test_other_channels_than_announced_are_refused():
    with pytest.raises(ValueError, match=r"the student's features have \[2, 3\] channels, annou"):
        filled(ours=(VECTORS, MAPS))
