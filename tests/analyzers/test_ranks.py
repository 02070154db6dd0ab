"""Of every analyzer: parts merge into the whole, and rows with NaN or inf are left out."""

import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.teacher.mass import TopKMass
from kdanalysis.analyzers.teacher.modality import Modality
from tests.analyzers.every import ANALYZERS, C, N, columns, fed, made, shown
from tests.analyzers.reference import logits

COLUMNS = columns()
COLUMNS["teacher_logits"][[4, 50]] = torch.nan
COLUMNS["student_logits"][20, 3] = torch.inf
COLUMNS["stacked_logits"][[3, 20], :, 2] = -torch.inf
COLUMNS["teacher_regions"][9, 1, 3] = -torch.inf
COLUMNS["student_regions"][[9, 40], 0, 4] = torch.nan
COLUMNS["gram"][31] = torch.nan
COLUMNS["student_features"][0][7] = torch.nan
COLUMNS["teacher_features"][1][8, 2] = torch.inf
COLUMNS["connected"][0][8] = torch.nan
MIXED = {  # every third row has no label, every sixth a target over the classes in its place
    "target": COLUMNS["target"].where(torch.arange(N) % 3 > 0, -1),
    "soft_target": logits(7, N, C).softmax(-1).where(torch.arange(N)[:, None] % 6 == 0, torch.nan),
}
EVERY = pytest.mark.parametrize("name", ANALYZERS)


def given(name: str) -> dict:
    """What an analyzer is fed with."""
    return COLUMNS | (MIXED if made(name).mixed else {})


def finite(name: str) -> torch.Tensor:
    """Which rows hold neither NaN nor inf in any column that the analyzer needs."""
    found = torch.ones(N, dtype=torch.bool)
    for column in made(name).needs:
        given = COLUMNS[column]
        for part in given if isinstance(given, tuple) else (given,):
            found &= part.reshape(N, -1).isfinite().all(1)
    return found


@EVERY
def test_parts_of_any_size_and_order_merge_into_the_whole(name):
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    first, second, third = (fed(name, given(name), rows) for rows in order.split([7, 23, 30]))
    third.merge_state(first)
    third.merge_state(second)
    pd.testing.assert_frame_equal(third.table(), fed(name, given(name)).table(), atol=1e-9)


@EVERY
def test_rows_with_nan_or_inf_are_counted_and_left_out(name):
    kept = finite(name)
    all_rows, clean = (fed(name, given(name), rows) for rows in (slice(None), kept))
    counted = all_rows.bad if hasattr(all_rows, "bad") else all_rows.non_finite
    times = len(all_rows.stones) if name == "connector" else 1  # which counts by stone
    assert int(counted.sum()) == times * int((~kept).sum()) > 0
    tables = [one.table() for one in (all_rows, clean)]
    if "non_finite" not in tables[0]:  # the card, whose quantities are rows
        tables = [table[table.quantity != "non_finite"] for table in tables]
    else:
        assert tables[0].non_finite.max() == counted.max()
        tables = [table.drop(columns="non_finite") for table in tables]
    pd.testing.assert_frame_equal(*tables)


@EVERY
def test_states_are_float64_sums(name):
    for state in made(name).states.values():
        assert state.dtype == torch.float64
        assert not state.any()


@EVERY
def test_what_is_computed_is_tensors_of_ones_own(name):
    analyzer = fed(name, given(name))
    before = analyzer.table()
    for value in analyzer.compute().values():
        assert isinstance(value, torch.Tensor)
        value.fill_(-1)
    pd.testing.assert_frame_equal(analyzer.table(), before)


@EVERY
def test_the_state_does_not_grow_with_the_samples(name):
    one, two = fed(name, given(name), slice(0, 10)), fed(name, given(name))
    sizes = [{n: s.shape for n, s in analyzer.states.items()} for analyzer in (one, two)]
    assert sizes[0] == sizes[1]


def test_only_analyzers_of_one_kind_and_configuration_merge():
    with pytest.raises(ValueError, match="cannot merge TopKMass into TopKMass: class and argum"):
        TopKMass(12).merge_state(TopKMass(12, temperatures=(1,)))
    with pytest.raises(ValueError, match="cannot merge Modality into TopKMass"):
        TopKMass(12).merge_state(Modality(12))


@EVERY
def test_what_is_analysed_stays_as_it_was(name):
    analyzer, rows = made(name), finite(name)
    columns = shown(analyzer, given(name), rows)
    before = {
        column: tuple(x.clone() for x in (v if isinstance(v, tuple) else (v,)))
        for column, v in columns.items()
    }
    analyzer.update(**columns)
    assert analyzer.non_finite == 0
    for column, values in columns.items():
        pairs = zip(values if isinstance(values, tuple) else (values,), before[column], strict=True)
        assert all(torch.equal(*(x.nan_to_num(9) for x in pair)) for pair in pairs)
