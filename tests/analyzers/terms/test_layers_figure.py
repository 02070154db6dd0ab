"""Figures of gradients at layers: lines, cells and sentences from the table."""

from itertools import combinations_with_replacement

import numpy as np
import pandas as pd
import pytest

from kdanalysis.analyzers.terms.layer_conflict_figure import (
    conflict_by_layer,
    layer_conflict_number,
    layer_conflict_over_epochs,
    layer_conflict_sentence,
    mean_conflict,
)
from kdanalysis.analyzers.terms.layers_figure import (
    layers_number,
    layers_over_training,
    layers_sentence,
    mean_norms,
)
from kdanalysis.draw.panels import drawn_layers
from tests.analyzers.readback import lines, smallest_font

TERMS = ("ce", "high", "low_other")
LAYERS = ("logits", "layer1", "fc")
STEPS = (0, 10, 20, 30)


def table(terms=TERMS, layers=LAYERS, steps=STEPS, cosine=-0.25) -> pd.DataFrame:
    """Norm 10^layer * (1 + term); ce and high at cosine, growing by 0.01 a step; others at 0.5."""
    rows = []
    for step in steps:
        for place, layer in enumerate(layers):
            for a, b in combinations_with_replacement(range(len(terms)), 2):
                norms = [10.0**place * (1 + t) + 0.1 * step for t in (a, b)]
                value = 1.0 if a == b else cosine + 0.01 * step if (a, b) == (0, 1) else 0.5
                keys = (step, step // 20, layer, terms[a], terms[b])
                dot = value * norms[0] * norms[1]
                rows.append((*keys, dot, *norms, value, float(value < 0), 1 + step // 10, 0))
    names = ["step", "epoch", "layer", "term_a", "term_b", "dot", "norm_a", "norm_b"]
    return pd.DataFrame(rows, columns=[*names, "cosine", "conflict", "n", "non_finite"])


def titles(figure) -> list[str]:
    return [ax.get_title(loc="left") for ax in figure.axes if ax.get_title(loc="left")]


def test_every_layer_has_a_panel_with_a_line_a_term():
    figure = layers_over_training(table())
    assert titles(figure) == list(LAYERS)
    for place, ax in enumerate(figure.axes):
        drawn = lines(ax)
        assert list(drawn) == list(TERMS)
        for number, term in enumerate(TERMS):
            expected = [10.0**place * (1 + number) + 0.1 * step for step in STEPS]
            assert drawn[term] == (list(STEPS), pytest.approx(expected))
        assert ax.get_yscale() == "log"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(TERMS)
    assert smallest_font(figure) >= 9


def test_rows_need_not_come_in_the_order_of_steps():
    shuffled = table().iloc[::-1]
    assert lines(layers_over_training(shuffled).axes[0])["ce"][0] == list(STEPS)


def test_a_norm_of_zero_leaves_a_gap_and_left_out_records_are_counted():
    rows = table()
    rows.loc[(rows.step == 10) & (rows.term_a == "high"), "norm_a"] = 0.0
    rows.loc[(rows.step == 20) & (rows.layer != "logits"), "non_finite"] = 3
    figure = layers_over_training(rows)
    assert np.isnan(lines(figure.axes[0])["high"][1][1])
    assert figure.get_supxlabel() == "training step\n(6 records with NaN or inf left out)"


def test_of_many_layers_the_first_and_last_and_some_between_are_drawn():
    many = table(layers=tuple(f"block{i}" for i in range(11)), steps=(0,))
    assert drawn_layers(many) == [f"block{i}" for i in (0, 2, 4, 6, 8, 10)]
    for figure in (
        layers_over_training(many),
        conflict_by_layer(many),
        layer_conflict_over_epochs(many),
    ):
        assert figure.get_suptitle() == "6 of 11 layers"
        assert titles(figure) == [f"block{i}" for i in (0, 2, 4, 6, 8, 10)]
    assert conflict_by_layer(table()).get_suptitle() == ""


def test_mean_norms_weigh_records():
    norms = mean_norms(table())
    assert list(norms.index) == list(LAYERS)
    assert list(norms.columns) == list(TERMS)
    expected = np.average([2 + 0.1 * step for step in STEPS], weights=[1, 2, 3, 4])
    assert norms.loc["logits", "high"] == pytest.approx(expected)


def test_the_matrix_of_a_layer_holds_means_over_records_and_their_share_of_negatives():
    figure = conflict_by_layer(table())
    assert titles(figure) == list(LAYERS)
    for ax in figure.axes[:3]:
        texts = {text.get_text() for text in ax.texts}
        # cosine -0.25, -0.15, -0.05, 0.05 in 1, 2, 3, 4 records: mean -0.05, 60 percent below 0
        assert texts == {"-0.05\n60 %", "+0.50\n0 %"}
        assert ax.images[0].get_array()[0, 0] == pytest.approx(-0.05)
        assert ax.get_xlabel() == ""
    assert "share of recorded steps with a negative one" in figure.get_supxlabel()
    assert smallest_font(figure) >= 9


def test_a_strip_holds_the_mean_of_every_epoch_and_the_percent_of_negatives():
    figure = layer_conflict_over_epochs(table())
    ax = figure.axes[1]
    cells = ax.images[0].get_array()
    # epoch 0: steps 0 and 10 with 1 and 2 records; epoch 1: steps 20 and 30 with 3 and 4
    assert cells[0].tolist() == pytest.approx([(-0.25 - 0.3) / 3, (-0.15 + 0.2) / 7])
    assert cells[1].tolist() == [0.5, 0.5]
    written = {text.get_position()[::-1]: text.get_text() for text in ax.texts}
    assert written == {
        **{(0, 0): "100", (0, 1): "43"},
        **{(row, column): "0" for row in (1, 2) for column in (0, 1)},
    }
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == [
        "ce / high",
        "ce / low_other",
        "high / low_other",
    ]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0", "1"]
    assert figure.get_supxlabel().startswith("epoch\nnumber in a cell: percent")
    assert smallest_font(figure) >= 9


def test_many_epochs_stand_together_and_steps_serve_without_epochs():
    figure = layer_conflict_over_epochs(table(steps=tuple(range(0, 240, 20))))
    labels = [label.get_text() for label in figure.axes[2].get_xticklabels()]
    assert labels == ["0", "2", "4", "6", "8", "10"]
    assert figure.get_supxlabel().startswith("epoch, from the one named to the next\n")
    assert figure.axes[0].images[0].get_array().shape == (3, 6)
    bare = table().assign(epoch=0)
    figure = layer_conflict_over_epochs(bare)
    assert figure.get_supxlabel().startswith("training step\n")
    labels = [label.get_text() for label in figure.axes[2].get_xticklabels()]
    assert labels == ["0", "10", "20", "30"]


def test_records_without_a_direction_count_for_nothing():
    rows = table()
    rows.loc[(rows.step == 0) & (rows.term_a != rows.term_b), ["cosine", "conflict"]] = np.nan
    means = mean_conflict(rows).set_index(["layer", "term_a", "term_b"])
    expected = np.average([-0.15, -0.05, 0.05], weights=[2, 3, 4])
    assert means.cosine["fc", "ce", "high"] == pytest.approx(expected)
    assert means.conflict["fc", "ce", "high"] == pytest.approx(5 / 9)


def test_sentence_and_number_name_the_fight_and_the_logits_beside_it():
    rows = table()
    at = (rows.layer == "fc") & (rows.term_a == "high") & (rows.term_b == "low_other")
    rows.loc[at, ["cosine", "conflict"]] = -0.8, 1.0
    assert layer_conflict_sentence(rows) == (
        "high and low_other fight most, at fc: their mean cosine there is -0.80, in logit space "
        "+0.50."
    )
    assert layer_conflict_number(rows) == (
        "lowest mean cosine -0.80, of high and low_other at fc, negative in 100% of the recorded "
        "steps"
    )
    alone = rows[rows.layer == "fc"]
    assert layer_conflict_sentence(alone).endswith("their mean cosine there is -0.80.")


def test_logit_space_is_not_taken_for_a_layer_unless_it_is_alone():
    rows = table()
    rows.loc[(rows.layer == "logits") & (rows.cosine < 1), "cosine"] = -1.0
    assert "at layer1: their mean cosine there is -0.05, in logit space -1.00" in (
        layer_conflict_sentence(rows)
    )
    assert "at logits: their mean cosine there is -1.00." in layer_conflict_sentence(
        rows[rows.layer == "logits"]
    )


def test_sentence_says_when_nothing_fights():
    assert layer_conflict_sentence(table(cosine=0.25)) == (
        "These data show no two terms that fight at a layer: the mean cosine is lowest for ce and "
        "high at layer1, +0.45, in logit space +0.45."
    )


def test_sentence_of_norms_names_the_longest_term():
    assert layers_sentence(table()) == (
        "low_other pulls hardest at every layer, 1.5 times the next term."
    )
    rows = table(steps=(0,))
    rows.loc[(rows.layer == "fc") & (rows.term_a == "ce"), "norm_a"] = 1e6
    assert layers_sentence(rows) == (
        "Which term pulls hardest depends on the layer: low_other at layer1; ce at fc."
    )
    assert layers_number(table(steps=(0,))) == (
        "longest term at logits: low_other 3; layer1: low_other 30; fc: low_other 3e+02"
    )
    rows = table(steps=(0,))
    rows.loc[(rows.layer == "fc") & (rows.term_a == "low_other"), "norm_a"] = 800.0
    assert "at every layer, 1.5 to 4 times the next term" in layers_sentence(rows)


def test_a_single_term_has_norms_and_no_conflict():
    rows = table(terms=("kd",))
    assert layers_sentence(rows).startswith("kd is the loss's only term")
    assert titles(layers_over_training(rows)) == list(LAYERS)
    for draw in (conflict_by_layer, layer_conflict_over_epochs, layer_conflict_number):
        with pytest.raises(ValueError, match="single term, which has none to be in conflict with"):
            draw(rows)


@pytest.mark.parametrize("draw", [layers_over_training, conflict_by_layer])
def test_tables_without_what_is_drawn_are_refused(draw):
    with pytest.raises(ValueError, match="the table lacks"):
        draw(table().drop(columns=["cosine", "norm_a"]))
    with pytest.raises(ValueError, match="has no rows"):
        draw(table().iloc[:0])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_any_number_of_layers_can_be_drawn(count):
    rows = table(layers=tuple(f"block{i}" for i in range(count)))
    for draw in (layers_over_training, conflict_by_layer, layer_conflict_over_epochs):
        assert len(titles(draw(rows))) == count


def test_names_of_layers_are_shown_as_they_are():
    rows = table(layers=("$x^2$", "a" * 40))
    for draw in (layers_over_training, conflict_by_layer, layer_conflict_over_epochs):
        figure = draw(rows)
        figure.canvas.draw()
        first, second = titles(figure)
        assert first == "$x^2$"
        assert len(second) == 24
