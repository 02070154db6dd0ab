"""The anatomy figures show the table; the sentence says whether complementary cells are large."""

import numpy as np
import pandas as pd
import pytest

from kdanalysis.analyzers.regions.anatomy import anatomy_reading, scale_means, scale_sums, shares
from kdanalysis.analyzers.regions.anatomy_pictures import anatomy_by_scale, anatomy_of_cells
from tests.analyzers.readback import smallest_font

KINDS = ("GT-LT", "GW-LW same", "GW-LW other", "GT-LW", "GW-LT")
COUNTS = dict(zip(KINDS, (40, 10, 20, 25, 5), strict=True))


def table(value=(1.0, 1.0, 2.0, 2.0, 2.0), counts=COUNTS, scales=(1, 2), epochs=(0, 1)):
    """Rows by cell and class; the first cell of a scale has twice the counts of the others."""
    rows = []
    for epoch in epochs:
        for m in scales:
            for i, j in np.ndindex(m, m):
                for number, case in enumerate(KINDS):
                    n = 0 if m == 1 and number > 1 else counts[case] * (2 if i == j == 0 else 1)
                    place = {"part": "cell", "epoch": epoch, "scale": m, "row": i, "column": j}
                    size = {"n": n, "value": float(value[number]), "norm": 3.0 * value[number]}
                    rows.append(place | {"class": pd.NA, "case": case} | size)
    for c, factor in enumerate((1, 3)):
        for m in scales:
            for number, case in enumerate(KINDS):
                n = 100 if number == 0 else 10 * factor
                place = {"part": "class", "epoch": pd.NA, "scale": m, "class": c, "case": case}
                rows.append(
                    place | {"row": pd.NA, "column": pd.NA, "n": n, "value": 1.0, "norm": 1.0}
                )
    frame = pd.DataFrame(rows).assign(non_finite=0)
    frame.loc[frame.n == 0, ["value", "norm"]] = np.nan
    frame = frame.assign(by_class=frame.case.isin(KINDS[2:]))
    frame = frame.astype(dict.fromkeys(["epoch", "row", "column", "class"], "Int64"))
    return frame.assign(by_correctness=frame.case.isin(KINDS[3:]))


def widths(ax) -> dict[str, list[float]]:
    return {
        bars.get_label().splitlines()[0]: [bar.get_width() for bar in bars]
        for bars in ax.containers
    }


def test_bars_are_the_parts_of_pairs_loss_and_gradient():
    figure = anatomy_by_scale(table())
    (ax,) = figure.axes
    assert ax.get_title(loc="left") == "2 x 2 cells"
    drawn = widths(ax)
    value = np.array((1.0, 1.0, 2.0, 2.0, 2.0))
    n = np.array(list(COUNTS.values()))
    for number, case in enumerate(KINDS):
        loss = 100 * (n * value)[number] / (n * value).sum()
        assert drawn[case] == pytest.approx([n[number], loss, loss])
    ends = np.cumsum([drawn[case] for case in KINDS], axis=0)
    for bars, end in zip(ax.containers, ends, strict=True):
        assert [bar.get_x() + bar.get_width() for bar in bars] == pytest.approx(end)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["pairs", "loss", "gradient"]
    (legend,) = figure.legends
    assert legend.get_texts()[2].get_text().endswith("complementary by class")
    assert smallest_font(figure) >= 9


def test_sums_run_over_epochs_and_cells_and_leave_out_the_whole_image():
    sums = scale_sums(table())
    assert sums.index.unique("scale").tolist() == [2]
    assert sums.n.tolist() == [2 * 5 * n for n in COUNTS.values()]
    assert sums.loc[(2, "GT-LW"), "value"] == 2 * 5 * 25 * 2.0
    assert shares(sums, "by_class") == pytest.approx((0.5, 100 / 150, 100 / 150))
    assert shares(sums, "by_correctness")[0] == pytest.approx(0.3)
    assert scale_sums(table(scales=(1,))).index.unique("scale").tolist() == [1]


def test_the_excerpt_holds_means_over_pairs():
    means = scale_means(table()).set_index("case")
    assert means.value.tolist() == pytest.approx([1, 1, 2, 2, 2])
    assert means["norm"].tolist() == pytest.approx([3, 3, 6, 6, 6])


def test_maps_show_every_cell_under_both_definitions_and_its_norm():
    frame = table()
    harder = (frame.part == "cell") & (frame.row == 1) & (frame.column == 0) & (frame.n > 0)
    frame.loc[harder, "norm"] = 9.0
    figure = anatomy_of_cells(frame)
    maps = [ax.images[0].get_array() for ax in figure.axes[:3]]
    np.testing.assert_allclose(maps[0], np.full((2, 2), 50))
    np.testing.assert_allclose(maps[1], np.full((2, 2), 30))
    np.testing.assert_allclose(maps[2], [[4.5, 4.5], [9, 4.5]])
    assert [figure.axes[i].images[0].norm.vmax for i in range(3)] == [50, 50, 9]
    texts = [t.get_text() for t in figure.axes[2].texts]
    assert texts == ["4.50", "4.50", "9.00", "4.50"]
    assert figure.axes[1].get_title() == "complementary\nby correctness"


def test_many_cells_have_no_numbers():
    first = anatomy_of_cells(table(scales=(1, 2, 6))).axes
    assert [len(ax.texts) for ax in first[:6]] == [4, 4, 4, 0, 0, 0]


@pytest.mark.parametrize(
    ("value", "other", "claim"),
    [
        ((1, 1, 2, 2, 2), 10, "are few and large: 44% of the pairs with 1.38 times the mean loss"),
        ((1, 1, 1, 1, 1), 10, "are few and about as large as the mean: 44% of the pairs with 1.00"),
        ((3, 3, 1, 1, 1), 10, "are few and small"),
        ((1, 1, 3, 3, 3), 90, "are many and large"),
    ],
)
def test_the_sentence_says_whether_they_are_few_and_large(value, other, claim):
    told = anatomy_reading(table(value, COUNTS | {"GW-LW other": other})).sentence
    assert f"By class the complementary cells of scale 2 {claim}" in told


def test_a_large_loss_with_a_mean_gradient_is_not_called_large():
    frame = table((1, 1, 2, 2, 2), COUNTS | {"GW-LW other": 10})
    frame.loc[frame.n > 0, "norm"] = 1.0
    assert "are few and about as large as the mean: 44%" in anatomy_reading(frame).sentence


def test_a_student_that_is_its_teacher_has_pairs_but_no_size():
    told = anatomy_reading(table(value=(0.0,) * 5))
    assert "of scale 2 are many: 50% of the pairs; no pair has a gradient." in told.sentence
    assert "scale 2 by class: 50.0% of the pairs, no pair has a gradient;" in told.number
    assert "nan" not in "".join(told)
    assert "nan" not in "".join(anatomy_reading(table()))


def test_the_sentence_names_where_the_definitions_disagree_and_the_classes():
    told = anatomy_reading(table(), names=["cat", "dog"]).sentence
    assert "The definitions disagree about 20.0% of these pairs" in told
    assert told.endswith("By class they are most frequent in dog (41%), least in cat (21%).")
    assert anatomy_reading(table(scales=(1,))).sentence.startswith("There is only the whole image")
    few = table()
    few.loc[few["class"] == 1, "n"] //= 10
    assert "By class they are" not in anatomy_reading(few).sentence
    same = table(counts=COUNTS | dict.fromkeys(KINDS[2:], 0))
    assert "By class no cell of scale 2 is complementary." in anatomy_reading(same).sentence


def test_the_number_gives_all_three_parts_under_both_definitions():
    assert anatomy_reading(table()).number == (
        "scale 2 by class: 50.0% of the pairs, 66.7% of the loss, 66.7% of the gradient; "
        "scale 2 by correctness: 30.0% of the pairs, 40.0% of the loss, 40.0% of the gradient"
    )
