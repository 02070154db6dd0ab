"""Temperature: tails, bounds and opposed rows as numpy finds them; all tables from one look."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.truncation.temperature import (
    TruncatedTemperature,
    tail_over_temperature,
    temperature_reading,
)
from kdanalysis.analyzers.truncation.together import PARTS, EveryTruncation
from kdanalysis.core.truncation.algebra import CONVENTIONS
from tests.analyzers.readback import lines, smallest_font
from tests.analyzers.truncation.rows import KS, N, fed, pair, plain

STUDENT, TEACHER = pair()
LADDER = (1.0, 2.0, 4.0)


def test_tails_opposed_and_clamped_rows_are_numpys():
    frame = fed(TruncatedTemperature, STUDENT, TEACHER, KS, LADDER).table()
    frame = frame.set_index(["temperature", "k"])
    for t, k in product(LADDER, KS):
        p = np.sort((TEACHER / t).softmax(-1).numpy(), axis=1)[:, ::-1]
        gradients, values = plain(STUDENT, TEACHER, k, t)
        row = frame.loc[(t, k)]
        assert row.mass == pytest.approx(p[:, k:].sum(1).mean(), rel=1e-12)
        assert row.clamped == (values["none"] < 0).mean()
        for name in CONVENTIONS:
            if (k, name) != (1, "renormalise"):
                opposed = (gradients[name] * gradients["full"]).sum(1) < 0
                assert row[f"opposed_{name}"] == pytest.approx(opposed.mean())
    assert frame.loc[(1.0, 1), "opposed_none"] > 0
    assert frame.loc[(1.0, 1), "clamped"] > 0


def test_a_cache_knows_the_tail_at_its_own_temperature_and_bounds_others():
    frame = fed(TruncatedTemperature, STUDENT, TEACHER, KS, LADDER).table()
    own = frame.temperature == 1
    np.testing.assert_allclose(frame.least[own], frame.mass[own], rtol=1e-12)
    np.testing.assert_allclose(frame.most[own], frame.mass[own], rtol=1e-12)
    assert (frame.least < frame.mass)[~own].all()
    assert (frame.mass < frame.most)[~own].all()


def test_standard_errors_are_those_of_the_rows_one_by_one():
    """A row alone has its own mass and bounds for means."""
    frame = fed(TruncatedTemperature, STUDENT, TEACHER, (4,), (1.0, 2.0)).table().iloc[1]
    each = [
        fed(TruncatedTemperature, STUDENT[[i]], TEACHER[[i]], (4,), (1.0, 2.0), splits=()).table()
        for i in range(N)
    ]
    mass, least, most = (np.array([t[x].iloc[1] for t in each]) for x in ("mass", "least", "most"))
    assert frame.mass_se == pytest.approx(mass.std(ddof=1) / N**0.5, rel=1e-9)
    apart = most - 1.2 * least
    assert frame.apart_se == pytest.approx(apart.std(ddof=1) / N**0.5, rel=1e-9)
    assert np.isnan(each[0].mass_se).all()


def example(most: float = 0.9, opposed: float = 0.2, error: float = 0.01) -> pd.DataFrame:
    rows = pd.DataFrame(
        {
            "temperature": [1.0, 1.0, 4.0, 4.0],
            "k": [8, 64, 8, 64],
            "mass": [0.1, 0.05, 0.7, 0.6],
            "least": [0.1, 0.05, 0.4, 0.5],
            "most": [0.1, 0.05, 0.95, most],
            "clamped": [0.0, 0.0, 0.1, 0.05],
        }
    )
    shares = {f"opposed_{name}": opposed * (name == "none") for name in CONVENTIONS}
    return rows.assign(**shares, mass_se=0.01, apart_se=error, n=200, non_finite=0)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (
            example(),
            "That a cache of T = 1 tells the tail at T = 4 is seen not to hold: of K = 64 it",
        ),
        (example(), "between 50.0 % and 90.0 %, and it is 60.0 % (58.0 % to 62.0 %)"),
        (example(0.55), "That a cache of T = 1 tells the tail at T = 4 is seen"),
        (example(0.55, error=0.03), "That a cache of T = 1 tells the tail at T = 4 is not seen"),
        (example(0.55, error=np.nan), "tells the tail at T = 4 cannot be tested here"),
        (
            example(),
            'At T = 4 and K = 64 "none" opposes full KD in 40 of 200 rows, 20.0 % (15.0',
        ),
        (
            example().assign(opposed_teacher=[0.0, 0.0, 0.2, 0.2]),
            '"none" and "teacher" oppose full KD in 40 of 200 rows',
        ),
        (example(opposed=0.0), "no convention opposes full KD in any of 200 rows"),
        (example(opposed=0.0).assign(n=1), "no convention opposes full KD in the one row"),
        (example(), "is below 0 in 10, 5.0 % (2.7 % to 9.0 %), which a clamp at 0 would silence"),
        (example().assign(clamped=0.0), "is below 0 in none, 0.0 % (0.0 % to 1.9 %)."),
    ],
)
def test_the_sentence_follows_the_table(table, words):
    assert words in temperature_reading(table).sentence
    assert "T = 4: tail 60.0 %, known to be 50.0 % to" in temperature_reading(table).number


def test_a_k_whose_bounds_are_one_number_is_no_finding():
    table = example()
    known = table.assign(least=table.least.where(table.k == 8, table.most))
    assert "At T = 4 and K = 8 " in temperature_reading(known).sentence
    assert tail_over_temperature(known).axes[1].get_xlabel() == "temperature T (K = 8)"
    assert tail_over_temperature(known, 64).axes[1].get_xlabel() == "temperature T (K = 64)"


def test_one_temperature_has_no_sentence_about_the_cache():
    table = example()
    sentence = temperature_reading(table[table.temperature == 1]).sentence
    assert sentence.startswith("At T = 1 and K = 64")


def test_panels_show_tail_bounds_and_rows():
    table = example()
    tail, against = tail_over_temperature(table).axes
    assert lines(tail)["the tail itself"] == ([1, 4], pytest.approx([5, 60]))
    band = tail.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(90)
    assert lines(against)["none opposes"][1] == pytest.approx([20, 20])
    assert lines(tail_over_temperature(table, 8).axes[0])["the tail itself"][1] == pytest.approx(
        [10, 70]
    )
    assert smallest_font(tail.figure) >= 9
    with pytest.raises(ValueError, match=r"the table has no K = 9, it has \[8, 64\]"):
        tail_over_temperature(table, 9)


def test_together_the_tables_are_those_of_each_alone():
    together = fed(EveryTruncation, STUDENT, TEACHER, KS, LADDER, position=torch.arange(N))
    assert list(together.tables()) == [kind.noun for kind in PARTS]
    for kind in PARTS:
        alone = fed(kind, STUDENT, TEACHER, KS, LADDER, position=torch.arange(N)).table()
        pd.testing.assert_frame_equal(together.tables()[kind.noun], alone, check_like=True)


def test_halves_merge_into_the_whole_in_every_part():
    whole = fed(EveryTruncation, STUDENT, TEACHER, KS, LADDER, splits=())
    left, right = (
        fed(EveryTruncation, STUDENT[rows], TEACHER[rows], KS, LADDER, splits=())
        for rows in (slice(0, 23), slice(23, None))
    )
    left.merge_state(right)
    for noun, table in whole.tables().items():
        pd.testing.assert_frame_equal(left.tables()[noun], table, rtol=1e-9)
    with pytest.raises(ValueError, match="cannot merge EveryTruncation"):
        left.merge_state(EveryTruncation(STUDENT.shape[1], KS, (1.0,)))


def test_a_row_with_inf_is_counted_in_every_table():
    student = STUDENT.clone()
    student[5, 3] = np.inf
    together = fed(EveryTruncation, student, TEACHER, KS)
    assert all((table.non_finite == 1).all() for table in together.tables().values())
