"""Gradient lost: shares and intervals as numpy finds them; sentence and figure show the table."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch

import kdanalysis as kd
from kdanalysis.analyzers.truncation.lost import (
    LostGradient,
    least_k,
    lost_by_k,
    lost_over_k,
    lost_reading,
)
from kdanalysis.analyzers.truncation.part import share_of
from kdanalysis.core.truncation.algebra import CONVENTIONS
from tests.analyzers.readback import lines, smallest_font
from tests.analyzers.truncation.rows import KS, N, fed, pair, plain

STUDENT, TEACHER = pair()


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_shares_are_ratios_of_means_over_rows(temperature):
    frame = fed(LostGradient, STUDENT, TEACHER, KS, (1.0, 3.0)).table()
    frame = frame[frame.temperature == temperature].set_index(["measure", "convention", "k"])
    for k, name in product(KS, CONVENTIONS):
        gradients, values = plain(STUDENT, TEACHER, k, temperature)
        gone, full = gradients["full"] - gradients[name], gradients["full"]
        l2 = np.linalg.norm(gone, axis=1).mean() / np.linalg.norm(full, axis=1).mean()
        l1 = np.abs(gone).sum(1).mean() / np.abs(full).sum(1).mean()
        value = (values["full"] - values[name]).mean() / values["full"].mean()
        assert frame.share["l2", name, k] == pytest.approx(l2, rel=1e-10)
        assert frame.share["l1", name, k] == pytest.approx(l1, rel=1e-10)
        assert frame.share["value", name, k] == pytest.approx(value, rel=1e-9)
    assert (frame.n == N).all()


def test_an_interval_holds_what_it_should_19_times_of_20():
    generator = torch.Generator().manual_seed(0)
    full = torch.rand(4000, 200, generator=generator, dtype=torch.float64) + 0.2
    lost = full * torch.rand(full.shape, generator=generator, dtype=torch.float64)
    sums = [x.sum(1) for x in (lost, lost**2, lost * full, full, full**2)]
    share, half = share_of(*sums, torch.tensor(200.0))
    holds = float(((share - 0.5).abs() <= half).double().mean())
    assert holds == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("part", [1.0, 0.3])
def test_rows_that_lose_the_same_share_have_an_interval_of_nothing(part):
    generator = torch.Generator().manual_seed(0)
    full = torch.rand(500, 200, generator=generator, dtype=torch.float64) + 0.2
    lost = part * full
    sums = [x.sum(1) for x in (lost, lost**2, lost * full, full, full**2)]
    share, half = share_of(*sums, torch.tensor(200.0))
    torch.testing.assert_close(share, torch.full_like(share, part), rtol=1e-14, atol=0)
    assert not half.any()


def test_rows_with_nan_are_counted_and_left_out():
    student = STUDENT.clone()
    student[5, 3] = torch.nan
    found = fed(LostGradient, student, TEACHER, KS).table()
    others = torch.arange(N) != 5
    expected = fed(LostGradient, student[others], TEACHER[others], KS).table()
    assert (found.non_finite == 1).all()
    columns = ["share", "low", "high", "n"]
    pd.testing.assert_frame_equal(found[columns], expected[columns], rtol=1e-12)


def test_chunks_and_threads_change_nothing(monkeypatch):
    whole = fed(LostGradient, STUDENT, TEACHER, KS).table()
    monkeypatch.setattr("kdanalysis.analyzers.truncation.part.ENTRIES", 7 * STUDENT.shape[1])
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    parts = fed(LostGradient, STUDENT, TEACHER, KS).table()
    torch.set_num_threads(before)
    pd.testing.assert_frame_equal(parts, whole, rtol=1e-12)


def test_the_rows_of_a_sparse_teacher_are_the_same_for_any_number_of_threads():
    sparse, before = kd.SparseTeacher.from_logits(TEACHER, KS[-1]), torch.get_num_threads()
    student, found = STUDENT.clone(), []
    student[-1, 0] = torch.nan
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found.append(kd.truncation(student, sparse, KS).tables)
    torch.set_num_threads(before)
    for noun, table in found[0].items():
        pd.testing.assert_frame_equal(found[1][noun], table, check_exact=True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (((0,),), "k must be a whole number from 1 to 49 where there are 50 classes, got 0"),
        (((1, 50),), "got 50: a group would be empty"),
        (((),), "need at least one k"),
        (((1,), (0,)), "temperature must lie between 0.001 and 10000, got 0"),
    ],
)
def test_bad_settings_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        LostGradient(50, *settings)


def example(best: str = "bucket", flatters: bool = True) -> pd.DataFrame:
    """Shares that halve with every K; L1 twice L2, or half of it."""
    rows = []
    for t, measure, name, (place, k) in product(
        (1.0, 2.0), ("l2", "l1", "value"), CONVENTIONS, enumerate((8, 16, 32))
    ):
        share = 0.1 * (1 if name == best else 6) / 2**place
        share *= (2 if flatters else 0.5) if measure == "l1" else 1
        share *= -1 if measure == "value" and name == "none" else 1
        rows.append((t, measure, name, k, share, 0.9 * share, 1.1 * share, 500))
    names = ["temperature", "measure", "convention", "k", "share", "low", "high", "n"]
    return pd.DataFrame(rows, columns=names).assign(unknown=0.0, by_definition=0.0, non_finite=0)


def test_the_sentence_names_convention_and_k():
    reading = lost_reading(example())
    assert reading.sentence.startswith(
        "Whether a K up to 32 loses at most 5 % in L1 cannot be told: of the conventions "
        '"bucket" loses least at K = 32, 5.0 % (4.5 % to 5.5 %) of the gradient in L1 and '
        "2.5 % (2.3 % to 2.8 %) in L2 (500 rows)"
    )
    assert "That L2 flatters the tail is seen." in reading.sentence
    worse = 'the others lose more in L1 is seen: "renormalise" 30.0 %, "none" 30.0 %'
    assert worse in reading.sentence
    assert reading.number.endswith(
        '"renormalise", "none" and "teacher" more than 32 / more than 32; '
        '"bucket" 32 / more than 32'
    )
    other = lost_reading(example("none", flatters=False))
    assert other.sentence.startswith('To lose at most 5 % in L1, take "none" with K = 16: of')
    assert "That L2 flatters the tail is seen not to hold." in other.sentence
    assert other.number.startswith("K that loses at most 5 % (upper end of the interval) at T = 1")
    far = example().assign(share=0.2, low=0.19, high=0.21)
    assert lost_reading(far).sentence.startswith("No K up to 32 loses at most 5 % in L1: of")
    unknown = lost_reading(far.assign(unknown=0.15))
    assert unknown.sentence.startswith("Whether a K up to 32 loses at most 5 % in L1 cannot be")
    assert "(upper end of the interval, unknown tail added)" in unknown.number
    near = example().assign(low=0.0, high=1.0)
    assert "That L2 flatters the tail is not seen." in lost_reading(near).sentence
    told = 'That "renormalise" loses more in L1 is not seen: "renormalise" 30.0 %, "none" 30.0 %'
    assert told in lost_reading(near).sentence


def test_shares_of_a_single_row_have_no_interval_and_are_drawn():
    frame = fed(LostGradient, STUDENT[:1], TEACHER[:1], KS, splits=()).table()
    assert "That the others lose more in L1 cannot be tested here: " in lost_reading(frame).sentence
    assert "(1 row)" in lost_reading(frame).sentence
    for share in (0.01, 0.9):
        told = lost_reading(frame.assign(share=share)).sentence
        assert told.startswith("Whether a K up to 16 loses at most 5 % in L1 cannot be told: ")
    low, high = lost_over_k(frame).axes[0].get_ylim()
    assert 0 < low < 100 * frame.share[frame.measure == "l2"].max() < high


def test_a_k_is_enough_only_where_all_above_it_are():
    frame = example()
    frame.loc[frame.k == 32, ["share", "high"]] = 0.2
    assert least_k(frame[frame.temperature == 1], "l2", "bucket", 0.12) is None
    assert least_k(frame[frame.temperature == 1], "l2", "bucket", 0.2) == 8


def test_the_excerpt_has_a_column_a_k():
    wide = lost_by_k(example()).set_index(["temperature", "measure", "convention"])
    assert wide.loc[(1.0, "l2", "bucket")].to_list() == pytest.approx([0.1, 0.05, 0.025])


def test_curves_are_the_shares():
    frame = example()
    figure = lost_over_k(frame)
    for ax, measure in zip(figure.axes, ("l2", "l1", "value"), strict=True):
        for name in CONVENTIONS:
            rows = frame[
                (frame.temperature == 1) & (frame.measure == measure) & (frame.convention == name)
            ]
            ks, shares = lines(ax)[name]
            assert ks == [8, 16, 32]
            assert shares == pytest.approx(100 * rows.share)
    assert lines(figure.axes[0])["5 %"][1] == [5, 5]
    assert smallest_font(figure) >= 9
    assert "T = 1" in figure.get_supxlabel()
    assert "T = 2" in lost_over_k(frame, 2.0).get_supxlabel()


@pytest.mark.parametrize("unknown", [0.0, 0.1])
def test_the_bucket_of_all_stored_tokens_has_no_mark(unknown):
    frame = example().assign(unknown=unknown)
    frame.loc[(frame.k == 32) & (frame.convention == "bucket"), ["share", "low", "high"]] = 0.0
    drawn = [lines(ax)["bucket"][1][-1] for ax in lost_over_k(frame).axes]
    gaps = [value != value for value in drawn]
    assert gaps == [True, True, unknown > 0]  # a value of 0 has a place, where it is no definition
