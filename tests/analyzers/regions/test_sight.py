"""Sights hold the teacher's class and confidence of every cell; pictures show them."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgba
from scipy.special import softmax
from scipy.stats import entropy

from kdanalysis.analyzers.regions.sight import (
    image_entropy,
    sight_of_image,
    sight_reading,
    sight_table,
    spread_places,
)
from kdanalysis.draw.colours import FAINT, VERMILION
from kdanalysis.draw.names import short
from tests.analyzers.readback import smallest_font, smallest_letters_on_a_page
from tests.analyzers.reference import regions, targets

TEACHER, TARGET = regions(1)[:6], targets(2, 40, 5)[:6]
PLACES = [(m, i, j) for m in (1, 2, 4) for i in range(m) for j in range(m)]


def test_a_row_is_a_cell_with_its_class_and_confidence():
    table = sight_table(TEACHER, TARGET, torch.arange(6) + 50)
    assert len(table) == 6 * 21
    for n in range(6):
        rows = table[table.sample_id == n + 50]
        assert list(rows[["scale", "row", "column"]].itertuples(index=False, name=None)) == PLACES
        p = softmax(TEACHER[n].numpy(), axis=0)
        assert rows["class"].tolist() == p.argmax(0).tolist()
        np.testing.assert_allclose(rows.confidence, p.max(0))
        assert rows.differs.tolist() == (p.argmax(0) != p[:, 0].argmax()).tolist()
        assert (rows.label == TARGET[n].item()).all()


def test_the_entropy_is_that_of_the_finest_cells():
    found = image_entropy(TEACHER)
    for n in range(6):
        counts = np.unique(TEACHER[n].numpy().argmax(0)[5:], return_counts=True)[1]
        assert found[n].item() == pytest.approx(entropy(counts))


def test_images_are_spread_from_the_clearest_to_the_most_ambiguous():
    found = torch.tensor([0.5, 0.1, torch.nan, 0.9, 0.3, 0.7])
    assert spread_places(found, 3) == [1, 0, 3]
    assert spread_places(found, 5) == [1, 4, 0, 5, 3]
    assert spread_places(found, 50) == [1, 4, 0, 5, 3]
    assert spread_places(torch.zeros(4), 2) == [0, 3]


NAMES = ["cat", "dog", "Egyptian mongoose", "<b>$x$</b>"]
IMAGE = np.arange(12 * 12 * 3, dtype=np.uint8).reshape(12, 12, 3)


def drawable(scales=(1, 2, 4), sample_ids=(7, 9)) -> pd.DataFrame:
    rows = []
    for sample in sample_ids:
        for m in scales:
            for i, j in np.ndindex(m, m):
                place = {"sample_id": sample, "label": 1, "scale": m, "row": i, "column": j}
                cell = (i + j + sample - 7) % 4 if m > 1 else 0
                rows.append(place | {"class": cell, "confidence": (1 + i + 4 * j) / 20})
    frame = pd.DataFrame(rows)
    return frame.assign(differs=frame["class"] != 0)


def panels(figure) -> dict:
    return {ax.get_title(loc="left"): ax for ax in figure.axes}


def test_cells_are_the_photograph_with_class_and_probability_in_a_bar_below():
    frame = drawable()
    axes = panels(sight_of_image(frame, IMAGE, 9, NAMES))
    assert set(axes) == {"label:\ndog", "2 \u00d7 2 cells", "4 \u00d7 4 cells"}
    for m in (2, 4):
        rows = frame[(frame.sample_id == 9) & (frame.scale == m)]
        ax, size = axes[f"{m} \u00d7 {m} cells"], 12 // m
        texts = [t.get_text() for t in ax.texts]
        assert texts == [
            f"{short(NAMES[c], 11)}\n{100 * p:.0f} %"
            for c, p in zip(rows["class"], rows.confidence, strict=True)
        ]
        assert not any(t.get_parse_math() for t in ax.texts)
        outlines, bars = ax.patches[::2], ax.patches[1::2]
        cells = zip(rows.itertuples(), ax.images, outlines, bars, ax.texts, strict=True)
        for row, shown, outline, bar, text in cells:
            crop = IMAGE[row.row * size :, row.column * size :][:size, :size]
            np.testing.assert_array_equal(shown.get_array(), crop)
            colour = VERMILION if row.differs else FAINT
            assert outline.get_edgecolor() == to_rgba(colour)
            left, right, bottom, top = shown.get_extent()
            assert (outline.get_x(), outline.get_y()) == (left, top)
            assert bar.get_y() == pytest.approx(bottom)  # below the photograph, not over it
            assert bar.get_y() < text.get_position()[1] < bar.get_y() + bar.get_height()
            assert row.column < left < right < row.column + 1


def test_the_image_stands_beside_with_its_label_and_the_teachers_class():
    ax = panels(sight_of_image(drawable(), IMAGE, 7, NAMES))["label:\ndog"]
    np.testing.assert_array_equal(ax.images[0].get_array(), IMAGE)
    assert ax.get_xlabel() == "the teacher reads:\ncat\n5 %"


def test_texts_stay_readable_and_scales_too_fine_for_names_are_left_out():
    figure = sight_of_image(drawable((1, 2, 4, 8)), IMAGE, 7, NAMES)
    assert smallest_font(figure) >= 9
    assert smallest_letters_on_a_page(figure) >= 9.5
    assert {"2 \u00d7 2 cells", "4 \u00d7 4 cells"} <= set(panels(figure))
    assert "8 \u00d7 8 cells" not in panels(figure)
    assert "2 \u00d7 2 cells" in panels(sight_of_image(drawable((1, 2)), IMAGE, 7, NAMES))


@pytest.mark.parametrize(
    ("scales", "sample", "message"),
    [((1, 2), 8, "the table has no sample 8"), ((1,), 7, "no scale from 2 to 4")],
)
def test_what_cannot_be_drawn_is_refused(scales, sample, message):
    with pytest.raises(ValueError, match=message):
        sight_of_image(drawable(scales), IMAGE, sample, NAMES)


def test_sentence_and_number_count_the_finest_cells():
    frame = drawable()
    assert sight_reading(frame).sentence == (
        "In 2 of these 2 images a cell of scale 4 names another class than the whole image; their "
        "cells name 4 to 4 classes. In 2 of them a cell names the label and the whole image is "
        "read otherwise."
    )
    assert sight_reading(frame).number == (
        "sample 7: 12 of 16 cells differ; sample 9: 12 of 16 cells differ"
    )
    same = frame.assign(**{"class": 0}, differs=False)
    assert sight_reading(same).sentence.startswith("In 0 of these 2 images")
    assert "names the label" not in sight_reading(same).sentence
