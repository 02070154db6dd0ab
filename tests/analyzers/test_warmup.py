"""A warm-up is in tables and figures of a run: as trained, beside what the terms are without."""

import numpy as np
import pandas as pd
import pytest
import torch
from toy import Training, batches

from kdanalysis import GDKD, CrossEntropy, Recorder, Store, Sum, every, open_run
from kdanalysis.analyzers.terms.magnitude import magnitude_over_training
from kdanalysis.analyzers.terms.value import value_over_training
from kdanalysis.draw.colours import term_colour
from kdanalysis.studies import source
from kdanalysis.studies.source import ramps_of

LOSS = Sum(CrossEntropy(), GDKD(k=2, weights=(1, 2, 8)))
RAMPS = (0.0, 0.25, 0.5, 1.0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A training with a warm-up and one without, and the logits at every step of the first."""
    found, seen = {}, []
    for name, ramps in (("warm", RAMPS), ("cold", (1.0,) * 4)):
        path, training = tmp_path_factory.mktemp("runs") / name, Training()
        sides = {"student": training.student, "teacher": training.teacher}
        options = {"schedule": every(1), "store": Store("float64"), **sides}
        with Recorder(path, LOSS, **options) as recorder:
            for ramp, (x, y, index) in zip(ramps, batches(4), strict=True):
                student, teacher = training.forward(x)
                if name == "warm":
                    seen.append((student.detach().double(), teacher.double(), y))
                training.update(recorder.loss(y, index, ramp=ramp))
        found[name] = open_run(path)
    return found, seen


def trained(table: pd.DataFrame) -> pd.DataFrame:
    return table[table.loss == "trained"].set_index(["term", "step"])


def test_as_trained_is_what_autograd_gives_with_the_ramp(runs):
    found, seen = runs
    values, norms = (trained(found["warm"].table(name)) for name in ("value", "magnitude"))
    for step, (ramp, (student, teacher, y)) in enumerate(zip(RAMPS, seen, strict=True)):
        student.requires_grad_()
        for term, value in LOSS(student, teacher, y, ramp).items():
            if term == "ce":
                continue
            (gradient,) = torch.autograd.grad(value.sum(), student, retain_graph=True)
            norm = gradient.norm(dim=-1).mean().item()
            row = norms.loc[(term, step)]
            assert row.as_trained == pytest.approx(norm, rel=1e-4)
            assert values.loc[(term, step)].as_trained == pytest.approx(
                value.mean().item(), rel=1e-4
            )
            if ramp:
                assert row["mean"] == pytest.approx(norm / ramp, rel=1e-4)
    assert sorted(set(norms.ramp)) == pytest.approx(sorted(RAMPS))


def test_cross_entropy_keeps_its_weight_and_others_did_not_train(runs):
    table = runs[0]["warm"].table("magnitude")
    plain = table[table.loss == "ce"]
    assert plain.ramp.tolist() == pytest.approx([1] * 4)
    np.testing.assert_allclose(plain.as_trained, plain["mean"])
    assert table[table.loss == "kd"].as_trained.isna().all()


def test_without_a_warm_up_there_is_nothing_to_add(runs):
    cold = runs[0]["cold"]
    assert ramps_of(cold, [0]) == {}
    for name in ("value", "magnitude"):
        assert not {"ramp", "as_trained"} & {*cold.table(name).columns}


def test_steps_that_are_put_together_have_the_mean_of_their_factors(runs):
    found = ramps_of(runs[0]["warm"], [0, 2])
    assert found["high"] == pytest.approx((0.125, 0.75))
    assert found["ce"] == pytest.approx((1, 1))


def test_they_are_read_once_for_all_tables(runs, monkeypatch):
    read = []
    monkeypatch.setattr(source, "ramps_of", lambda run, marks: read.append(marks) or {})
    runs[0]["warm"].tables(["value", "magnitude", "share"])
    assert read == [(0, 1, 2, 3)]


@pytest.mark.parametrize(
    ("noun", "draw"), [("magnitude", magnitude_over_training), ("value", value_over_training)]
)
def test_the_figure_draws_the_terms_as_trained(runs, noun, draw):
    table = runs[0]["warm"].table(noun)
    figure = draw(table)
    lines = [line for ax in figure.axes for line in ax.lines if line.get_linestyle() == ":"]
    expected = trained(table).as_trained.loc["high"].to_numpy()
    high = [line for line in lines if line.get_color() == term_colour("high")]
    drawn = high[0].get_ydata()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()].count("as trained") == 1
    np.testing.assert_allclose(drawn[1:], expected[1:])
    assert np.isnan(drawn[0])  # 0 has no place on a logarithmic axis
    assert not any("as trained" in str(name) for name in labels(draw(runs[0]["cold"].table(noun))))


def labels(figure) -> list[str]:
    return [line.get_label() for ax in figure.axes for line in ax.lines]
