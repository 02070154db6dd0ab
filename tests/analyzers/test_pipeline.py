"""What the analyzers write, the figures draw: real tables of every size, and none to draw."""

import pytest
import torch

from kdanalysis.analyzers import load_nouns
from kdanalysis.analyzers.base import Analyzer
from kdanalysis.analyzers.setting import Setting
from tests.analyzers.readback import smallest_font

NOUNS = load_nouns()
OF_SAMPLES = [
    name
    for name, noun in NOUNS.items()
    if issubclass(noun, Analyzer) and noun.kind == "samples" and noun.of_runs and noun.reading
]


def fed(name: str, classes: int, spoil: bool = False):
    """The table of a noun, None where so few classes have none."""
    setting = Setting(classes, k=min(5, classes - 1))
    analyzer = NOUNS[name].for_setting(setting)
    if analyzer is None:
        return None
    columns = batch(classes, spoil=spoil)
    more = {n: columns[n] for n in analyzer.takes if n in columns and n not in analyzer.needs}
    analyzer.update(*(columns[n] for n in analyzer.needs), **more)
    return analyzer.table()


def batch(c: int, n: int = 60, spoil: bool = False) -> dict:
    generator = torch.Generator().manual_seed(c)
    teacher, student = 3 * torch.randn(2, n, c, generator=generator)
    target = torch.randint(c, (n,), generator=generator)
    return {
        "teacher_logits": teacher * torch.nan if spoil else teacher,
        "student_logits": student,
        "target": target,
    }


def test_most_nouns_are_looked_at():
    assert len(OF_SAMPLES) >= 14


@pytest.mark.parametrize("classes", [2, 6, 62])
@pytest.mark.parametrize("name", OF_SAMPLES)
def test_every_table_becomes_a_readable_figure_and_a_sentence(name, classes):
    table, noun = fed(name, classes), NOUNS[name]
    if table is None or (name, classes) == ("relation", 2):  # two classes have no relations
        return
    pairs = [(noun.reading(table), [p.figure(table) for p in noun.pictures])]
    if noun.reading_of_all is not None:
        both = {"kd": table, "dkd": table}
        pairs += [(noun.reading_of_all(both), [p.figure(both) for p in noun.pictures_of_all])]
    for reading, figures in pairs:
        assert reading.sentence.endswith(".")
        assert "nan" not in reading.sentence + reading.number
        for figure in figures:
            assert smallest_font(figure) >= 9


@pytest.mark.parametrize("name", [name for name in OF_SAMPLES if name != "teacher"])
def test_tables_without_finite_samples_are_refused_in_one_sentence(name):
    table, noun = fed(name, 6, spoil=True), NOUNS[name]
    for function in (noun.reading, *(picture.draw for picture in noun.pictures)):
        with pytest.raises(ValueError, match=r"the table has no (value|rows)"):
            function(table)
