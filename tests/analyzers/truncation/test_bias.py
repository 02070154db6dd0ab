"""Bias against noise: errors of mean gradients as numpy and draws find them."""

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.truncation.bias import TruncationBias, bias_reading, error_over_tokens
from kdanalysis.core.truncation.algebra import CONVENTIONS
from tests.analyzers.readback import lines, smallest_font
from tests.analyzers.truncation.rows import KS, N, V, fed, pair, plain

STUDENT, TEACHER = pair()
WAYS = (*CONVENTIONS, "sampling")


def squared_mean(each: np.ndarray) -> float:
    """Squared length of the mean, less what chance adds to it: the mean over pairs of rows."""
    products = each @ each.T
    return (products.sum() - np.trace(products)) / (len(each) * (len(each) - 1))


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_errors_are_those_of_means_over_so_many_rows(temperature):
    frame = fed(TruncationBias, STUDENT, TEACHER, KS, (temperature, 3.0)).table()
    assert (frame.temperature == temperature).all()
    frame = frame.set_index(["k", "way", "tokens"])
    noise = 1 - ((TEACHER / temperature).softmax(-1) ** 2).sum(-1).mean().item()
    for k in KS:
        gradients, _ = plain(STUDENT, TEACHER, k, temperature)
        full = gradients["full"]
        for tokens in (1, 10):
            parts = {
                name: (squared_mean(x), (x**2).sum(1).mean())
                for name, x in {n: full - gradients[n] for n in CONVENTIONS}.items()
            }
            parts["sampling"] = 0.0, temperature**2 * noise / (2 * k)
            stays, one = max(squared_mean(full), 0), (full**2).sum(1).mean()
            whole = stays + (one - stays) / tokens
            for name, (bias, square) in parts.items():
                bias = max(bias, 0.0)
                expected = np.sqrt((bias + (square - bias) / tokens) / whole)
                found = frame.error[k, name, tokens]
                assert found == pytest.approx(expected, rel=1e-9), (k, name, tokens)


def test_at_the_crossing_both_errors_are_equal():
    frame = fed(TruncationBias, STUDENT, TEACHER, KS).table()
    for k in KS:
        gradients, _ = plain(STUDENT, TEACHER, k)
        lost = gradients["full"] - gradients["bucket"]
        bias, square = squared_mean(lost), (lost**2).sum(1).mean()
        noise = (1 - (TEACHER.softmax(-1) ** 2).sum(-1).mean().item()) / (2 * k)
        crossing = frame[(frame.k == k) & (frame.way == "bucket")].crossing.iloc[0]
        if noise < square:
            assert crossing == 1
        elif bias > 0:
            assert noise / crossing == pytest.approx(bias + (square - bias) / crossing, rel=1e-9)
        else:
            assert crossing == np.inf


def test_the_interval_of_a_crossing_holds_that_of_all_rows_nine_times_of_ten_and_more():
    """20 draws of 200 rows from a population whose own crossing is known."""
    generator = torch.Generator().manual_seed(3)
    teacher = 3 * torch.randn(4000, V, generator=generator, dtype=torch.float64)
    student = teacher + torch.randn(4000, V, generator=generator, dtype=torch.float64)
    student[:, 0] += 5  # an error that all rows share
    whole = fed(TruncationBias, student, teacher, (4,), splits=()).table()
    truth = whole[(whole.way == "none")].crossing.iloc[0]
    assert 1 < truth < np.inf
    held, short = [], []
    for rows in torch.randperm(4000, generator=generator).view(20, 200):
        frame = fed(TruncationBias, student[rows], teacher[rows], (4,), splits=()).table()
        row = frame[frame.way == "none"].iloc[0]
        assert 1 <= row.crossing_low <= row.crossing <= row.crossing_high
        held.append(row.crossing_low <= truth <= row.crossing_high)
        short.append(row.crossing_high < np.inf)
    assert np.mean(held) >= 0.9
    assert any(short)


def test_more_tokens_than_rows_have_no_line_and_three_k_are_looked_at():
    frame = fed(TruncationBias, STUDENT, TEACHER, (1, 2, 4, 8, 16, 32)).table()
    assert sorted(frame.tokens.unique()) == [1, 10]
    assert N == frame.n.iloc[0] < 100
    assert sorted(frame.k.unique()) == [1, 4, 32]


def test_a_single_row_has_no_bias_and_says_so():
    frame = fed(TruncationBias, STUDENT[:1], TEACHER[:1], (1, 2), splits=()).table()
    for use in (bias_reading, error_over_tokens):
        with pytest.raises(ValueError, match="needs two rows, and there is one"):
            use(frame)


def example(crossing: float = 90.0) -> pd.DataFrame:
    rows = [
        (k, way, tokens, (1.0 if way == "sampling" else 0.1) / tokens**0.5, at, 1000)
        for k in (8, 32, 128)
        for way in WAYS
        for tokens in (1, 10, 100, 1000)
        for at in [np.nan if way == "sampling" else crossing * (1 + (way == "bucket"))]
    ]
    names = ["k", "way", "tokens", "error", "crossing", "n"]
    frame = pd.DataFrame(rows, columns=names).assign(temperature=1.0, non_finite=0)
    return frame.assign(crossing_low=frame.crossing / 2, crossing_high=np.inf)


@pytest.mark.parametrize(
    ("crossing", "words"),
    [
        (90.0, 'than "bucket" from 180 tokens on (95 % interval 90 to never): of one token sam'),
        (
            90.0,
            'sampling is 100.0 % of it off and "bucket" 10.0 %, of the mean over 1,000 3.2 % and '
            "0.32 %.",
        ),
        (900.0, '"bucket" nowhere up to 1,000 tokens (95 % interval 900 to never): of'),
        (3e50, "(95 % interval 3 \xd7 10⁵⁰ to never"),
        (3e3, "(95 % interval 3,000 to never: a guess, of more than the 1,000 looked at)"),
        (np.inf, '"renormalise" nowhere up to 1,000 tokens: of one token'),
        (0.5, '"bucket" at once'),
    ],
)
def test_the_sentence_says_from_where_sampling_is_nearer(crossing, words):
    reading = bias_reading(example(crossing))
    assert reading.sentence.startswith("At K = 32, 64 tokens sampled from the teacher take the")
    assert words in reading.sentence


def test_curves_are_the_errors():
    frame = example()
    figure = error_over_tokens(frame)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["K = 8", "K = 32", "K = 128"]
    drawn = lines(figure.axes[1])
    rows = frame[(frame.k == 32) & (frame.way == "sampling")]
    none = example()
    none.loc[none.way == "bucket", "error"] = 1e-12
    assert np.isnan(lines(error_over_tokens(none).axes[1])["bucket"][1]).all()
    assert drawn["sampling 2 K tokens"] == ([1, 10, 100, 1000], pytest.approx(100 * rows.error))
    assert smallest_font(figure) >= 9
