"""Text can be read in both themes: contrast of at least 4.5 to 1 (WCAG AA)."""

import re

import pytest

from kdanalysis.pages.html.page import read

THEMES = re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\);", read("page.css"))
LIGHT = {name: light for name, light, _ in THEMES}
DARK = {name: dark for name, _, dark in THEMES}
TEXTS, GROUNDS = ("ink", "soft", "accent"), ("page", "paper", "shade")


def luminance(colour: str) -> float:
    parts = [value / 255 for value in bytes.fromhex(colour[1:])]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * x for w, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_text_stands_out_from_every_ground(theme):
    assert min(contrast(theme[t], theme[g]) for t in TEXTS for g in GROUNDS) >= 4.5


def test_contrast_is_the_published_formula():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # the known near miss


def test_the_plain_colours_are_those_of_the_light_theme():
    plain = dict(re.findall(r"--(\w+): (#\w{6});", read("page.css").partition("@supports")[0]))
    assert plain == LIGHT
