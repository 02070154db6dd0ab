"""Uptake agrees with a loop over (image, cell) pairs; its figures and words follow the table."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.evidence import wilson
from kdanalysis.analyzers.regions.uptake import (
    RegionUptake,
    by_scale,
    run_shares,
    runs_reading,
    uptake_reading,
)
from kdanalysis.analyzers.regions.uptake_pictures import uptake_by_case, uptake_of_runs
from tests.analyzers.readback import lines, smallest_font
from tests.analyzers.reference import region_facts, regions, targets

TEACHER, TARGET = regions(1), targets(2, 40, 5)
STUDENT = TEACHER + regions(3)  # half taught
EPOCH = torch.arange(40) // 14
SHARES = ["local", "whole", "own", "label"]


def filled(student=STUDENT, teacher=TEACHER, target=TARGET, epoch=EPOCH):
    metric = RegionUptake(5, epochs=(0, 1, 2))
    for rows in (slice(0, 11), slice(11, None)):
        metric.update(student[rows], teacher[rows], target[rows], epoch[rows])
    return metric


def test_shares_agree_with_a_loop_over_pairs():
    frame = pd.DataFrame(region_facts(TEACHER, TARGET))
    top = STUDENT.numpy().argmax(1)
    says = np.array([top[n, r] for n, r in zip(frame.n, frame.region, strict=True)])
    frame["epoch"], frame["own"] = EPOCH.numpy()[frame.n], top[frame.n, 0]
    each = frame.assign(**{name: says == frame[name] for name in SHARES})
    each = each.groupby(["epoch", "scale", "case"])
    table = filled().table().set_index(["epoch", "scale", "case"])
    counts = each.size()
    for name in SHARES:
        np.testing.assert_allclose(table.loc[counts.index, name], each[name].mean())
    assert table.loc[counts.index, "n"].tolist() == counts.tolist()
    assert table.n.sum() == 40 * 21
    cells = each.n.value_counts().pow(2).groupby(["epoch", "scale", "case"]).sum()
    np.testing.assert_allclose(
        table.loc[counts.index, "case_images"], counts**2 / cells[counts.index]
    )
    assert (table.loc[counts.index, "case_images"] <= each.n.nunique() + 1e-9).all()
    assert table.case_images.max() < counts.max()
    assert table[~table.index.isin(counts.index)].local.isna().all()


def test_where_the_classes_are_the_same_so_are_the_shares_and_else_they_exclude_each_other():
    table = filled().table()
    same = table[~table.by_class & (table.n > 0)]
    assert same.local.tolist() == same.whole.tolist()
    apart = table[table.by_class & (table.n > 0)]
    assert (apart.local + apart.whole <= 1 + 1e-12).all()
    assert (apart.local > apart.whole).any()


def test_a_student_that_copies_its_teacher_takes_up_everything():
    table = filled(TEACHER).table()
    assert (table[table.n > 0].local == 1).all()


def test_the_lead_of_the_local_class_takes_the_cells_of_an_image_together():
    says, asks = STUDENT.numpy().argmax(1), TEACHER.numpy().argmax(1)
    cells = asks != asks[:, :1]
    wins = cells * ((says == asks).astype(float) - (says == asks[:, :1]))
    table = filled().table().set_index(["epoch", "scale"])
    for epoch, (scale, part) in product(range(3), {2: slice(1, 5), 4: slice(5, 21)}.items()):
        here = EPOCH.numpy() == epoch
        d, m = wins[here, part].sum(1), cells[here, part].sum(1)
        d, m = d[m > 0], m[m > 0]
        lead = d.sum() / m.sum()
        rest = len(d) * np.var(d - lead * m, ddof=1)  # their mean is 0
        two = m.mean() ** 2 * ((1 - lead) ** 2 + (-1 - lead) ** 2)
        error = np.sqrt(rest + two) / m.sum()
        rows = table.loc[(epoch, scale)]
        assert rows.images.unique().tolist() == [len(d)]
        assert rows[["lead", "lead_se"]].to_numpy() == pytest.approx(np.tile([lead, error], (5, 1)))
    assert table.xs(1, level="scale").lead.isna().all()


def test_three_images_whose_cells_all_agree_show_nothing():
    """Of images that name the local class, or the image's, as one, three agree in 25 of 100."""
    teacher, target = regions(1)[:3], targets(2, 40, 5)[:3]
    metric = RegionUptake(5)
    metric.update(teacher, teacher, target)
    assert metric.table().images.max() == 3
    said = uptake_reading(metric.table()).sentence
    assert "The local class more often than the image's is not seen" in said


def test_epochs_are_needed_where_several_were_announced():
    with pytest.raises(ValueError, match="expects 3 steps"):
        RegionUptake(5, epochs=(0, 1, 2)).update(STUDENT, TEACHER, TARGET)


KINDS = ("GT-LT", "GW-LW same", "GW-LW other", "GT-LW", "GW-LT")
COUNTS = (40, 10, 20, 25, 5)


def told_by(*places: int) -> float:
    """How many images tell as much as those of some cases of ``drawable``."""
    roots = {}
    for place in places:
        of = KINDS[place][:2]
        roots[of] = roots.get(of, 0.0) + COUNTS[place] / (COUNTS[place] // 2) ** 0.5
    return sum(COUNTS[place] for place in places) ** 2 / sum(x * x for x in roots.values())


def drawable(whole=0.2, epochs=(0, 3), scales=(1, 2), error=0.1, images=30) -> pd.DataFrame:
    rows = []
    for epoch in epochs:
        for m in scales:
            for place, (case, n) in enumerate(zip(KINDS, COUNTS, strict=True)):
                local = 0.3 + 0.1 * epoch + 0.01 * place
                other = place > 1
                empty = m == 1 and other
                row = {"epoch": epoch, "scale": m, "case": case, "n": 0 if empty else n}
                row["case_images"] = 0 if empty else n // 2
                row |= {"by_class": other, "by_correctness": place > 2}
                row |= {"local": local, "whole": whole if other else local}
                rows.append(row | dict.fromkeys(("local", "whole"), np.nan) if empty else row)
    frame = pd.DataFrame(rows).assign(own=0.5, label=0.5, non_finite=0)
    return frame.assign(images=images, lead=0.627 - whole, lead_se=error)


def points(ax) -> list[tuple]:
    drawn = [line for line in ax.lines if len(line.get_xdata()) == 1]
    return [(x.get_xdata()[0], round(x.get_ydata()[0], 6), x.get_fillstyle()) for x in drawn]


def test_marks_are_the_shares_of_the_last_epoch():
    figure = uptake_by_case(drawable())
    drawn = points(figure.axes[0])
    left, right = -0.13, 0.13  # of two marks
    expected = [(place + left * (place > 1), round(60 + place, 6), "full") for place in range(5)]
    assert [p for p in drawn if p[2] == "full"] == expected
    rings = [(place + right, 20, "none") for place in (2, 3, 4)]
    assert [p for p in drawn if p[2] == "none"] == rings
    found = [tuple(c.get_segments()[0].ravel()) for c in figure.axes[0].collections]
    ends = [
        (x, 100 * low, x, 100 * high)
        for x, (low, high) in zip(
            [p[0] for p in (*expected, *rings)],
            [wilson(share / 100, COUNTS[round(x)] // 2) for x, share, _ in (*expected, *rings)],
            strict=True,
        )
    ]
    assert found == [pytest.approx(end) for end in ends]
    assert figure.axes[0].get_title(loc="left") == "2 \u00d7 2 cells"
    assert smallest_font(figure) >= 9


def test_lines_over_epochs_weigh_the_cases_by_their_pairs():
    ax = uptake_by_case(drawable()).axes[1]
    drawn = lines(ax)
    same = (40 * 0.3 + 10 * 0.31) / 50
    other = (20 * 0.32 + 25 * 0.33 + 5 * 0.34) / 50
    assert drawn["consistent: the class"][1] == pytest.approx([100 * same, 100 * same + 30])
    assert drawn["other: the cell's class"][1] == pytest.approx([100 * other, 100 * other + 30])
    assert drawn["other: the image's class"] == ([0, 3], pytest.approx([20, 20]))
    bands = [x.get_paths()[0].get_extents() for x in ax.collections]
    low, high = wilson(same, 25)[0], wilson(same + 0.3, 25)[1]
    assert (bands[0].y0, bands[0].y1) == pytest.approx((100 * low, 100 * high))
    assert (bands[2].y0, bands[2].y1) == pytest.approx(
        [100 * end for end in wilson(0.2, told_by(2, 3, 4))]
    )


def test_three_images_take_students_interval():
    many, few = (drawable(error=0.15, images=n) for n in (30, 3))  # a lead of 0.427
    assert "The local class more often than the image's is seen" in uptake_reading(many).sentence
    assert "The local class more often than the image's is not seen" in uptake_reading(few).sentence


def test_a_single_epoch_has_no_lines():
    assert len(uptake_by_case(drawable(epochs=(0,))).axes) == 1


def test_pooled_shares_are_of_the_last_epoch():
    same, other = by_scale(drawable())[2]
    assert same["local"] == pytest.approx((40 * 0.6 + 10 * 0.61) / 50)
    shares = {"local": pytest.approx(0.627), "whole": pytest.approx(0.2)}
    assert other == {"n": 50, "images": pytest.approx(told_by(2, 3, 4))} | shares
    assert same["images"] == pytest.approx(20 + 5)


def test_the_sentence_follows_the_table():
    for whole, error, claim in (
        (0.2, 0.1, "The local class more often than the image's is seen: +42.7 ± 20.5 points."),
        (0.5, 0.1, "The local class more often than the image's is not seen: +12.7 ± 20.5 points."),
        (
            0.7,
            0.1,
            "The local class more often than the image's is not seen: \u22127.3 ± 20.5 points.",
        ),
        (0.9, 0.1, "The image's class more often than the local one is seen: +27.3 ± 20.5 points."),
        (0.2, np.nan, "cannot be tested here: +42.7 points (interval unknown)."),
    ):
        assert uptake_reading(drawable(whole, error=error)).sentence.endswith(claim)
    assert (
        "in 62.7 % of these 50 cells and the image's in 20.0 %; where"
        in uptake_reading(drawable()).sentence
    )
    assert uptake_reading(drawable(scales=(1,))).sentence == (
        "At scale 1 no cell names another class than its image."
    )
    assert uptake_reading(drawable()).number == (
        "scale 2: 60.2 % where it is the image's, 62.7 % where it is another (the image's class "
        "20.0 %)"
    )


def students() -> dict:
    slow = drawable(whole=0.3, epochs=(0,))
    return {"kd": slow, "sdd": drawable(whole=0.1), "fine": drawable(scales=(1, 2, 4))}


def test_marks_are_the_shares_of_every_student_at_the_finest_common_scale():
    tables = students()
    figure = uptake_of_runs(tables)
    (ax,) = figure.axes
    drawn = [
        (line.get_ydata()[0], round(line.get_xdata()[0], 6), line.get_fillstyle())
        for line in ax.lines
        if len(line.get_xdata())
    ]
    expected = []
    for place, each in enumerate(tables.values()):
        same, other = by_scale(each)[2]
        expected += [(place - 0.26, same["local"], "full"), (place, other["local"], "full")]
        expected += [(place + 0.26, other["whole"], "none")]
    assert drawn == [(place, round(100 * x, 6), fill) for place, x, fill in expected]
    found = [tuple(c.get_segments()[0].ravel()) for c in ax.collections]
    ends = [wilson(x, told_by(2, 3, 4) if n % 3 else 25) for n, (_, x, _) in enumerate(expected)]
    assert found == [
        pytest.approx((100 * low, place, 100 * high, place))
        for (low, high), (place, *_) in zip(ends, expected, strict=True)
    ]
    assert ax.get_xlim()[1] > max(100 * high for _, high in ends)
    assert [t.get_text() for t in ax.get_yticklabels()] == list(tables)
    assert ax.get_xlabel().startswith("2 \u00d7 2 cells")
    assert smallest_font(figure) >= 9


def test_sentence_and_number_follow_the_tables():
    tables = {name: table.assign(case_images=table.n) for name, table in students().items()}
    shares = run_shares(tables).query("kind == 'other'").set_index("run").local
    told = runs_reading(tables).sentence
    assert told.startswith(
        f"Where a cell names another class than the whole image at scale 2, saying so more often "
        f"than kd: sdd +{100 * (shares['sdd'] - shares['kd']):.1f} ± "
    )
    assert told.count("points (seen)") == 2
    assert told.endswith("what another training would give cannot be tested here.")
    few = {name: table.assign(case_images=table.n / 5) for name, table in tables.items()}
    assert runs_reading(few).sentence.count("points (not seen)") == 2
    assert runs_reading(tables).number.startswith(
        f"kd: {100 * shares['kd']:.1f} %, the image's class 30.0 %"
    )


def test_students_without_a_scale_in_common_are_refused():
    with pytest.raises(ValueError, match="no scale in common"):
        uptake_of_runs({"a": drawable(scales=(1, 2)), "b": drawable(scales=(1, 3))})


def test_a_single_student_has_nobody_to_be_compared_with():
    assert runs_reading({"kd": drawable()}).sentence.startswith("There are no two losses")


def test_students_that_say_nothing_of_it_are_drawn_too():
    silent = drawable().assign(local=0.0, whole=0.0)
    ax = uptake_of_runs({"a": silent, "b": silent}).axes[0]
    assert ax.get_xlim() == pytest.approx((0, 115 * wilson(0, told_by(2, 3, 4))[1]))


def test_tables_made_before_images_of_a_case_were_counted_are_drawn_without_their_lines():
    before = drawable().drop(columns="case_images")
    assert len(uptake_by_case(before).axes) == 2
    (ax,) = uptake_of_runs({"a": before, "b": before}).axes
    drawn = [c.get_segments()[0].size > 0 for c in ax.collections]
    assert not any(drawn)
    silent = before.assign(local=0.0, whole=0.0)
    assert uptake_of_runs({"a": silent, "b": silent}).axes[0].get_xlim() == (0, 1)
