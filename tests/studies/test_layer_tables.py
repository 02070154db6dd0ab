"""Tables of what a run recorded at layers: from a real training to the page."""

import numpy as np
import pandas as pd
import pytest
from toy import Training, batches

from kdanalysis import (
    GDKD,
    KD,
    CrossEntropy,
    Layers,
    Recorder,
    Store,
    Sum,
    every,
    open_run,
)
from kdanalysis.core.ranks import RANKS
from kdanalysis.pages.run import report, run_sections
from kdanalysis.store.grams import gram_index
from kdanalysis.studies.source import MOST

LOSS = Sum(CrossEntropy(), GDKD(k=2))
LAYER_TABLES = ("layers", "snr")
LAYERS = ("logits", "0", "4")
ALL = Layers(*LAYERS)


@pytest.fixture
def make_run(tmp_path):
    """Train a few steps under a recorder of that name."""

    def make(name="run", steps=6, loss=LOSS, keep=ALL, **options):
        training = Training()
        options = {"schedule": every(1), "keep": keep} | options
        sides = {"student": training.student, "teacher": training.teacher}
        with Recorder(tmp_path / name, loss, **sides, **options) as recorder:
            for x, y, _ in batches(steps):
                recorder.epoch = recorder.step // 3
                training.forward(x)
                training.update(recorder.loss(y))
        return open_run(tmp_path / name)

    return make


def rows_of(run) -> pd.DataFrame:
    return pd.concat(map(pd.DataFrame, run.batches(kind="layers")))


def test_the_table_holds_what_was_recorded_step_by_step(make_run):
    run = make_run()
    table, rows = run.table("layers"), rows_of(run)
    assert len(table) == 6 * 3 * 10
    keys = ["step", "layer", "term_a", "term_b"]
    stored = rows.set_index(keys)["dot"]
    for row in table.itertuples():
        a, b = (stored[row.step, row.layer, t, t] for t in (row.term_a, row.term_b))
        dot = stored[row.step, row.layer, row.term_a, row.term_b]
        assert row.dot == pytest.approx(dot)
        assert (row.norm_a, row.norm_b) == pytest.approx((np.sqrt(a), np.sqrt(b)))
        assert row.cosine == pytest.approx(dot / np.sqrt(a * b))
        assert (row.conflict, row.n, row.epoch) == (dot < 0, 1, row.step // 3)
    assert list(dict.fromkeys(table.layer)) == list(LAYERS)


def test_dot_products_of_layers_add_up_to_those_of_both(make_run):
    parts, both = make_run("parts"), make_run("both", keep=Layers("0.weight", "0.bias"))
    layer = parts.table("layers").query("layer == '0'").reset_index()
    sums = both.table("layers").groupby(["step", "term_a", "term_b"], sort=False)["dot"].sum()
    np.testing.assert_allclose(sums.to_numpy(), layer["dot"], rtol=1e-5)


def test_signal_and_noise_follow_from_the_stored_columns(make_run):
    run = make_run()
    table, rows = run.table("snr"), rows_of(run)
    own = rows[(rows.term_a == rows.term_b) & (rows.layer != "logits")]
    assert set(table.layer) == {"0", "4"}
    found = table.sort_values(["step", "layer", "term"])
    own = own.sort_values(["step", "layer", "term_a"])
    np.testing.assert_allclose(found.noise, own.covariance)
    np.testing.assert_allclose(found.signal, own["dot"] - own.covariance / 10)
    np.testing.assert_allclose(found.snr, found.signal / found.noise)


def test_beyond_the_most_steps_rows_stand_for_several(make_run, monkeypatch):
    run = make_run()
    monkeypatch.setitem(MOST, "layers", 3)
    thinned, whole = run.tables(LAYER_TABLES), None
    monkeypatch.setitem(MOST, "layers", 400)
    whole = run.tables(LAYER_TABLES)
    assert thinned["layers"].step.unique().tolist() == [0, 2, 4]
    assert (thinned["layers"].n == 2).all()
    for name, column in (("layers", "dot"), ("snr", "noise")):
        merged = whole[name].assign(step=whole[name].step // 2 * 2)
        keys = ["step", "layer", *(n for n in merged if n.startswith("term"))]
        expected = merged.groupby(keys, sort=False)[column].mean()
        np.testing.assert_allclose(thinned[name][column], expected)


def test_tables_of_samples_and_layers_come_in_one_call_in_the_order_asked(make_run):
    run = make_run()
    assert list(run.tables(["snr", "conflict", "layers"])) == ["snr", "conflict", "layers"]
    assert {"layers", "snr"} <= {*run.tables()}


def test_rows_that_are_not_shared_are_counted_in_one_rank(make_run, monkeypatch):
    run = make_run()
    alone = run.table("layers")
    monkeypatch.setattr(RANKS, "world", 2)
    tables = []
    for rank in range(2):
        monkeypatch.setattr(RANKS, "rank", rank)
        tables.append(run.table("layers"))
    pd.testing.assert_frame_equal(tables[0], alone)
    assert tables[1].n.eq(0).all()


def test_what_was_not_recorded_is_said(make_run):
    bare, quiet = make_run("bare", keep=()), make_run("quiet", keep=Layers(*LAYERS, noise=False))
    with pytest.raises(ValueError, match=r"'layers' needs gradients at layers, .*kd\.Layers"):
        bare.table("layers")
    with pytest.raises(ValueError, match=r"'snr' needs the variance .*kd\.Layers\(.*noise=True"):
        quiet.table("snr")
    assert {*bare.tables()} & {*LAYER_TABLES} == set()
    assert {*quiet.tables()} & {*LAYER_TABLES} == {"layers"}
    assert len(quiet.table("layers")) == 180
    with pytest.raises(ValueError, match=r"no table 'layer'; did you mean 'layers'\?"):
        bare.table("layer")


def test_a_resumed_run_with_other_layers_has_them_where_they_were_recorded(make_run, tmp_path):
    make_run(steps=2, keep=Layers("0"))
    training = Training()
    sides = {"student": training.student, "teacher": training.teacher}
    options = {"schedule": every(1), "keep": Layers("4"), "store": Store(existing="resume")}
    with Recorder(tmp_path / "run", LOSS, **sides, **options) as recorder:
        for x, y, _ in batches(2):
            training.forward(x)
            recorder.observe(y)
    run = open_run(tmp_path / "run")
    assert gram_index(run).layers == ("0", "4")
    table = run.table("layers")
    assert table.groupby("layer").step.unique().map(list).to_dict() == {"0": [0, 1], "4": [2, 3]}
    assert table.cosine.notna().all()


def test_the_page_shows_norms_conflict_and_signal_after_the_tables_of_samples(make_run):
    page = report({"run": make_run()})
    by_name = {section.name: section for section in page.sections}
    assert {"layers", "layer_conflict", "snr"} <= set(by_name)
    for name, pictures in (("layers", 1), ("layer_conflict", 2), ("snr", 1)):
        section = by_name[name]
        assert len(section.figures) == pictures, section.text
        assert section.text
        assert section.number
        ((caption, shown),) = section.tables
        assert "too long for a page" in caption
        assert len(shown) < 20
    assert len(page.tables["layers"]) == 180
    assert "layer_conflict" not in page.tables


def test_runs_with_and_without_layers_stand_on_one_page(make_run):
    runs = {"gdkd": make_run("gdkd"), "bare": make_run("bare", keep=())}
    runs["kd"] = make_run("kd", loss=KD(), keep=Layers("4", noise=False))
    page = report(runs)
    sections = run_sections({noun: page.parts[noun] for noun in LAYER_TABLES})
    by_name = {section.name: section for section in sections}
    starts = {
        name: [shown.caption.partition(":")[0] for shown in by_name[name].figures]
        for name in ("layers", "layer_conflict", "snr")
    }
    assert starts == {
        "layers": ["Mean norm of every term's gradient at the layers"],  # of both
        "layer_conflict": ["gdkd", "gdkd"],
        "snr": ["gdkd"],
    }
    assert page.tables["layers"].run.unique().tolist() == ["gdkd", "kd"]
