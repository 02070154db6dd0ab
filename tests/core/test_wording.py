"""Numbers stand in sentences as a reader would write them."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kdanalysis
from kdanalysis.core.wording import numeral

PACKAGE = Path(kdanalysis.__file__).parent
TOUCHING = re.compile(r"\.\d%\}|[\d}]%(?!s)")
DIGITS = re.compile(r"\{[^{}]*:[+z]*\.\d+[ge]\}")


@pytest.mark.parametrize(
    ("value", "digits", "said"),
    [
        (243.4, 2, "240"),
        (0.00212, 2, "0.0021"),
        (1_234_567, 2, "1.2 million"),
        (5.06e9, 2, "5.1 billion"),
        (7e12, 3, "7 trillion"),
        (1091.3, 3, "1,090"),
        (999.7, 3, "1,000"),
        (999_999.9, 3, "1 million"),
        (-3.14159, 3, "-3.14"),
        (-0.0, 3, "0"),
        (6, 3, "6"),
        (1.5e-6, 2, "0.0000015"),
        (1.5e-9, 2, "1.5 x 10⁻⁹"),
        (2e20, 2, "2 x 10²⁰"),
        (float("nan"), 2, "unknown"),
        (float("-inf"), 2, "unknown"),
    ],
)
def test_a_number_is_written_as_it_is_read(value, digits, said):
    assert numeral(value, digits) == said


def test_a_sign_is_written_where_it_is_asked_for():
    assert [numeral(x, 2, "+") for x in (1500, 0, -0.5)] == ["+1,500", "+0", "-0.5"]


@given(st.floats(-1e6, 1e6).filter(lambda x: abs(x) >= 1e-6 or x == 0), st.integers(1, 6))
def test_below_a_million_it_is_the_number_with_so_many_digits(value, digits):
    rounded = float(f"{value:.{digits}g}")
    if abs(rounded) < 1e6:
        assert float(numeral(value, digits).replace(",", "")) == rounded


def test_sentences_leave_digits_to_it():
    found = [
        f"{file.relative_to(PACKAGE)}: {spec}"
        for room in ("analyzers", "pages", "studies")
        for file in sorted((PACKAGE / room).rglob("*.py"))
        for spec in DIGITS.findall(file.read_text(encoding="utf-8"))
    ]
    assert found == []
    assert DIGITS.search('f"{value:.3g}"')  # and it would be found


def test_a_percent_sign_stands_apart_from_its_number_in_code_and_docs():
    files = [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "docs").glob("*.md")]
    found = {path.name: TOUCHING.findall(path.read_text()) for path in files}
    assert {name: texts for name, texts in found.items() if texts} == {}
    assert TOUCHING.search('f"{share:.0%} of 5%"')  # the control
