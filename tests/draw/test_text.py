"""Numbers in tables keep their digits and line up where they can."""

import pandas as pd
import pytest

from kdanalysis.draw.text import format_column, format_number, is_numeric, to_number


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.5, 0.25, 12.125], ["0.50", "0.25", "12.12"]),
        ([1.0, 2.0, 5.0], ["1", "2", "5"]),
        ([1e-6, 1.0], ["1e-06", "1"]),  # two decimals would show the first as zero
        ([0.0, float("nan"), float("-inf"), 0.125], ["0.0000", "NaN", "-inf", "0.1250"]),
        ([1234567.0, 0.5], ["1.235e+06", "0.5"]),
        ([50000, 3], ["50,000", "3"]),
        ([True, False], ["True", "False"]),
        (["a", None], ["a", ""]),
    ],
)
def test_columns_read_well(values, texts):
    assert format_column(pd.Series(values)) == texts


def test_a_single_number_has_four_digits():
    assert [format_number(x) for x in (0.123456, 12345.678, 3.0)] == ["0.1235", "12,346", "3"]


@pytest.mark.parametrize(
    ("values", "numeric"),
    [
        ([1, 2], True),
        (["", "1,234", "-0.5", "5e-05", "NaN", "-inf"], True),
        (["", ""], False),
        (["1", "b"], False),
        ([True, False], False),
        (["1", None], False),
    ],
)
def test_texts_that_read_as_numbers_are_aligned_as_numbers(values, numeric):
    assert is_numeric(pd.Series(values)) is numeric


def test_a_cell_is_sorted_by_what_it_shows():
    assert [to_number(x) for x in ("1,234", "-5e-05", 0.25)] == [1234, -5e-05, 0.25]
    assert pd.isna(to_number(""))
