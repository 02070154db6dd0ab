"""Numbers stand in sentences as a reader would write them."""

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kdanalysis
from kdanalysis.core.wording import (
    MINUS,
    grid,
    numeral,
    numerals,
    percent,
    percent_range,
    percents,
    ranged,
    ratios,
    whole_percent,
)

PACKAGE = Path(kdanalysis.__file__).parent
TOUCHING = re.compile(r"\.\d%\}|[\d}]%(?!s)")
BY_HAND = re.compile(r":[^}]*f\}|100 \*")
PLAIN_SIGNS = re.compile(r"[\dm] x( [\dm]|$)|\b1 - \w")
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
        (-3.14159, 3, "\u22123.14"),
        (-0.0, 3, "0"),
        (6, 3, "6"),
        (1.5e-6, 2, "0.0000015"),
        (1.5e-9, 2, "1.5 \u00d7 10⁻⁹"),
        (1e-7, 2, "1 \u00d7 10⁻⁷"),  # a little less in binary
        (9.999e-12, 3, "1 \u00d7 10⁻¹¹"),
        (2e20, 2, "2 \u00d7 10²⁰"),
        (5e-324, 2, "4.9 \u00d7 10⁻³²⁴"),  # the least there is, of which a softmax leaves some
        (float("nan"), 2, "unknown"),
        (float("-inf"), 2, "unknown"),
    ],
)
def test_a_number_is_written_as_it_is_read(value, digits, said):
    assert numeral(value, digits) == said


def test_a_sign_is_written_where_it_is_asked_for():
    assert [numeral(x, 2, "+") for x in (1500, 0, -0.5)] == ["+1,500", "+0", "\u22120.5"]


@given(st.floats(-1e6, 1e6).filter(lambda x: abs(x) >= 1e-6 or x == 0), st.integers(1, 6))
def test_below_a_million_it_is_the_number_with_so_many_digits(value, digits):
    rounded = float(f"{value:.{digits}g}")
    if abs(rounded) < 1e6:
        assert float(numeral(value, digits).replace(",", "").replace(MINUS, "-")) == rounded


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.123456, "12.3 %"),
        (-0.5, "\u221250.0 %"),
        (0.0051, "0.5 %"),
        (0.0042, "0.42 %"),
        (-1.234e-5, "\u22120.0012 %"),
        (0.0, "0.0 %"),
        (-0.0, "0.0 %"),
        (0.9994, "99.9 %"),
        (0.99951, "99.95 %"),  # not 100.0 %, which it is not
        (0.999996, "99.9996 %"),
        (1 - 1e-15, "100.0 %"),  # a sum's rounding
        (1.0, "100.0 %"),
        (1.00001, "100.0 %"),
        (float("nan"), "unknown"),
        (float("inf"), "unknown"),
    ],
)
def test_a_share_is_written_so_that_it_is_told_from_0_and_1(share, said):
    assert percent(share) == said


def test_a_share_has_the_decimals_that_are_asked_for_where_these_tell_it():
    shares = {0.314: "31 %", 0.034: "3 %", 0.0034: "0.34 %", 0.997: "99.7 %", 0.99: "99 %"}
    assert {share: percent(share, 0) for share in shares} == shares


def test_a_share_in_little_room_is_whole_and_told_from_0_and_1():
    shares = {0.0: "0 %", 1e-12: "<1 %", 0.0049: "<1 %", 0.005: "<1 %", 0.006: "1 %", 0.314: "31 %"}
    shares |= {0.994: "99 %", 0.996: ">99 %", 1 - 1e-8: ">99 %", 1 - 1e-15: "100 %", 1.0: "100 %"}
    shares |= {float("nan"): "unknown"}
    assert {share: whole_percent(share) for share in shares} == shares


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ((0.053, 0.0027, 0.246), ["5.3 %", "0.3 %", "24.6 %"]),
        ((0.0043, 0.0041, 0.0045), ["0.43 %", "0.41 %", "0.45 %"]),
        ((0.0002, 0.000036, 0.00113), ["0.020 %", "0.004 %", "0.113 %"]),
        ((0.9996, 0.5), ["99.96 %", "50.00 %"]),
        ((1, 0.9999), ["100.00 %", "99.99 %"]),
        ((0.5, 0.5), ["50.0 %", "50.0 %"]),
        ((0.5, 1e-8), ["50.0 %", "0.000001 %"]),  # too far apart for the same decimals
        ((0.5, float("nan")), ["50.0 %", "unknown"]),
    ],
)
def test_shares_of_one_sentence_have_the_same_decimals(shares, said):
    assert percents(*shares) == said


def test_a_range_has_the_same_decimals_and_is_one_share_where_both_are_written_alike():
    assert percent_range(0.01, 0.3829) == "1.0 % to 38.3 %"
    assert percent_range(0.5, 0.0021) == "50.0 % to 0.2 %"
    assert percent_range(0.309, 0.309) == "30.9 %"
    assert percent_range(-0.0021, 12.5) == "\u22120.2 % to 1,250.0 %"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((0.64, 0.397), ["0.640", "0.397"]),
        ((2, 1.7), ["2.00", "1.70"]),
        ((-0.0259, 0.547), ["\u22120.026", "0.547"]),
        ((1090, 12.3), ["1,090", "12"]),
        ((0, 3.5), ["0.00", "3.50"]),
        ((5.12, 0.0066), ["5.12", "0.0066"]),  # hidden by two decimals
        ((1.2e6, 3), ["1.2 million", "3"]),
        ((0.5, float("nan")), ["0.500", "unknown"]),
        ((float("nan"),), ["unknown"]),
        ((0, 0), ["0.00", "0.00"]),
    ],
)
def test_numbers_of_one_sentence_have_the_same_decimals(values, said):
    assert numerals(*values) == said


def test_ratios_have_decimals_that_tell_them_from_1():
    assert ratios(1.02, 0.939, 1.11) == ["1.02", "0.94", "1.11"]
    assert ratios(1.04, 0.998, 1.09) == ["1.040", "0.998", "1.090"]
    assert ratios(1, 0.5) == ["1.00", "0.50"]
    assert ratios(100, 120) == ["100", "120"]


def hand_written(source: str) -> list[str]:
    """Return the f-strings of a file that write a percent by hand."""
    found = []
    for text in (x for x in ast.walk(ast.parse(source)) if isinstance(x, ast.JoinedStr)):
        for field, after in zip(text.values, text.values[1:], strict=False):
            said = ast.unparse(field)
            if str(getattr(after, "value", "")).startswith(" %") and BY_HAND.search(said):
                found.append(said)
    return found


def test_sentences_leave_percents_to_it():
    files = [file for file in PACKAGE.rglob("*.py") if file.name != "wording.py"]
    found = {file.name: hand_written(file.read_text(encoding="utf-8")) for file in files}
    assert {name: texts for name, texts in found.items() if texts} == {}
    assert len(hand_written('f"{100 * x:.1f} " f"%", f"{x:.0f} % {numeral(100 * y)}" " %"')) == 3


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


def test_cells_and_groups_have_the_signs_of_print():
    assert (grid(4), grid(1200)) == ("4 \u00d7 4", "1,200 \u00d7 1,200")
    names = {"0-0.1": "0\u20130.1", "16-63": "16\u201363", "4+": "4+", "right-hand": "right-hand"}
    assert [ranged(name) for name in names] == [*names.values()]


def plain_signs(source: str) -> list[str]:
    """Return what a file writes, but for its docstrings, with x for times or 1 - p."""
    tree, found = ast.parse(source), []
    said = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    inside = [part for text in joined for part in text.values]
    plain = (x for x in ast.walk(tree) if isinstance(x, ast.Constant) and x not in said + inside)
    for text in (*joined, *(x for x in plain if isinstance(x.value, str))):
        parts = text.values if isinstance(text, ast.JoinedStr) else [text]
        whole = "".join(x.value if isinstance(x, ast.Constant) else "0" for x in parts)
        found += [whole] * bool(PLAIN_SIGNS.search(whole))
    return found


def test_sentences_and_labels_have_the_signs_of_print():
    rooms = [file for room in ("analyzers", "pages", "studies", "draw", "core")
             for file in sorted((PACKAGE / room).rglob("*.py"))]  # fmt: skip
    found = {file.name: plain_signs(file.read_text(encoding="utf-8")) for file in rooms}
    assert {name: texts for name, texts in found.items() if texts} == {
        "nouns.py": ["1 - p"]
    }  # of a docstring
    control = ["f'{n:,} x {n:,}'", "'m x m cells'", "f'{step} x'", "'mean of 1 - p'"]
    for text in control:
        assert len(plain_signs(f"def f():\n    '2 x 2'\n    return {text}")) == 1
    assert plain_signs("'a x b', 'x 2', f'{a - 1}'") == []
