"""What the analyzers write, the figures draw: real tables of every size, and none to draw."""

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.axes import Axes

from kdanalysis.analyzers import load_nouns
from kdanalysis.analyzers.students import agreement_figure as agreement
from kdanalysis.analyzers.students import discrepancy_figure as discrepancy
from kdanalysis.analyzers.students import discrepancy_text, relation_text
from kdanalysis.analyzers.students import relation_figure as relation
from kdanalysis.analyzers.students.agreement import Agreement
from kdanalysis.analyzers.students.discrepancy import ClassDiscrepancy
from kdanalysis.analyzers.students.relation import NonTopRelation
from kdanalysis.analyzers.teacher.calibration import Calibration
from kdanalysis.analyzers.teacher.mass import TopKMass
from kdanalysis.analyzers.teacher.modality import Modality
from kdanalysis.analyzers.teacher.profile import ClassProfile
from kdanalysis.analyzers.teacher.suppression import Suppression
from kdanalysis.analyzers.terms import amplification_figure as amplification
from kdanalysis.analyzers.terms import confidence_figure as confidence
from kdanalysis.analyzers.terms import conflict_figure as conflict
from kdanalysis.analyzers.terms import direction_figure as direction
from kdanalysis.analyzers.terms import direction_text
from kdanalysis.analyzers.terms import magnitude_figure as magnitude
from kdanalysis.analyzers.terms import nckd_figure as nckd
from kdanalysis.analyzers.terms import share_figure as share
from kdanalysis.analyzers.terms.amplification import Amplification
from kdanalysis.analyzers.terms.confidence import ShareByConfidence
from kdanalysis.analyzers.terms.conflict import GradientConflict
from kdanalysis.analyzers.terms.direction import LossDirection
from kdanalysis.analyzers.terms.magnitude import TermMagnitude
from kdanalysis.analyzers.terms.nckd import NCKDByConfidence
from kdanalysis.analyzers.terms.share import TermShare
from kdanalysis.core.partition import TopK
from kdanalysis.losses import DKD, GDKD, CrossEntropy
from kdanalysis.losses.parts import KDParts
from tests.analyzers.readback import smallest_font

load_nouns()


def analyzers(c: int, k: int) -> dict:
    losses = {"kd": KDParts(TopK(k)), "dkd": DKD(), "gdkd": GDKD(k)}
    teachers = (TopKMass(c), ClassProfile(c), Modality(c), Calibration(c), Suppression(c))
    return {
        **{
            picture.draw: (
                noun,
                lambda table, noun=noun: noun.reading(table).sentence,
                lambda table, noun=noun: noun.reading(table).number,
            )
            for noun in teachers
            for picture in noun.pictures
        },
        nckd.nckd_by_confidence: (NCKDByConfidence(), nckd.nckd_sentence, nckd.nckd_number),
        **{
            (lambda table, draw=draw: draw({"kd": table, "dkd": table})): (
                ClassDiscrepancy(c),
                lambda table: discrepancy_text.students_sentence({"kd": table, "dkd": table}),
                lambda table: discrepancy_text.students_number({"kd": table, "dkd": table}),
            )
            for draw in (discrepancy.discrepancy_maps, discrepancy.correlation_maps)
        },
        lambda table: discrepancy.discrepancy_maps({"": table}): (
            ClassDiscrepancy(c),
            discrepancy_text.discrepancy_sentence,
            discrepancy_text.discrepancy_number,
        ),
        magnitude.magnitude_over_training: (
            TermMagnitude(losses),
            magnitude.magnitude_sentence,
            magnitude.magnitude_number,
        ),
        share.share_of_terms: (TermShare(losses), share.share_sentence, share.share_number),
        confidence.share_by_confidence: (
            ShareByConfidence(losses),
            confidence.confidence_sentence,
            confidence.confidence_number,
        ),
        amplification.amplification_over_kd: (
            Amplification({"dkd": DKD(), "gdkd": GDKD(k)}),
            amplification.amplification_sentence,
            amplification.amplification_number,
        ),
        conflict.conflict_by_teacher: (
            GradientConflict({"ce": CrossEntropy(), **losses}),
            conflict.conflict_sentence,
            conflict.conflict_number,
        ),
        direction.direction_or_step: (
            LossDirection({"ce": CrossEntropy(), **losses}),
            direction_text.direction_sentence,
            direction_text.direction_number,
        ),
        agreement.agreement_over_training: (
            Agreement(),
            agreement.agreement_sentence,
            agreement.agreement_number,
        ),
    }


def relations(k: int) -> dict:
    return {
        relation.relation_over_training: (
            NonTopRelation(k),
            relation_text.relation_sentence,
            relation_text.relation_number,
        ),
        lambda table: relation.relation_by_method({"kd": table, "dkd": table}): (
            NonTopRelation(k),
            lambda table: relation_text.methods_sentence({"kd": table, "dkd": table}),
            lambda table: relation_text.methods_number({"kd": table, "dkd": table}),
        ),
    }


def fed(metric, columns: dict):
    more = {n: columns[n] for n in metric.takes if n in columns and n not in metric.needs}
    metric.update(*(columns[name] for name in metric.needs), **more)
    return metric.table()


def batch(c: int, n: int = 60, spoil: bool = False) -> dict:
    generator = torch.Generator().manual_seed(c)
    teacher, student = 3 * torch.randn(2, n, c, generator=generator)
    target = torch.randint(c, (n,), generator=generator)
    return {
        "teacher_logits": teacher * torch.nan if spoil else teacher,
        "student_logits": student,
        "target": target,
    }


@pytest.mark.parametrize("classes", [2, 6, 62])
def test_every_table_becomes_a_readable_figure_and_a_sentence(classes):
    k = min(5, classes - 1)
    drawings = analyzers(classes, k) | (relations(k) if classes > 2 else {})
    for draw, (metric, sentence, number) in drawings.items():
        table = fed(metric, batch(classes))
        drawn = draw(table)
        figure = drawn.figure if isinstance(drawn, Axes) else drawn
        assert smallest_font(figure) >= 9, draw
        assert sentence(table).endswith("."), sentence
        assert "nan" not in sentence(table) + number(table), sentence
        plt.close(figure)


def test_tables_without_finite_samples_are_refused_in_one_sentence():
    for draw, (metric, *readings) in (analyzers(6, 3) | relations(3)).items():
        table = fed(metric, batch(6, spoil=True))
        for function in (draw, *readings):
            with pytest.raises(ValueError, match=r"the table has no (value|rows)"):
                function(table)
