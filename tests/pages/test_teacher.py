"""The teacher's page: every table from one pass, every section from a table."""

import numpy as np
import pytest
from page_reader import Reader

from kdanalysis.pages.teacher import diagnose
from kdanalysis.store.sources import load_logits
from kdanalysis.studies.opening import open_source


@pytest.fixture
def source(tmp_path, logits):
    np.savez(tmp_path / "both.npz", teacher_logits=logits[0], target=logits[2])
    return load_logits(tmp_path / "both.npz")


def test_the_card_is_that_of_the_logits(source, logits):
    card = diagnose(source).tables["teacher"].set_index("quantity").value
    assert card["accuracy"] == pytest.approx((logits[0].argmax(1) == logits[2]).mean())
    assert card["n"] == 60


def test_without_labels_what_needs_them_is_absent(tmp_path, logits):
    np.save(tmp_path / "bare.npy", logits[0])
    bare = load_logits(tmp_path / "bare.npy")
    study = diagnose(bare, (1.0, 4.0))
    tables = study.tables
    assert sorted(tables) == ["candidates", "mass", "suppression", "teacher"]
    assert "accuracy" not in tables["teacher"].quantity.tolist()
    assert study.facts["labels"].startswith("none")


@pytest.mark.parametrize("kind", ["soft", "none"])
def test_where_no_row_has_one_label_what_needs_one_is_absent_too(logits, kind):
    soft = np.full((60, logits[0].shape[1]), 1 / logits[0].shape[1])
    target = soft if kind == "soft" else np.full(60, -1)
    study = diagnose({"teacher_logits": logits[0], "target": target})
    assert sorted(study.tables) == ["candidates", "mass", "suppression", "teacher"]
    assert not any("Not to be drawn" in section.text for section in study.sections)
    assert study.facts["labels"].startswith("none of one class")


def test_every_table_is_a_section_with_its_sentence_and_number(source):
    study = diagnose(source)
    sections = study.sections
    assert [section.name for section in sections] == list(study.tables)
    for section in sections[2:]:
        assert section.text
        assert section.number
        assert len(section.tables) == 1
        assert len(section.figures) == (
            2 if section.name in ("amplification", "calibration") else 1
        )


def test_samples_left_out_are_stated(tmp_path, logits):
    bad = logits[0].copy()
    bad[3, 2] = np.nan
    np.save(tmp_path / "bad.npy", bad)
    bad = load_logits(tmp_path / "bad.npy")
    card, *_ = diagnose(bad).sections
    assert card.number == "1 sample holds NaN or inf and enters no number."
    assert card.tiles[-1].value == "1"


def test_the_folder_holds_all_tables_figures_and_one_page(source, tmp_path):
    out = tmp_path / "out"
    diagnose(open_source(source, "<b>")).save(out, figures="png,svg")
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*"))
    nouns = ("amplification", "calibration", "mass", "modality", "profile", "suppression")
    drawn = (*nouns, "amplification_of_gdkd", "calibration_over_temperature")
    assert files == sorted(
        [f"figures/{name}.{kind}" for name in drawn for kind in ("png", "svg")]
        + [f"tables/{name}.csv" for name in (*nouns, "teacher", "candidates")]
        + ["report.html"]
    )
    assert Reader((out / "report.html").read_text()).all("b") == []
    header = (out / "tables" / "teacher.csv").read_text().splitlines()[0]
    assert header == "quantity,temperature,value"
