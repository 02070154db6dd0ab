"""Candidates: KD, the papers' and a rule's, at one T, with the cosine and step that numpy finds."""

import numpy as np
import pandas as pd
import pytest
import torch

from kdanalysis.analyzers.teacher.candidates import (
    FromUniform,
    candidate_table,
    candidates_reading,
    choose,
)
from kdanalysis.analyzers.teacher.mass import TopKMass
from kdanalysis.losses import parse_loss
from kdanalysis.pages.teacher import diagnose
from tests.analyzers.reference import autograd_gradients, logits, probabilities, targets


def masses(teacher: torch.Tensor, ladder=(1.0, 2.0, 4.0, 8.0)) -> pd.DataFrame:
    mass = TopKMass(teacher.shape[-1], ladder)
    mass.update(teacher)
    return mass.table()


def found(teacher, target=None) -> pd.DataFrame:
    sides = {"teacher_logits": teacher.numpy()}
    sides |= {} if target is None else {"target": target.numpy()}
    return diagnose(sides).tables["candidates"].set_index("candidate")


def test_cosine_and_step_against_kd_agree_with_autograd():
    teacher, target = logits(0, 40), targets(1, 40)
    table = found(teacher, target)
    zeros = torch.zeros_like(teacher)
    parts = autograd_gradients(zeros, teacher, target, 5, 4.0)
    kd = parts["kd"]
    totals = {
        "DKD's default": parts["tckd"] + 8 * parts["nckd"],
        "GDKD's default": parts["high"] + parts["low_top"] + 8 * parts["low_other"],
    }
    for name, total in totals.items():
        norms = [np.linalg.norm(x, axis=1) for x in (kd, total)]
        assert table.cosine[name] == pytest.approx(
            np.mean((kd * total).sum(1) / norms[0] / norms[1])
        )
        assert table.multiplier[name] == pytest.approx(norms[1].mean() / norms[0].mean())
    assert table.loc["KD", ["cosine", "multiplier"]].tolist() == [1, 1]
    assert set(table.student) == {"uniform"}


def test_the_rules_k_is_the_ranks_above_an_even_share():
    teacher = logits(2, 80, 12, 2.0)
    ranks = np.sort(probabilities(teacher, 4.0))[:, ::-1].mean(0)
    loss = parse_loss(choose(masses(teacher), True)["the rule's"][0])
    assert loss.k == (ranks > 1 / 12).sum() > 1
    assert 1 <= loss.weights[1] <= 2
    assert 1 <= loss.weights[2] <= 8


def test_all_candidates_have_one_temperature_the_papers_or_the_next():
    for ladder, wanted in (((1.0, 4.0, 8.0), 4.0), ((1.0, 2.0), 2.0), ((6.0, 20.0), 6.0)):
        chosen = choose(masses(logits(0), ladder), True)
        assert {parse_loss(loss).temperature for loss, _ in chosen.values()} == {wanted}


def test_without_labels_there_is_no_dkd_and_with_two_classes_kd_alone():
    assert "DKD's default" not in found(logits(0)).index
    assert found(logits(0, c=2), targets(0, c=2)).index.tolist() == ["KD"]
    assert "plain KD is left" in candidates_reading(found(logits(0, c=2)).reset_index()).sentence


def test_without_a_finite_sample_there_is_nothing():
    chosen = choose(masses(torch.full((4, 5), torch.nan)), True)
    table = candidate_table(chosen, None)
    assert table.empty
    assert candidates_reading(table).number == ""


def test_the_student_of_a_file_is_taken_where_there_is_one():
    teacher = logits(0)
    both = {"teacher_logits": teacher.numpy(), "student_logits": logits(3).numpy()}
    own = diagnose(both).tables["candidates"]
    assert set(own.student) == {"of the file"}
    assert own.cosine.iloc[1] != pytest.approx(found(teacher).cosine.iloc[1], abs=1e-3)


def test_rows_with_nan_change_nothing():
    teacher = logits(0)
    metrics = []
    for rows in (teacher, torch.cat([teacher, torch.full((3, 12), torch.nan)])):
        losses = {n: parse_loss(loss) for n, (loss, _) in choose(masses(teacher), False).items()}
        metrics.append(FromUniform(losses))
        metrics[-1].update(rows)
    one, other = (m.table().drop(columns="non_finite") for m in metrics)
    pd.testing.assert_frame_equal(one, other)


def test_a_student_that_is_its_teacher_leaves_the_card_and_a_uniform_student():
    teacher = logits(0, 30, 6)
    alone = diagnose({"teacher_logits": teacher}).tables["candidates"]
    same = diagnose({"teacher_logits": teacher, "student_logits": teacher}).tables["candidates"]
    pd.testing.assert_frame_equal(same, alone)
    assert set(same.student) == {"uniform"}
    flat = diagnose({"teacher_logits": torch.zeros(30, 6)})
    assert "KD has no gradient here" in flat.readings["candidates"].sentence
    assert flat.tables["candidates"].cosine[1:].isna().all()


def test_rows_that_the_student_cannot_say_are_told():
    teacher, student = logits(0), logits(1)
    student[3:] = float("nan")
    sides = {"teacher_logits": teacher, "student_logits": student}
    own = diagnose(sides)
    told = f"looked at on 3 of {len(teacher):,} samples: the others hold NaN or inf"
    assert own.facts["student"].startswith(told)
    assert "for the student of the file (3 samples): " in own.readings["candidates"].sentence
    for student in (teacher, torch.full_like(teacher, float("nan"))):
        facts = diagnose({"teacher_logits": teacher, "student_logits": student}).facts
        assert facts["student"].startswith("not looked at: no sample of it is finite, or its")
    whole = {"teacher_logits": teacher, "student_logits": logits(1)}
    assert "student" not in diagnose(whole).facts
