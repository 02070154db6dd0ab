"""Cancellation agrees with autograd, image by image; figure and words follow the table."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import sem, t

from kdanalysis import KD, SDD
from kdanalysis.analyzers.regions.cancellation import (
    RegionCancellation,
    by_ambiguity,
    cancellation_by_ambiguity,
    cancellation_reading,
)
from tests.analyzers.readback import lines, smallest_font
from tests.analyzers.reference import regions, targets

STUDENT, TEACHER, TARGET = regions(0), regions(1), targets(2, 40, 5)
PARTS = {2: slice(1, 5), 4: slice(5, 21)}
LOSS = KD(2.0)


def filled(student=STUDENT, teacher=TEACHER, target=TARGET):
    metric = RegionCancellation(LOSS, 5)
    metric.update(student[:13], teacher[:13], target[:13])
    metric.update(student[13:], teacher[13:], target[13:])
    return metric


def facts() -> pd.DataFrame:
    """Ratio and number of differing cells of every image, gradients by autograd."""
    z, rows = STUDENT.clone().requires_grad_(), []
    flat = (x.permute(0, 2, 1).flatten(0, 1) for x in (z, TEACHER))
    value = LOSS(*flat, TARGET.repeat_interleave(21))["kd"].sum()
    (gradient,) = torch.autograd.grad(value, z)
    top = TEACHER.argmax(1)
    for n in range(40):
        for m, part in PARTS.items():
            g = gradient[n, :, part].numpy()
            norms = [np.sqrt((g[:, r] ** 2).sum()) for r in range(m * m)]
            mean = np.sqrt((g.mean(1) ** 2).sum())
            differing = int((top[n, part] != top[n, 0]).sum())
            ratio = mean / np.mean(norms)
            rows.append(
                {"scale": m, "differing": differing, "ratio": ratio, "norm": np.mean(norms)}
            )
    return pd.DataFrame(rows)


def test_the_table_agrees_with_autograd():
    table = filled().table().set_index(["scale", "differing"])
    each = facts().groupby(["scale", "differing"])
    counts = each.size()
    for name in ("ratio", "norm"):
        np.testing.assert_allclose(table.loc[counts.index, name], each[name].mean())
    assert table.loc[counts.index, "n"].tolist() == counts.tolist()
    several = counts.index[counts > 1]
    np.testing.assert_allclose(table.loc[several, "ratio_se"], each.ratio.sem()[several])
    assert table.loc[counts.index[counts < 2], "ratio_se"].isna().all()
    assert table.n.sum() == 80
    assert table.clear.tolist() == [True, *[False] * 4, True, *[False] * 16]
    assert len(counts) > 10


def test_cells_that_pull_one_way_keep_all_and_opposed_ones_nothing():
    whole = torch.tensor([[1.0, 0.0, -1.0]], dtype=torch.float64)
    student = torch.zeros(1, 3, 5, dtype=torch.float64)
    one = RegionCancellation(KD(1.0), 3, (1, 2))
    one.update(student, whole.unsqueeze(-1).expand(1, 3, 5), torch.tensor([0]))
    assert one.table().ratio[0] == pytest.approx(1)
    log_p = torch.tensor([[0.5, 0.3, 0.2], [1 / 6, 11 / 30, 7 / 15]], dtype=torch.float64).log()
    cells = torch.stack([log_p[0], *log_p, *log_p], -1).unsqueeze(0)  # p - 1/3 sums to 0 by pairs
    two = RegionCancellation(KD(1.0), 3, (1, 2))
    two.update(student, cells, torch.tensor([0]))
    row = two.table().query("n == 1").iloc[0]
    assert (row.differing, row.clear) == (2, False)
    assert row.ratio == pytest.approx(0, abs=1e-12)


def test_a_student_that_equals_its_teacher_has_no_gradient_and_no_ratio():
    metric = RegionCancellation(LOSS, 5)
    metric.update(TEACHER, TEACHER, TARGET)
    table = metric.table()
    assert (table.n.sum(), table.no_gradient.sum()) == (0, 80)
    assert table.ratio.isna().all()


def test_the_mean_of_the_cells_gradients_is_what_reaches_the_global_logits():
    """On maps that the scale divides the global logits are the mean of the cells'."""
    loss = SDD(LOSS, (1, 2), 1.0)
    by_region = loss.gradients(STUDENT[..., :5], TEACHER[..., :5], TARGET)
    total = sum(by_region.values())[..., 1:5]
    ratios = total.mean(-1).norm(dim=-1) / total.norm(dim=1).mean(-1)
    each = facts().query("scale == 2").ratio
    np.testing.assert_allclose(ratios, each)


def test_the_whole_image_alone_has_no_cells_to_compare():
    with pytest.raises(ValueError, match="need a scale of more than one cell"):
        RegionCancellation(LOSS, 5, (1,))


def samples(slope=-0.05, scale=2, n=30, clear=30, noise=0.01) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    differing = np.repeat(np.arange(scale**2 + 1), [clear] + [n] * scale**2)
    ratio = 0.7 + slope * differing + noise * rng.standard_normal(len(differing))
    return pd.DataFrame({"scale": scale, "differing": differing, "ratio": ratio})


def drawable(*parts: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for each in parts or (samples(),):
        scale = int(each.scale[0])
        for d in range(scale**2 + 1):
            some = each.ratio[each.differing == d]
            row = {"scale": scale, "differing": d, "clear": d == 0, "n": len(some)}
            row["ratio"] = some.mean() if len(some) else np.nan
            row["ratio_se"] = sem(some) if len(some) > 1 else np.nan
            rows.append(row | {"norm": 1.0})
    return pd.DataFrame(rows).assign(no_gradient=0, non_finite=3)


def test_points_bars_and_counts_are_the_tables():
    frame = drawable()
    figure = cancellation_by_ambiguity(frame)
    top, bottom = figure.axes
    drawn = lines(top)
    assert drawn["clear images"] == ([0], frame.ratio[:1].tolist())
    assert drawn["ambiguous"] == ([1, 2, 3, 4], frame.ratio[1:].tolist())
    (band,) = top.collections
    edges = [y for x, y in band.get_paths()[0].vertices if x == 1]
    assert max(edges) - min(edges) == pytest.approx(2 * t.ppf(0.975, 29) * frame.ratio_se[1], 1e-3)
    assert [bar.get_height() for bar in bottom.patches] == pytest.approx([20] * 5)
    assert 0.5 in [line.get_ydata()[0] for line in top.lines]  # 1 / m
    assert "3 samples with NaN or inf left out" in figure.get_supxlabel()
    assert smallest_font(figure) >= 9


def test_means_of_few_images_are_not_drawn():
    top, _ = cancellation_by_ambiguity(drawable(samples(clear=9))).axes
    assert lines(top)["clear images"] == ([], [])


def test_pooled_means_and_errors_are_those_of_the_images():
    each = samples(noise=0.1)
    groups = by_ambiguity(drawable(each)).set_index("images")
    kinds = {
        "clear": each.differing == 0,
        "ambiguous": each.differing > 0,
        "up to half": each.differing <= 2,
        "more than half": each.differing > 2,
    }
    for name, kind in kinds.items():
        some = each.ratio[kind]
        assert groups.n[name] == len(some)
        assert groups.ratio[name] == pytest.approx(some.mean())
        assert groups.ratio_se[name] == pytest.approx(sem(some))


@pytest.mark.parametrize(
    ("each", "claim"),
    [
        (samples(), "More cancellation where images are ambiguous is seen at scale 2: the mean "),
        (samples(0.05), "Less cancellation where images are ambiguous is seen at scale 2"),
        (samples(0.0), "More cancellation where images are ambiguous is not seen at scale 2"),
        (samples(clear=3), "images of which more than half of the cells differ, "),
        (samples(n=1), "At scale 2 the images are too much alike, or too few, to be compared."),
    ],
)
def test_the_sentence_follows_the_table(each, claim):
    assert claim in cancellation_reading(drawable(each)).sentence


def test_ten_images_a_side_take_students_interval():
    sides = {"differing": [0, 2], "clear": [True, False], "ratio": [0.5, 0.2], "ratio_se": 0.1}
    table = pd.DataFrame(sides).assign(scale=2, n=10, norm=1.0, times=1)
    assert "ambiguous is not seen" in cancellation_reading(table).sentence  # 0.3 is 2.12 errors


def test_every_scale_has_its_sentence_and_numbers():
    frame = drawable(samples(), samples(scale=4, slope=-0.01))
    assert len(cancellation_by_ambiguity(frame).axes) == 4
    assert "ambiguous is seen at scale 4" in cancellation_reading(frame).sentence
    number = cancellation_reading(frame).number
    assert f"scale 2, clear: {frame.ratio[0]:.3f} (n = 30)" in number
    assert "scale 4, more than half: " in number


def test_an_image_that_is_there_three_times_counts_once():
    thrice = RegionCancellation(LOSS, 5, times=3)
    for _ in range(3):
        thrice.update(STUDENT, TEACHER, TARGET)
    one, three = filled().table(), thrice.table()
    assert three.n.tolist() == (3 * one.n).tolist()
    several = one.n > 10
    # (3n / (3n - 1)) for (n / (n - 1)): the rows' variance is of 3n
    np.testing.assert_allclose(three.ratio_se[several], one.ratio_se[several], rtol=0.05)
    told = [cancellation_reading(table) for table in (one, three)]
    assert told[1].number == told[0].number  # with the images
    assert told[1].sentence.endswith(" 3 times on average, and counts once.")
    pooled = [by_ambiguity(table).ratio_se for table in (one, three)]
    np.testing.assert_allclose(pooled[1], pooled[0], rtol=0.05)
