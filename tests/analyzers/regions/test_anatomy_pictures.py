"""The anatomy figures show the table; the sentence says whether complementary cells are large."""

import numpy as np
import pandas as pd
import pytest

from kdanalysis import KD
from kdanalysis.analyzers.regions.ambiguity import RegionAmbiguity
from kdanalysis.analyzers.regions.anatomy import (
    RegionAnatomy,
    anatomy_reading,
    class_sums,
    over_classes,
    scale_means,
    scale_sums,
    shares,
)
from kdanalysis.analyzers.regions.anatomy_pictures import anatomy_by_scale, anatomy_of_cells
from tests.analyzers.readback import smallest_font
from tests.analyzers.reference import regions, targets

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
    assert ax.get_title(loc="left") == "2 \u00d7 2 cells"
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
    small = anatomy_of_cells(frame.assign(norm=frame.norm / 100)).axes[2]
    assert [t.get_text() for t in small.texts] == ["0.0450", "0.0450", "0.0900", "0.0450"]


def test_many_cells_have_no_numbers():
    first = anatomy_of_cells(table(scales=(1, 2, 6))).axes
    assert [len(ax.texts) for ax in first[:6]] == [4, 4, 4, 0, 0, 0]


def of_classes(parts, sizes=(1.0,) * 5, pairs=400, epochs=1):
    """Rows by class of scale 2: shares of complementary pairs (GT-LW), and how large those are."""
    rows = []
    for c, (part, size) in enumerate(zip(parts, sizes, strict=True)):
        for case, share, value in (("GT-LT", 1 - part, 1.0), ("GT-LW", part, size)):
            told = {"class": c, "case": case, "n": round(pairs * share), "value": value}
            rows.append(told | {"norm": 2 * value})
    of_class = pd.DataFrame(rows).assign(part="class", scale=2)
    cell = of_class.drop(columns="class").assign(part="cell", row=0, column=0)
    cells = [cell.assign(epoch=epoch, n=cell.n / epochs) for epoch in range(epochs)]
    frame = pd.concat([*cells, of_class], ignore_index=True).astype({"class": "Int64"})
    other = frame.case == "GT-LW"
    return frame.assign(by_class=other, by_correctness=other, non_finite=0)


SHARES = (0.2, 0.22, 0.18, 0.21, 0.19)


@pytest.mark.parametrize(
    ("parts", "sizes", "claims"),
    [
        (SHARES, (2.0, 2.1, 1.9, 2.2, 1.8), ("few is seen: 20.0 ± 2.0 %", "large is seen: 1.67")),
        (SHARES, (1.5, 0.6, 1.4, 0.7, 1.1), ("few is seen", "large is not seen: 1.0")),
        (SHARES, (0.5, 0.6, 0.4, 0.5, 0.5), ("few is seen", "small is seen: 0.5")),
        ((0.8, 0.1, 0.6, 0.3, 0.2), (2.0,) * 5, ("few is not seen: 40.0 ± 3", "large is seen")),
        ((0.8, 0.82, 0.78, 0.8, 0.8), (2.0,) * 5, ("many is seen: 80.0 ± 1", "large is seen")),
    ],
)
def test_the_sentence_says_whether_they_are_few_and_large(parts, sizes, claims):
    told = anatomy_reading(of_classes(parts, sizes)).sentence
    assert told.startswith("By class, that the complementary cells of scale 2 are ")
    assert [claim for claim in claims if claim not in told.split(" By correctness")[0]] == []


def test_intervals_are_those_of_classes_left_out_in_turn():
    parts, sizes = np.array(SHARES), np.array((2.0, 2.1, 1.9, 2.2, 1.8))
    found = over_classes(class_sums(of_classes(parts, sizes), 2), "by_class")

    def estimates(kept):
        share = parts[kept].mean()
        loss = 1 - parts[kept] + parts[kept] * sizes[kept]
        return share, np.log((parts * sizes)[kept].sum() / loss.sum() / share)

    left = np.array([estimates(np.arange(5) != place) for place in range(5)])
    error = np.sqrt(4 / 5 * ((left - left.mean(0)) ** 2).sum(0))
    whole = estimates(np.arange(5) >= 0)
    for interval, value, half in zip(
        (found["n"], found["value"]), whole, 2.776445 * error, strict=True
    ):
        assert interval == pytest.approx((value, half))


def test_two_classes_test_nothing():
    told = anatomy_reading(table()).sentence
    assert "are few cannot be tested here: 33.3 % (interval unknown) of the pairs" in told
    assert "nan" not in told


def test_a_large_loss_with_a_mean_gradient_is_not_called_large():
    frame = of_classes(SHARES, (2.0, 2.1, 1.9, 2.2, 1.8)).assign(norm=1.0)
    assert "large is not seen" in anatomy_reading(frame).sentence


def test_a_student_that_is_its_teacher_has_pairs_but_no_size():
    told = anatomy_reading(of_classes(SHARES).assign(value=0.0, norm=0.0))
    assert "of scale 2 are few is seen: 20.0 ± 2.0 % of the pairs; no pair has" in told.sentence
    assert "scale 2 by class: 20.0 % of the pairs, no pair has a gradient;" in told.number
    assert "nan" not in "".join(told)


def test_the_sentence_names_where_the_definitions_disagree():
    assert (
        "The definitions disagree about 20.0 % of these pairs" in anatomy_reading(table()).sentence
    )
    assert anatomy_reading(table(scales=(1,))).sentence.startswith("There is only the whole image")
    same = table(counts=COUNTS | dict.fromkeys(KINDS[2:], 0))
    assert "By class no cell of scale 2 is complementary." in anatomy_reading(same).sentence


def test_whether_classes_differ_is_said_once_of_anatomy_and_ambiguity():
    """It is one share, of cells that name another class than their image."""
    sides = regions(1, 60), regions(2, 60), targets(3, 60, 5)
    anatomy, ambiguity = RegionAnatomy(KD(), 5), RegionAmbiguity(5)
    anatomy.update(*sides)
    ambiguity.update(*sides[1:])
    told = [noun.reading(noun.table()).sentence for noun in (anatomy, ambiguity)]
    assert "By class, that the complementary cells" in told[0]
    assert [text.count("chi-square") for text in told] == [0, 1]


def test_the_number_gives_all_three_parts_under_both_definitions():
    assert anatomy_reading(table()).number == (
        "scale 2 by class: 50.0 % of the pairs, 66.7 % of the loss, 66.7 % of the gradient; "
        "scale 2 by correctness: 30.0 % of the pairs, 40.0 % of the loss, 40.0 % of the gradient"
    )
