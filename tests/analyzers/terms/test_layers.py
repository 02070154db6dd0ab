"""Gradients at layers: as numpy finds them record by record, their figures and sentences."""

from itertools import combinations_with_replacement

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.terms.layer_conflict import (
    LayerConflict,
    conflict_by_layer,
    layer_conflict_over_epochs,
    layer_conflict_reading,
    mean_conflict,
)
from kdanalysis.analyzers.terms.layers import (
    LayerGradients,
    layers_over_training,
    layers_reading,
    mean_norms,
)
from kdanalysis.analyzers.terms.snr import SignalToNoise
from kdanalysis.draw.panels import drawn_layers
from tests.analyzers.readback import lines, smallest_font
from tests.analyzers.terms.layer_records import LAYERS, PLACES, STEPS, TERMS, given, row


def test_norms_dots_and_cosines_agree_with_numpy(records):
    analyzer = LayerGradients(LAYERS, TERMS, STEPS)
    for part in (slice(0, 2), slice(2, 5)):
        analyzer.update(**{name: x[part] for name, x in given(records, "gram").items()})
    table = analyzer.table()

    assert len(table) == 2 * 2 * 6
    g = records["g"].numpy()
    for step in STEPS:
        for place, layer in enumerate(LAYERS):
            mine = [g[i] for i in range(5) if PLACES[i] == (step, place)]
            for a in range(3):
                for b in range(a, 3):
                    found = row(table, step=step, layer=layer, term_a=TERMS[a], term_b=TERMS[b])
                    dots = [x[a] @ x[b] for x in mine]
                    lengths = [np.sqrt((x[a] @ x[a]) * (x[b] @ x[b])) for x in mine]
                    cosines = [d / length for d, length in zip(dots, lengths, strict=True)]
                    assert found["dot"] == pytest.approx(np.mean(dots))
                    assert found.norm_a == pytest.approx(
                        np.mean([np.linalg.norm(x[a]) for x in mine])
                    )
                    assert found.norm_b == pytest.approx(
                        np.mean([np.linalg.norm(x[b]) for x in mine])
                    )
                    assert found.cosine == pytest.approx(np.mean(cosines))
                    assert found.conflict == np.mean([c < 0 for c in cosines])
                    assert (found.n, found.non_finite, found.epoch) == (len(mine), 0, step // 5)
    assert 0 < table.conflict.mean() < 1  # the control: both signs are there


def test_relation_terms_are_apart_in_the_logits_alone():
    pairs = (("ce", "low_top"), ("ce", "low_other"), ("low_top", "low_other"))
    rows = [(layer, *pair, 0.25) for layer in ("logits", "fc") for pair in pairs]
    frame = pd.DataFrame(rows, columns=["layer", "term_a", "term_b", "cosine"])
    frame = frame.assign(step=0, epoch=0, conflict=0.5, n=4, non_finite=0, trained=True)
    logits, fc = conflict_by_layer(frame).axes[:2]
    assert [text.get_text() for text in logits.texts].count("always 0") == 1
    assert [text.get_text() for text in fc.texts] == ["+0.25\n50 %"] * 3


def test_a_gradient_of_zero_has_a_norm_and_no_direction(records):
    records["gram"][1, 0, :] = records["gram"][1, :, 0] = 0
    analyzer = LayerGradients(LAYERS, TERMS, STEPS)
    analyzer.update(**given(records, "gram"))
    table = analyzer.table()
    silent = row(table, step=0, layer="fc", term_a="ce", term_b="high")
    assert silent.norm_a == 0
    assert np.isnan(silent.cosine)
    assert np.isnan(silent.conflict)
    assert row(table, step=0, layer="fc", term_a="high", term_b="low").cosine != 0


def test_a_square_that_underflows_has_no_direction_either(records):
    records["gram"][1, 0, 0] = 0  # as in float32, of a gradient of 1e-30
    records["gram"][1, 0, 1] = records["gram"][1, 1, 0] = -1e-30
    analyzer = LayerGradients(LAYERS, TERMS, STEPS)
    analyzer.update(**given(records, "gram"))
    silent = row(analyzer.table(), step=0, layer="fc", term_a="ce", term_b="high")
    assert np.isnan(silent.cosine)
    assert np.isnan(silent.conflict)


def test_a_record_with_nan_is_counted_and_left_out(records):
    whole = LayerGradients(LAYERS, TERMS, STEPS)
    whole.update(**{n: x[:4] for n, x in given(records, "gram").items()})
    records["gram"][4, 1, 2] = np.nan
    analyzer = LayerGradients(LAYERS, TERMS, STEPS)
    analyzer.update(**given(records, "gram"))
    table, expected = analyzer.table(), whole.table()
    pd.testing.assert_frame_equal(
        table.drop(columns="non_finite"), expected.drop(columns="non_finite")
    )
    assert table.groupby(["step", "layer"]).non_finite.first().tolist() == [0, 1, 0, 0]


def test_a_layer_without_records_at_a_step_has_no_rows_and_one_of_nan_alone_has(records):
    records["gram"][3] = np.nan
    analyzer = LayerGradients(LAYERS, TERMS, STEPS)
    analyzer.update(**{n: x[1:4] for n, x in given(records, "gram").items()})
    table = analyzer.table()
    assert table.groupby(["step", "layer"]).n.first().to_dict() == {
        (0, "fc"): 1,
        (10, "layer1"): 1,
        (10, "fc"): 0,
    }
    assert table[table.n == 0].norm_a.isna().all()


@pytest.mark.parametrize("kind", [LayerGradients, SignalToNoise])
def test_parts_merge_into_the_whole(records, kind):
    records |= {"covariance": records["gram"] / 7, "count": torch.full((5,), 8)}
    names = ("gram",) if kind is LayerGradients else ("gram", "covariance", "count")
    whole, left, right = (kind(LAYERS, TERMS, STEPS) for _ in range(3))
    whole.update(**given(records, *names))
    left.update(**{n: x[:2] for n, x in given(records, *names).items()})
    right.update(**{n: x[2:] for n, x in given(records, *names).items()})
    left.merge_state(right)
    pd.testing.assert_frame_equal(left.table(), whole.table())
    with pytest.raises(ValueError, match="cannot merge"):
        left.merge_state(kind(LAYERS[:1], TERMS, STEPS))


def test_a_step_that_was_not_announced_is_refused(records):
    with pytest.raises(ValueError, match="step 10 is not among the 1 steps"):
        LayerGradients(LAYERS, TERMS, (0,)).update(**given(records, "gram"))


def test_nothing_to_look_at_is_refused():
    with pytest.raises(ValueError, match="need at least one layer and one term, got"):
        LayerGradients((), TERMS, STEPS)


EXAMPLE_TERMS = ("ce", "high", "low_other")
EXAMPLE_LAYERS = ("logits", "layer1", "fc")
EXAMPLE_STEPS = (0, 10, 20, 30)


def example(
    terms=EXAMPLE_TERMS, layers=EXAMPLE_LAYERS, steps=EXAMPLE_STEPS, cosine=-0.25
) -> pd.DataFrame:
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
    figure = layers_over_training(example())
    assert titles(figure) == list(EXAMPLE_LAYERS)
    for place, ax in enumerate(figure.axes):
        drawn = lines(ax)
        assert list(drawn) == list(EXAMPLE_TERMS)
        for number, term in enumerate(EXAMPLE_TERMS):
            expected = [10.0**place * (1 + number) + 0.1 * step for step in EXAMPLE_STEPS]
            assert drawn[term] == (list(EXAMPLE_STEPS), pytest.approx(expected))
        assert ax.get_yscale() == "log"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(EXAMPLE_TERMS)
    assert smallest_font(figure) >= 9


def test_rows_need_not_come_in_the_order_of_steps():
    shuffled = example().iloc[::-1]
    assert lines(layers_over_training(shuffled).axes[0])["ce"][0] == list(EXAMPLE_STEPS)


def test_a_norm_of_zero_leaves_a_gap_and_left_out_records_are_counted():
    rows = example()
    rows.loc[(rows.step == 10) & (rows.term_a == "high"), "norm_a"] = 0.0
    rows.loc[(rows.step == 20) & (rows.layer != "logits"), "non_finite"] = 3
    figure = layers_over_training(rows)
    assert np.isnan(lines(figure.axes[0])["high"][1][1])
    assert figure.get_supxlabel() == "training step\n(6 records with NaN or inf left out)"


def test_of_many_layers_the_first_and_last_and_some_between_are_drawn():
    many = example(layers=tuple(f"block{i}" for i in range(11)), steps=(0,))
    assert drawn_layers(many) == [f"block{i}" for i in (0, 2, 4, 6, 8, 10)]
    for figure in (
        layers_over_training(many),
        conflict_by_layer(many),
        layer_conflict_over_epochs(many),
    ):
        assert figure.get_suptitle() == "6 of 11 layers"
        assert titles(figure) == [f"block{i}" for i in (0, 2, 4, 6, 8, 10)]
    assert conflict_by_layer(example()).get_suptitle() == ""


def test_mean_norms_weigh_records():
    norms = mean_norms(example())
    assert list(norms.index) == list(EXAMPLE_LAYERS)
    assert list(norms.columns) == list(EXAMPLE_TERMS)
    expected = np.average([2 + 0.1 * step for step in EXAMPLE_STEPS], weights=[1, 2, 3, 4])
    assert norms.loc["logits", "high"] == pytest.approx(expected)


def test_the_matrix_of_a_layer_holds_means_over_records_and_their_share_of_negatives():
    figure = conflict_by_layer(example())
    assert titles(figure) == list(EXAMPLE_LAYERS)
    for ax in figure.axes[:3]:
        texts = {text.get_text() for text in ax.texts}
        # cosine -0.25, -0.15, -0.05, 0.05 in 1, 2, 3, 4 records: mean -0.05, 60 percent below 0
        assert texts == {"\u22120.05\n60 %", "+0.50\n0 %"}
        assert ax.images[0].get_array()[0, 0] == pytest.approx(-0.05)
        assert ax.get_xlabel() == ""
    assert "share of recorded steps with a negative one" in figure.get_supxlabel()
    assert smallest_font(figure) >= 9


def test_a_strip_holds_the_mean_of_every_epoch_and_the_percent_of_negatives():
    figure = layer_conflict_over_epochs(example())
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
    figure = layer_conflict_over_epochs(example(steps=tuple(range(0, 240, 20))))
    labels = [label.get_text() for label in figure.axes[2].get_xticklabels()]
    assert labels == ["0", "2", "4", "6", "8", "10"]
    assert figure.get_supxlabel().startswith("epoch, from the one named to the next\n")
    assert figure.axes[0].images[0].get_array().shape == (3, 6)
    bare = example().assign(epoch=0)
    figure = layer_conflict_over_epochs(bare)
    assert figure.get_supxlabel().startswith("training step\n")
    labels = [label.get_text() for label in figure.axes[2].get_xticklabels()]
    assert labels == ["0", "10", "20", "30"]


def test_records_without_a_direction_count_for_nothing():
    rows = example()
    rows.loc[(rows.step == 0) & (rows.term_a != rows.term_b), ["cosine", "conflict"]] = np.nan
    means = mean_conflict(rows).set_index(["layer", "term_a", "term_b"])
    expected = np.average([-0.15, -0.05, 0.05], weights=[2, 3, 4])
    assert means.cosine["fc", "ce", "high"] == pytest.approx(expected)
    assert means.conflict["fc", "ce", "high"] == pytest.approx(5 / 9)


def test_sentence_and_number_name_the_fight_and_the_logits_beside_it():
    rows = example()
    at = (rows.layer == "fc") & (rows.term_a == "high") & (rows.term_b == "low_other")
    rows.loc[at, ["cosine", "conflict"]] = -0.8, 1.0
    assert layer_conflict_reading(rows).sentence == (
        "That two terms fight at a layer is seen: the mean cosine is lowest for high and low_other "
        "at fc, \u22120.80 ± 0.00, 95 % for all 6 cosines together, in logit space +0.50."
    )
    assert layer_conflict_reading(rows).number == (
        "lowest mean cosine \u22120.80, of high and low_other at fc, negative in 100 % of the "
        "recorded steps"
    )
    alone = rows[rows.layer == "fc"]
    assert layer_conflict_reading(alone).sentence.endswith(
        "± 0.00, 95 % for all 3 cosines together."
    )
    rows.loc[at & (rows.step == 30), "cosine"] = 0.9
    told = layer_conflict_reading(rows).sentence  # steps -.8, -.8, -.8, .9; t of 3 at 0.025 / 6
    half = 6.2315 * np.std([-0.8, -0.8, -0.8, 0.9], ddof=1) / 2
    assert "is not seen: the mean cosine is lowest for high and low_other at fc, " in told
    assert f" ± {half:.2f}, 95 % for all 6" in told
    first = layer_conflict_reading(rows[rows.step == 0]).sentence
    assert "cannot be tested here" in first
    assert "at fc, \u22120.80 (interval unknown), in" in first


def test_logit_space_is_not_taken_for_a_layer_unless_it_is_alone():
    rows = example()
    rows.loc[(rows.layer == "logits") & (rows.cosine < 1), "cosine"] = -1.0
    told = layer_conflict_reading(rows).sentence
    assert "is not seen: " in told
    assert "at layer1, \u22120.05 ± 0.40, 95 % for all 6 cosines together, in logit space" in told
    alone = layer_conflict_reading(rows[rows.layer == "logits"]).sentence
    assert alone.endswith("\u22121.00 ± 0.00, 95 % for all 3 cosines together.")


def test_sentence_says_when_nothing_fights():
    assert layer_conflict_reading(example(cosine=0.25)).sentence == (
        "That two terms fight at a layer is seen not to hold: the mean cosine is lowest for ce and "
        "high at layer1, +0.45 ± 0.40, 95 % for all 6 cosines together, in logit space +0.45."
    )


def test_sentence_of_norms_names_the_longest_term():
    assert layers_reading(example()).sentence.startswith(
        "The term that pulls hardest: low_other at every layer (seen: 1.45 (95 % 1.41 to 1.50)"
    )
    rows = example(steps=(0,))
    rows.loc[(rows.layer == "fc") & (rows.term_a == "ce"), "norm_a"] = 1e6
    assert layers_reading(rows).sentence == (
        "The term that pulls hardest: low_other at layer1 (cannot be tested here: 1.5 times the "
        "next term); ce at fc (cannot be tested here: 3,330 times the next term)."
    )
    assert layers_reading(example(steps=(0,))).number == (
        "longest term at logits: low_other 3; layer1: low_other 30; fc: low_other 300"
    )


def test_a_single_term_has_norms_and_no_conflict():
    rows = example(terms=("kd",))
    assert layers_reading(rows).sentence.startswith("kd is the loss's only term")
    assert titles(layers_over_training(rows)) == list(EXAMPLE_LAYERS)
    for draw in (conflict_by_layer, layer_conflict_over_epochs, layer_conflict_reading):
        with pytest.raises(ValueError, match="single term, which has none to be in conflict with"):
            draw(rows)


@pytest.mark.parametrize("draw", [layers_over_training, conflict_by_layer])
def test_tables_without_what_is_drawn_are_refused(draw):
    with pytest.raises(ValueError, match="the table lacks"):
        draw(example().drop(columns=["cosine", "norm_a"]))
    with pytest.raises(ValueError, match="has no rows"):
        draw(example().iloc[:0])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_any_number_of_layers_can_be_drawn(count):
    rows = example(layers=tuple(f"block{i}" for i in range(count)))
    for draw in (layers_over_training, conflict_by_layer, layer_conflict_over_epochs):
        assert len(titles(draw(rows))) == count


def test_names_of_layers_are_shown_as_they_are():
    rows = example(layers=("$x^2$", "a" * 40))
    for draw in (layers_over_training, conflict_by_layer, layer_conflict_over_epochs):
        figure = draw(rows)
        figure.canvas.draw()
        first, second = titles(figure)
        assert first == "$x^2$"
        assert len(second) == 24


def test_pages_show_one_row_a_layer_or_a_pair():
    short = LayerGradients.excerpt(example())
    assert list(short.columns) == ["layer", *EXAMPLE_TERMS]
    assert short.layer.tolist() == list(EXAMPLE_LAYERS)
    assert len(LayerConflict.excerpt(example())) == len(EXAMPLE_LAYERS) * 3
