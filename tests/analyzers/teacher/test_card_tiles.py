"""The card's tiles and its wide table show the numbers of the table, none other."""

import re

import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.teacher.card import TeacherDistribution, card_reading
from kdanalysis.analyzers.teacher.card_tiles import ENTRIES, card_tiles, wide_card

NAN = float("nan")
CARD = pd.DataFrame(
    [
        ("n", NAN, 50.0),
        ("non_finite", NAN, 2.0),
        ("accuracy", NAN, 0.8125),
        ("confidence_mean", 1.0, 0.9375),
        ("entropy_mean", 4.0, 1.5),
        ("entropy_mean", 1.0, 0.25),
        ("confident_wrong", 1.0, 0.015),
    ],
    columns=["quantity", "temperature", "value"],
)


def test_tiles_show_the_lowest_temperature_and_note_the_highest():
    tiles = {label: rest for label, *rest in card_tiles(CARD)}
    assert tiles["Accuracy"][0] == "81.2 %"
    assert tiles["Confidence"][0] == "93.8 %"  # beside it, and as it is
    assert tiles["Entropy"] == [
        "0.25 nats",
        "mean over samples; T\xa0=\xa01; 1.50\xa0at\xa0T\xa0=\xa04",
    ]
    assert tiles["Confidently wrong"][0] == "1.5 %"
    assert tiles["Confidently wrong"][1].endswith("; T\xa0=\xa01")


def test_small_numbers_are_written_as_in_sentences():
    tiny = card_tiles(CARD.assign(value=6.06e-11))
    assert next(value for label, value, _ in tiny if label == "Entropy") == "6.06 \xd7 10⁻¹¹ nats"


def test_no_tile_is_of_classes_outside_the_top_where_there_are_none():
    outside = CARD[CARD.quantity == "entropy_mean"].assign(quantity="p_other_mean")
    assert [label for label, *_ in card_tiles(outside)] == ["Outside the top 5"]
    assert card_tiles(outside.assign(value=0.0)) == []


def test_no_hyphen_stands_for_a_minus_sign():
    assert "NLL" in {entry.label for entry in ENTRIES.values() if "\u2212log" in entry.note}
    assert not [entry.note for entry in ENTRIES.values() if re.search(r"(?<!\w)-", entry.note)]


def test_rows_left_out_are_stated_and_only_where_there_are_some():
    assert card_tiles(CARD)[-1][1] == "2"
    whole = CARD.assign(value=CARD.value.where(CARD.quantity != "non_finite", 0.0))
    assert "Left out" not in {label for label, *_ in card_tiles(whole)}


def test_a_quantity_that_is_absent_has_no_tile():
    labels = {label for label, *_ in card_tiles(CARD[CARD.quantity != "accuracy"])}
    assert labels == {"Confidence", "Entropy", "Confidently wrong", "Left out"}


def test_the_wide_card_has_a_column_for_each_temperature():
    wide = wide_card(CARD)
    assert wide.columns.tolist() == ["quantity", "any T", "T = 1", "T = 4"]
    assert wide.quantity.tolist() == CARD.quantity.drop_duplicates().tolist()
    assert wide.set_index("quantity").loc["entropy_mean"].tolist() == ["", "0.25", "1.500"]


@pytest.mark.parametrize(
    ("count", "number"),
    [
        (0, ""),
        (1, "1 sample holds NaN or inf and enters no number."),
        (2000, "2,000 samples hold NaN or inf and enter no number."),
    ],
)
def test_the_reading_says_how_many_samples_are_left_out(count, number):
    card = CARD.assign(value=CARD.value.where(CARD.quantity != "non_finite", count))
    assert card_reading(card).number == number


def test_what_is_left_of_a_flat_teacher_is_not_rounded_to_all():
    card = TeacherDistribution(3000, (1,))
    card.update(torch.linspace(0, 0.1, 6000).view(2, 3000))
    assert card_reading(card.table()).sentence.endswith("on average: 0.9997 at T = 1.")
