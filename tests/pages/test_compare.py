"""Losses on the same logits: what the page's tables hold, with and without labels and matching."""

import re

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.by_term import with_kd_parts
from kdanalysis.analyzers.terms.magnitude import TermMagnitude
from kdanalysis.analyzers.terms.matching import summary
from kdanalysis.core import cores
from kdanalysis.losses import DKD, GDKD, KD, NKD, SDD, CrossEntropy, Sum, parse_losses
from kdanalysis.pages.compare_losses import loss_tables, losses_study
from kdanalysis.studies.opening import open_sources

LOSSES = {"kd": KD(2.0, weight=0.5), "dkd": DKD(), "gdkd": GDKD(3), "nkd": NKD()}


@pytest.fixture
def write(tmp_path, logits):
    """Write logits to a file, with or without labels."""

    def save(name: str = "both.npz", labels: bool = True, rows: slice = slice(None)):
        teacher, student, target = (values[rows] for values in logits)
        sides = {"teacher_logits": teacher, "student_logits": student}
        np.savez(tmp_path / name, **sides, **({"target": target} if labels else {}))
        return tmp_path / name

    return save


def open_one(path, most_steps: int = 100):
    (source,) = open_sources([path], most_steps).values()
    return source


def norm(loss, logits) -> float:
    """Mean over samples of the norm of the summed loss's gradient, by autograd."""
    teacher, student, target = (torch.tensor(values) for values in logits)
    leaf = student.double().requires_grad_()
    total = sum(loss(leaf, teacher.double(), target).values()).sum()
    (slope,) = torch.autograd.grad(total, leaf, create_graph=True)  # torch's own
    return slope.norm(dim=-1).mean().item()


def test_the_tables_are_those_of_the_losses(write, logits):
    tables = loss_tables(open_one(write()), LOSSES)
    assert list(tables) == ["direction", "magnitude", "share", "conflict"]
    frame = summary(tables, LOSSES)
    assert frame.loss.tolist() == list(LOSSES)
    assert frame.norm.tolist() == pytest.approx(
        [norm(x, logits) for x in LOSSES.values()], rel=1e-5
    )
    assert frame.multiplier.tolist() == pytest.approx((frame.norm / frame.norm[0]).tolist())
    assert frame.cosine[0] == frame.cosine_batch[0] == 1
    assert frame.definition.tolist() == [repr(loss) for loss in LOSSES.values()]
    assert set(tables["magnitude"].loss) == {*LOSSES, "kd parts", "kd parts by target"}
    assert set(tables["share"].loss) - {"dkd 1/1", "gdkd 1/1/1"} == {
        *("kd parts", "kd parts by target", "dkd", "gdkd", "nkd"),
    }


def test_without_labels_the_losses_that_need_none_are_compared(write):
    losses = {"kd": KD(2.0), "gdkd": GDKD(3)}
    bare = loss_tables(open_one(write("bare.npz", labels=False)), losses)
    assert list(bare) == ["direction", "magnitude", "share"]
    whole = loss_tables(open_one(write()), losses)
    for noun in ("magnitude", "share"):
        pd.testing.assert_frame_equal(bare[noun], whole[noun])
    assert set(bare["direction"].teacher) == {"all"}


@pytest.mark.parametrize("text", ["kd,dkd", "kd,nkd", "ce,kd", "kd,ls-dkd", "gdkd,kd+ce"])
def test_a_loss_that_needs_labels_is_named(write, text):
    losses = parse_losses(text)
    needing = next(name for name in losses if name not in ("kd", "gdkd"))
    words = rf"the loss '{re.escape(needing)}' needs labels, and .*bare\.npz holds none"
    with pytest.raises(ValueError, match=words):
        loss_tables(open_one(write("bare.npz", labels=False)), losses)


def test_a_loss_on_regions_is_named(write):
    losses = {"kd": KD(), "sdd-kd": SDD(KD())}
    with pytest.raises(
        ValueError, match=r"the loss 'sdd-kd' works on the logits of regions, and .*both"
    ):
        loss_tables(open_one(write()), losses)


def test_kd_is_split_as_the_first_decoupled_losses_are():
    losses = {"kd": KD(2.0, 0.5), "a": GDKD(3), "b": GDKD(2), "soft": KD(8.0)}
    whole = with_kd_parts(losses)
    assert list(whole) == ["kd", "kd parts", "a", "b", "soft", "soft parts"]
    assert (whole["kd parts"].partition.k, whole["kd parts"].temperature) == (3, 2.0)
    assert (whole["kd parts"].weight, whole["soft parts"].temperature) == (0.5, 8.0)
    assert list(with_kd_parts({"kd": KD(), "ce+gdkd": Sum(CrossEntropy(), GDKD())})) == [
        "kd",
        "ce+gdkd",
    ]


def page(paths, losses=LOSSES, match: bool = False):
    return losses_study(open_sources(paths, 100), losses, match)


def test_the_page_of_one_file(write):
    shown = page([write()], match=True)
    assert [s.name for s in shown.sections] == [
        "losses",
        "direction",
        "magnitude",
        "share",
        "conflict",
    ]
    assert list(shown.tables) == ["losses", "direction", "magnitude", "share", "conflict"]
    assert shown.formats == ("csv", "parquet")
    assert "loss gdkd" in shown.facts
    for section in shown.sections[1:]:
        assert section.figures, section.text
    sections = {section.name: section for section in shown.sections}
    assert sections["losses"].number.startswith(
        "To step as far as kd, at equal mean norms: dkd \u00d7"
    )
    assert "every loss brought to the mean norm of kd" in sections["magnitude"].text
    assert len(sections["direction"].figures) == 2  # nothing over training
    assert "weight" in shown.tables["magnitude"]
    shown.html()


def test_the_page_of_matched_norms_reads_every_table_once(write, monkeypatch):
    asked, read = [], TermMagnitude.reading

    def note(table, names=None):
        asked.append(table)
        return read(table, names)

    monkeypatch.setattr(TermMagnitude, "reading", staticmethod(note))
    monkeypatch.setattr(cores, "_forks", lambda: 0)
    assert "every loss brought to the mean norm of kd" in page([write()], match=True).html()
    assert len(asked) == 1


def test_without_matching_no_weight_is_shown(write):
    shown = page([write()])
    assert "weight" not in shown.tables["losses"]
    assert "weight" not in shown.tables["magnitude"]
    assert shown.sections[0].number == ""
    (magnitude,) = (one for one in shown.sections if one.name == "magnitude")
    assert "brought to" not in magnitude.text + "".join(x.caption for x in magnitude.figures)


def test_a_run_is_drawn_over_its_steps(make_run):
    shown = page([make_run("kd")])
    (direction,) = (section for section in shown.sections if section.name == "direction")
    assert direction.figures[-1].caption == "Direction and step over training"
    assert shown.tables["direction"].step.dropna().unique().tolist() == [0, 10]


def test_several_sources_stand_in_one_table_and_one_picture(write, make_run):
    shown = page([write(), make_run("kd")], {"kd": KD(2.0), "gdkd": GDKD(3)})
    for noun, table in shown.tables.items():
        assert table.run.unique().tolist() == ["both", "kd"], noun
    (direction,) = (section for section in shown.sections if section.name == "direction")
    first = direction.figures[0].figure
    (legend,) = first.legends
    assert [text.get_text() for text in legend.get_texts()] == ["student both", "run kd"]
    assert direction.text.splitlines()[1].startswith("run kd: ")
    assert {"run kd", "loss kd"} <= set(shown.facts)


def test_many_steps_are_put_together(make_run):
    assert open_one(make_run("kd")).marks() == (0, 10)
    thinned = open_one(make_run("again"), most_steps=1)
    assert thinned.marks() == (0,)
    table = loss_tables(thinned, LOSSES)["direction"]
    assert table.query("teacher == 'all'").n.tolist() == [60] * 6
