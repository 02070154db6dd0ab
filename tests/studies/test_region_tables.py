"""Tables of the region logits of a run: from the store to the page."""

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis import DKD, GDKD, KD, SDD, CrossEntropy, Sum
from kdanalysis.analyzers.regions.anatomy import RegionAnatomy
from kdanalysis.pages.run import report, run_sections
from kdanalysis.store.info import RunInfo
from kdanalysis.store.writer import PartWriter
from kdanalysis.studies.facts import run_facts
from kdanalysis.studies.regions import REGIONS as REGION_TABLES
from kdanalysis.studies.run import open_run
from kdanalysis.studies.setting import region_loss_of

LOSS = Sum(CrossEntropy(), SDD(GDKD(k=2, temperature=2.0), (1, 2)))
SIDES = ("teacher_regions", "student_regions")


def columns(epoch: int, rows: int = 30, r: int = 5) -> dict:
    rng = np.random.default_rng(epoch)
    whole = 2 * rng.normal(size=(2, rows, 7, 1))
    sides = (whole + rng.normal(size=(2, rows, 7, r))).astype(np.float32)
    ids = {"step": np.full(rows, 10 * epoch), "epoch": np.full(rows, epoch, np.int32)}
    ids |= {"sample_id": np.arange(rows), "target": rng.integers(0, 7, rows)}
    return ids | dict(zip(SIDES, sides, strict=True))


@pytest.fixture
def make_run(tmp_path):
    def make(name="run", loss=LOSS, scales=(1, 2), epochs=range(3), regions=True):
        info = RunInfo(7, loss=repr(loss), terms=loss.terms, scales=scales if regions else ())
        with PartWriter(tmp_path / name, 0, info, "float32") as writer:
            for epoch in epochs:
                batch = columns(epoch, r=sum(m * m for m in scales))
                logits = {f"{n[:7]}_logits": batch[n][..., 0] for n in SIDES}
                writer.write({n: v for n, v in batch.items() if n not in SIDES} | logits)
                if regions:
                    writer.write(batch, kind="regions")
        return open_run(tmp_path / name)

    return make


def test_a_table_of_a_run_is_that_of_its_regions_and_its_loss(make_run):
    metric = RegionAnatomy(GDKD(k=2, temperature=2.0), 7, (1, 2), range(3))
    for epoch in range(3):
        batch = {n: torch.from_numpy(v) for n, v in columns(epoch).items()}
        metric.update(*(batch[n] for n in (*SIDES[::-1], "target", "epoch")))
    table = make_run().table("anatomy")
    pd.testing.assert_frame_equal(table, metric.table())
    assert table.epoch.dropna().unique().tolist() == [0, 1, 2]


def test_the_facts_of_a_run_name_its_regions(make_run):
    assert run_facts(make_run())["regions"] == "90 samples at scales 1, 2"
    assert "regions" not in run_facts(make_run("bare", regions=False))


def test_many_epochs_are_put_together(make_run):
    run = make_run(epochs=range(0, 135, 3))
    table = run.table("uptake")
    assert table.epoch.unique().tolist() == list(range(0, 135, 6))
    assert table.n.sum() == 45 * 30 * 5


@pytest.mark.parametrize(
    ("image", "times"),
    [
        (lambda epoch: np.arange(30), 45),
        (lambda epoch: 30 * epoch + np.arange(30), 1),  # other images in every epoch
        (lambda epoch: 30 * (epoch % 2) + np.arange(30), (23**2 + 22**2) / 45),
    ],
)
def test_an_image_counts_once_however_often_its_regions_are_there(tmp_path, image, times):
    info = RunInfo(7, loss=repr(LOSS), terms=LOSS.terms, scales=(1, 2))
    with PartWriter(tmp_path / "run", 0, info, "float32") as writer:
        for epoch in range(45):  # more than tables tell apart
            ids = {"sample_id": image(epoch), "target": image(epoch) % 7}
            writer.write(columns(epoch) | ids, kind="regions")
    run = open_run(tmp_path / "run")
    for name in ("ambiguity", "cancellation"):
        assert run.table(name).times.unique() == pytest.approx([times])


def test_row_numbers_in_place_of_ids_are_taken_for_images_of_every_epoch(make_run):
    run = make_run(epochs=range(45))  # of other labels in every epoch
    assert run.table("ambiguity").times.unique().tolist() == [45.0]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (LOSS, GDKD(k=2, temperature=2.0)),
        (SDD(DKD(), (1, 2)), DKD()),
        (Sum(CrossEntropy(), KD(2.0)), KD(2.0)),
        (CrossEntropy(), KD(4.0)),
    ],
    ids=repr,
)
def test_the_loss_of_a_region_is_the_base_that_was_trained_with_or_kd(loss, expected):
    info = RunInfo(7, loss=repr(loss), terms=loss.terms)
    assert repr(region_loss_of(info)) == repr(expected)


def test_a_run_without_regions_says_so_and_a_single_scale_has_no_cells(make_run):
    bare, one = make_run("bare", regions=False), make_run("one", scales=(1,))
    assert {*bare.tables()} & {*REGION_TABLES} == set()
    assert {*one.tables()} & {*REGION_TABLES} == {"anatomy", "uptake"}
    with pytest.raises(ValueError, match=r"table 'anatomy' needs region logits, which .* record"):
        bare.table("anatomy")
    with pytest.raises(ValueError, match=r"no table 'cancellation' of .* scales \(1,\) it"):
        one.table("cancellation")
    with pytest.raises(ValueError, match=r"no table 'anatom'; did you mean 'anatomy'\?"):
        bare.table("anatom")


def test_the_page_shows_every_table_of_the_regions(make_run):
    page = report({"run": make_run()})
    by_name = {section.name: section for section in page.sections}
    for name in REGION_TABLES:
        section = by_name[name]
        assert len(section.figures) == (2 if name == "anatomy" else 1), section.text
        assert section.text
        assert section.number
        assert len(section.tables[0][1]) <= 20
        assert name in page.tables


def test_runs_with_and_without_regions_stand_on_one_page(make_run):
    runs = {"sdd": make_run("sdd"), "bare": make_run("bare", regions=False)}
    page = report(runs | {"one": make_run("one", scales=(1,))})
    sections = run_sections({noun: page.parts[noun] for noun in REGION_TABLES})
    by_name = {section.name: section for section in sections}
    starts = {n: [s.caption.partition(":")[0] for s in by_name[n].figures] for n in REGION_TABLES}
    assert starts["anatomy"] == ["Gradient norm by case of image and cell"]  # of both
    assert starts["cancellation"] == ["sdd"]
