"""What an annotation asks for and what was given instead, in words; numbers as a reader writes."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import floor, isfinite, log10
from pathlib import Path
from textwrap import shorten
from types import NoneType, UnionType
from typing import Any, SupportsFloat, SupportsIndex, TypeVar, Union, get_args, get_origin

from jaxtyping import AbstractArray

Value = TypeVar("Value")
MOST = 80  # letters of a value
JOINERS = "\u200c\u200d"  # between letters of Persian or Hindi, and parts of an emoji
WORDS: dict[Any, str] = {
    **dict.fromkeys((int, SupportsIndex), "a whole number"),
    **dict.fromkeys((float, SupportsFloat), "a finite number"),
    **{str: "text", bool: "True or False", Path: "a path", NoneType: "None"},
    Callable: "a function",
}
UNKNOWN = "unknown"  # in place of a number that no sample gives
MINUS = "\u2212"  # before a number, where a hyphen would look like one
TIMES, DASH = "\u00d7", "\u2013"  # between factors, and between the ends of a group
REST = f"1 {MINUS} p"
PICKED = (  # rows of logits that have positions too
    "of a language model's tokens kd.tokens(student_logits, teacher_logits, labels) picks the rows"
)
ROUNDING = 1e-9  # by which a sum of shares may be off 1
LARGE = {12: "trillion", 9: "billion", 6: "million"}
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
ENTRIES = {"Float": "floating numbers", "Int": "whole numbers", "Bool": "truth values"}


class Named(dict[str, Value]):
    """A dict that says which names it has where one is asked for that it has not."""

    def __missing__(self, name: Any) -> Value:
        there = shorten(", ".join(self) or "none", 4 * MOST, placeholder=" ...")
        raise KeyError(f"there is no {told(name)}; there are: {there}")


def words(hint: Any) -> str:
    """Say what an annotation asks for."""
    origin, inner = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, UnionType):
        return _one_of([words(kind) for kind in inner])
    if origin in WORDS:
        return WORDS[origin]
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        return f"{len(inner)} values, each {words(inner[0])}"
    if origin in (Iterable, Iterator, Sequence, tuple, list):
        return "a list or tuple" + (f", each entry {words(inner[0])}" if inner else "")
    if origin in (Mapping, dict):
        return "a dict" + (f", each value {words(inner[1])}" if inner[1:] != (Any,) else "")
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        of = ENTRIES.get(hint.__name__.partition("[")[0], "numbers")
        dims = ", ".join("..." if dim[0] in "*." else dim for dim in hint.dim_str.split())
        return f"{words(hint.array_type)} of {of} ({dims})"
    return f"a {origin.__module__.partition('.')[0]} {origin.__name__}"


def _one_of(kinds: list[str]) -> str:
    """Join them, each once, None last; a number says whole numbers too, and a path text."""
    known = dict.fromkeys(kinds)
    for wide, narrow in (("a finite number", "a whole number"), ("a path", "text")):
        if wide in known:
            known.pop(narrow, None)
    between = ", or " if any("each" in kind for kind in known) else " or "
    return between.join(sorted(known, key=lambda kind: kind == "None"))


def printable(value: object) -> str:
    """Return a name as it is written; no control character reaches a message or the terminal."""
    text = str(value)
    if text.isprintable():
        return text
    kept = {c for c in text if c.isprintable() or c in JOINERS}
    return "".join(c if c in kept else c.encode("unicode_escape").decode() for c in text)


def told(value: Any) -> str:
    """Say what was given, briefly."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        kind, shape = type(value), tuple(value.shape)
        said = f"a {kind.__module__.partition('.')[0]} {kind.__name__} of {value.dtype} {shape}"
        if getattr(value, "requires_grad", False):
            said += " that requires a gradient: kept as a plain number it would never learn"
        return said if shape or said.endswith("learn") else f"{said} {value!r:.{MOST}}"
    plain = value is None or isinstance(value, (bool, int, float, str, list, tuple, dict, set))
    short = f"{' '.join(repr(value).split()):.{MOST}}"
    return short if plain else f"a {type(value).__name__} {short}"


def numeral(value: SupportsFloat, digits: int = 3, sign: str = "") -> str:
    """Write a number in a sentence: 240, 0.0021, 1,090, 1.2 million; "unknown" for NaN and inf.

    Args:
        value: rounded to ``digits`` significant digits; zeros after the point are left out.
        digits: at least 1.
        sign: "+" to write it before what is not negative, too.
    """
    if not isfinite(float(value)):
        return UNKNOWN
    rounded = float(f"{float(value):.{digits}g}")
    before, size = MINUS if rounded < 0 else sign, abs(rounded)
    one, _, raised = f"{size:.{digits - 1}e}".partition("e")  # as written: 1e-7 is a little less
    power = int(raised)
    named = next((exponent for exponent in LARGE if power >= exponent), 0)
    if power < -6 or power >= 15:
        return f"{before}{_plain(float(one), digits - 1)} {TIMES} 10{str(power).translate(RAISED)}"
    text = _plain(size / 10**named, digits - 1 - power + named)
    return f"{before}{text} {LARGE[named]}" if named else f"{before}{text}"


def percent(share: SupportsFloat, digits: int = 1) -> str:
    """Write a share in percent: 45.0 %, 0.21 %, 99.98 %; "unknown" for NaN and inf.

    Below half a percent it has two digits, so that what is not 0 is never written as 0, and what
    is below 1 by more than rounding the decimals that tell it from 1.
    """
    value = float(share)
    if not isfinite(value):
        return UNKNOWN
    if 0 < abs(value) < 0.005:
        return f"{numeral(100 * value, 2)} %"
    if ROUNDING < 1 - value < 0.5 * 10.0 ** -(digits + 2):
        digits = -2 - floor(log10(1 - value))
    return minus(f"{100 * value:z,.{digits}f} %")


def whole_percent(share: SupportsFloat) -> str:
    """Write a share in whole percent, where there is no room for more: 34 %, <1 %, >99 %, 100 %.

    What is not 0 is never written as 0 %, nor what is below 1 by more than rounding as 100 %.
    """
    value = float(share)
    if 0 < value <= 0.005:
        return "<1 %"
    return ">99 %" if 0.995 <= value < 1 - ROUNDING else percent(value, 0)


def percents(*shares: SupportsFloat) -> list[str]:
    """Write shares in percent with the same decimals, which tell them apart, and from 0 and 1.

    Each by itself (:func:`percent`) where four do not.
    """
    values = [100 * float(share) for share in shares]
    for digits in range(1, 5):
        texts = {value: f"{value:z,.{digits}f} %" for value in (0.0, 100.0, *values)}
        if len(set(texts.values())) == len(texts) and all(map(isfinite, values)):
            return [minus(texts[value]) for value in values]
    return [percent(share) for share in shares]


def percent_range(first: SupportsFloat, last: SupportsFloat) -> str:
    """Write two shares as 1.0 % to 38.3 %, as one of them where they are written alike."""
    return " to ".join(dict.fromkeys(percents(first, last)))


def numerals(*values: SupportsFloat, digits: int = 3) -> list[str]:
    """Write numbers with the same decimals, those that the largest has of so many digits.

    Each by itself (:func:`numeral`) where that hides one, or they go beyond a million.
    """
    known = [abs(float(value)) for value in values if isfinite(float(value))]
    power = floor(log10(max(known, default=0) or 1))
    decimals = max(digits - 1 - power, 0)
    hidden = any(0 < size < 10.0**-decimals for size in known)
    if hidden or not -digits <= power < 6:
        return [numeral(value, digits) for value in values]
    return [written(value, f"z,.{decimals}f") for value in values]


def ratios(*values: SupportsFloat) -> list[str]:
    """Write ratios with the same decimals (:func:`numerals`), which tell them from 1."""
    for digits in (3, 4, 5, 6):
        texts = numerals(*values, digits=digits)
        alike = zip(values, texts, strict=True)
        if all(value == 1 or (text != "1" and text.rstrip("0") != "1.") for value, text in alike):
            return texts
    return [numeral(value) for value in values]


def minus(text: str) -> str:
    """Write a number with a minus sign in place of a hyphen."""
    return text.replace("-", MINUS, 1) if text.startswith("-") else text


def grid(cells: SupportsIndex) -> str:
    """Write so many rows and columns, as 4 \u00d7 4."""
    return f"{int(cells):,} {TIMES} {int(cells):,}"


def ranged(name: str) -> str:
    """Write the name of a group between two numbers with a dash, as 0.1\u20130.5."""
    return re.sub(r"(?<=\d)-(?=\d)", DASH, name)


def _plain(size: float, decimals: int) -> str:
    text = f"{size:,.{max(decimals, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def written(value: SupportsFloat, spec: str) -> str:
    """Write a number as ``spec`` has it, of ".3g" as ``numeral``; "unknown" for NaN or inf."""
    if spec.endswith("g"):
        return numeral(value, int(spec[-2]), "+" if "+" in spec else "")
    return minus(f"{float(value):{spec}}") if isfinite(float(value)) else UNKNOWN


def matched(spec: str, value: float, half: float) -> tuple[str, str]:
    """Return how an estimate and half of its interval are written; as ``spec`` where half is 0."""
    sign, digits, kind = spec.partition(".")[0].rstrip("z") + "z", int(spec[-2]), spec[-1]
    if not half > 0 or not isfinite(value):
        return spec, spec
    last = floor(log10(half))  # decimal place of the first digit
    if kind == "g":
        if 0 <= 1 - last <= 6:
            return (f"{sign},.{_telling(1 - last, value, half)}f",) * 2
        first = floor(log10(abs(value))) if value else last
        return f"{sign}.{max(digits, min(first - last + 2, 6))}g", f"{sign}.2g"
    if abs(value) > half and not round(value, digits + 2):  # 0.000 ± 0.000 would not tell it
        return matched(f"{sign}.2g", value, half)
    if not round(half, digits) and round(half, digits + 2):
        digits = -last
    return (f"{sign}.{_telling(digits, value, half)}f",) * 2


def _telling(digits: int, value: float, half: float) -> int:
    """Return decimals, up to two more, that show an estimate to lie beyond its half: 0.51, 0.49."""
    told = (d for d in range(digits, digits + 3) if round(abs(value), d) > round(half, d))
    return next(told, digits) if abs(value) > half else digits


def differing(before: Any, now: Any) -> tuple[str, str]:
    """Write two unequal values; of long ones the part around the first letter that differs."""
    one, two = said = repr(before), repr(now)
    same = next((n for n, pair in enumerate(zip(one, two, strict=False)) if len(set(pair)) > 1), 0)
    start = max(same - MOST // 2, 0) if max(map(len, said)) > MOST else 0
    old, new = (
        "..." * (start > 0) + text[start : start + MOST] + "..." * (len(text) > start + MOST)
        for text in said
    )
    return old, new


def counted(count: int, noun: str) -> str:
    """Write how many there are, as 1 sample and 2,000 samples."""
    return f"{count:,} {noun}" + "s" * (count != 1)
