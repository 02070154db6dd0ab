"""Style: fixed colours, plain labels."""

import random
from itertools import combinations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from kdanalysis.draw.colours import PALETTE, ladder_colours, side_look, term_colour
from kdanalysis.draw.look import new_axes, plain_log, styled
from kdanalysis.draw.names import class_names, short
from kdanalysis.draw.tables import require, state_left_out


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_the_palette_tells_terms_apart_and_shows_on_light_and_dark():
    for a, b in combinations(PALETTE.values(), 2):
        assert np.linalg.norm(np.subtract(to_rgb(a), to_rgb(b))) > 0.25
    for colour in PALETTE.values():
        contrast_white = 1.05 / (luminance(colour) + 0.05)
        contrast_dark = (luminance(colour) + 0.05) / (luminance("#14161a") + 0.05)
        assert min(contrast_white, contrast_dark) > 2


def test_a_term_keeps_its_colour_under_any_loss():
    assert term_colour("gdkd:low_other") == term_colour("low_other")
    assert term_colour("low_7") == term_colour("low_7")


def test_ladder_is_in_order_of_the_values():
    colours = ladder_colours([8, 1, 4])
    shades = [sum(colours[t][:3]) for t in (1, 4, 8)]
    assert shades == sorted(shades)


def test_settings_do_not_leak():
    @styled
    def draw():
        return mpl.rcParams["axes.spines.top"]

    before = dict(mpl.rcParams)
    assert draw() is False
    assert dict(mpl.rcParams) == before


def test_long_names_keep_both_ends():
    assert short("short") == "short"
    assert short("a\nb  c") == "a b c"
    assert len(short("very long class name number 17")) == 16
    assert short("very long class name number 17").startswith("very")
    assert short("very long class name number 17").endswith("r 17")


def test_names_that_would_look_alike_show_where_they_differ():
    layers = [f"base_model.model.layers.{i}.self_attn.q_proj" for i in range(11)]
    shown = [short(layer, 24, layers) for layer in layers]
    assert len(set(shown)) == len(layers)
    assert all(len(name) <= 24 for name in shown)
    assert all(f"{i}.self_attn.q_proj" in name for i, name in enumerate(shown))
    one, other = "very long class name number 17", "very long class name number 18"
    assert short(one, 16, [one, other, "short"]) == short(one)
    assert short("a" * 20, 16, ["a" * 20]) == short("a" * 20)  # itself, twice


@pytest.mark.parametrize("length", [10, 16, 24])
@pytest.mark.parametrize("seed", range(30))
def test_no_two_names_look_alike(seed, length):
    draw = random.Random(seed)
    names = {
        "block." * draw.randint(4, 6)
        + "".join(draw.choices("ab1", k=draw.randint(0, 4)))
        + ".weight" * 3
        for _ in range(12)
    }
    shown = [short(name, length, names) for name in names]
    assert len(set(shown)) == len(names)
    if length > 10:  # what they differ in has room
        assert max(map(len, shown)) <= length


def test_left_out_samples_are_stated_only_where_there_are_some():
    assert state_left_out(pd.DataFrame({"non_finite": [0, 0]})) == ""
    assert state_left_out(pd.DataFrame({"non_finite": [1]})) == (
        "\n(1 sample with NaN or inf left out)"
    )
    assert "1,234 samples" in state_left_out(pd.DataFrame({"non_finite": [1234]}))


def test_tables_and_names_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"the table lacks \['b'\]"):
        require(pd.DataFrame({"a": [1]}), "a", "b")
    with pytest.raises(ValueError, match="the table has no rows"):
        require(pd.DataFrame({"a": []}), "a")
    with pytest.raises(ValueError, match="no value of 'a': all samples hold NaN or inf"):
        require(pd.DataFrame({"a": [np.nan]}), "a", number="a")
    with pytest.raises(ValueError, match="got 1 class names for 3 classes"):
        class_names(3, ["one"])


def test_wordnet_ids_are_left_away_where_all_names_have_one():
    assert class_names(2, ["n02268443 dragonfly", "n07695742 pretzel"]) == ["dragonfly", "pretzel"]
    mixed = ["n02268443 dragonfly", "pretzel"]
    assert class_names(2, mixed) == mixed
    cranes = ["n02268443 crane", "n07695742 crane"]
    assert class_names(3, [*cranes, "n07873807 pizza"]) == [*cranes, "pizza"]


def test_sides_of_a_ladder_have_a_colour_each_and_their_parts_dashes():
    looks = {t: side_look(t) for t in ("student/task", "student/cross", "stone_1/task")}
    assert looks["student/task"][0] == looks["student/cross"][0] != looks["stone_1/task"][0]
    assert looks["student/task"][1] == looks["stone_1/task"][1] != looks["student/cross"][1]
    assert side_look("consistent/kd") is side_look("kd") is side_look("stone_1/kd") is None


def test_numbers_below_one_are_written_as_they_are():
    ax = plt.subplots()[1]
    ax.plot([1, 2], [0.35, 0.75])
    plain_log(ax)
    ax.figure.canvas.draw()
    texts = [t.get_text() for t in ax.yaxis.get_minorticklabels() if t.get_text()]
    assert texts
    assert all(float(text) < 1 and "e" not in text for text in texts)


def test_powers_on_a_logarithmic_axis_are_letters_no_formulas():
    ax = new_axes()
    ax.plot([1, 2], [0.002, 3000])
    ax.set_yscale("log")
    ax.figure.canvas.draw()
    texts = [t.get_text() for t in ax.yaxis.get_majorticklabels()]
    assert {"10⁻²", "10⁰", "10³"} <= set(texts)
    ax.set_yscale("log", base=2)
    ax.figure.canvas.draw()
    assert "$\\mathdefault{2^{3}}$" in [t.get_text() for t in ax.yaxis.get_majorticklabels()]
    ax.set_yscale("symlog")
    ax.set_ylim(-5000, 0)
    ax.figure.canvas.draw()
    assert "$\\mathdefault{-10^{2}}$" in [t.get_text() for t in ax.yaxis.get_majorticklabels()]
