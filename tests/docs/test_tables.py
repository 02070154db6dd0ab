"""docs/tables.md: every column of every table is described, and nothing that no table has."""

import re
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import kdanalysis as kd
from kdanalysis.analyzers.regions.sight import sight_table
from kdanalysis.analyzers.students.agreement import Agreement
from kdanalysis.analyzers.teacher.known import Exact, known_card, known_mass
from kdanalysis.analyzers.teacher.tokens import token_table
from kdanalysis.studies.ladder import ladder_tables
from tests.stones.pairs import images, pair

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"
SHARED = "In several tables"
NO_NOUN = {SHARED, "losses", "mixture"}  # tables that no analyzer makes
LIKE = {  # tables that are another one's, with these columns more
    "ladder_training": "ladder",
    "ladder_gradient_training": "ladder_gradient",
    "layer_conflict": "layers",
}
UNITS = {"nats", "norm", "norm²", "part", "cosine", "factor", "count", "logits", "log10", ""}
KEPT = (kd.Layers("logits", "0"), kd.Regions((1, 2), rows=4))
LOSS = kd.Sum(kd.CrossEntropy(), kd.GDKD(k=2))


def sections() -> dict[str, str]:
    parts = re.split(r"^## (.*)$", PAGE.read_text(encoding="utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(text: str) -> list[list[str]]:
    """The cells of the columns that a section describes."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def described() -> dict[str, set[str]]:
    return {
        name: {column for first, *_ in rows(text) for column in re.findall(r"`(\w+)`", first)}
        for name, text in sections().items()
    }


def of_logits() -> dict[str, pd.DataFrame]:
    teacher, noise = torch.randn(2, 24, 8, generator=torch.Generator().manual_seed(0))
    student, target = teacher + noise, teacher.argmax(-1)
    constant = torch.zeros(1, 8)
    arrays = {"teacher_logits": torch.cat((teacher, constant)).numpy()}
    arrays["student_logits"] = torch.cat((student, constant)).numpy()
    arrays |= {"target": np.append(target, 0), "position": np.arange(25)}
    card = kd.diagnose(arrays | {"teacher_features": arrays["teacher_logits"]}).tables
    both = kd.SparseTeacher.from_logits(teacher, k=4, temperatures=(1, 2))
    sparse, exact = [both, both.at(2)], {2.0: Exact(teacher.amax(-1), teacher.amax(-1))}
    agreement = Agreement()
    agreement.update(student, teacher, target)
    agreement.update(student, teacher)  # rows without a label
    return {
        **card,
        "agreement": agreement.table(),
        **kd.sweep_study(arrays, temperatures=(1.0,), ks=(1, 2)).tables,
        **kd.compare({"a": arrays, "b": arrays}, losses="kd,gdkd:k=2", match_norm=True).tables,
        **kd.truncation_study(arrays, ks=(1, 2), losses="kd").tables,
        "tokens": token_table(card["mass"]),
        "known": known_card(sparse, target, exact),
        "known_mass": known_mass(sparse),
        "mixture": kd.mixture(student, {"one": teacher, "two": 2 * teacher}),
        "sight": sight_table(torch.randn(2, 8, 5), target[:2], torch.arange(2), (1, 2)),
    }


def of_a_run(folder: Path, known: set[str]) -> dict[str, pd.DataFrame]:
    """The tables of a run with a warm-up, but for those known already and the same."""
    torch.manual_seed(0)
    student, teacher = (
        torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, 2, 1),
            torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.Flatten(),
            torch.nn.Linear(8, 8),
        )
        for _ in range(2)
    )
    target = torch.arange(8)
    sides = {"student": student, "teacher": teacher.eval()}
    with kd.Recorder(folder, LOSS, keep=KEPT, **sides) as recorder:
        for _ in range(2):
            x = torch.randn(8, 3, 8, 8)
            with torch.no_grad():
                teacher(x)
            student(x)
            recorder.loss(target, sample_id=target, ramp=0.5).backward()
    run = kd.open(folder)
    return run.tables([name for name in run.names if name == "magnitude" or name not in known])


def of_stones() -> dict[str, pd.DataFrame]:
    two = pair("sequential")
    stones = kd.Ladder(two.student, two.teacher, images(), ("0", "3"), ("0", "3"))
    batch = images(), torch.arange(4)
    return ladder_tables(stones, kd.Blockwise(kd.KD(), 2), [batch], [0.5] * len(stones.numbers))


@pytest.fixture(scope="module")
def observed(tmp_path_factory) -> dict[str, set[str]]:
    """Columns of every table; of one with a row a quantity also the quantities."""
    found: dict[str, set[str]] = {}
    logits = of_logits()
    run = of_a_run(tmp_path_factory.mktemp("tables") / "run", {*logits})
    for name, table in chain(logits.items(), run.items(), of_stones().items()):
        quantities = set(table.quantity) if "quantity" in table else set()
        found[name] = found.get(name, set()) | {*table.columns} | quantities
    return found


def test_every_noun_has_a_section_and_a_table_that_is_looked_at(observed):
    nouns = {n for n in kd.analyzers if kd.analyzers[n].__module__.startswith("kdanalysis.")}
    assert {*sections()} == nouns | NO_NOUN
    assert {*observed} == (nouns | NO_NOUN) - {SHARED, *LIKE}


def test_every_column_is_described_and_no_other(observed):
    told = described()
    shared = told.pop(SHARED)
    wanting = {name: there - told[name] - shared for name, there in observed.items()}
    too_much = {name: told[name] - there for name, there in observed.items()}
    assert {name: columns for name, columns in wanting.items() if columns} == {}
    assert {name: columns for name, columns in too_much.items() if columns} == {}


def test_what_is_said_of_several_tables_is_of_several(observed):
    uses = Counter(column for there in observed.values() for column in there)
    assert [name for name in described()[SHARED] if uses[name] < 2] == []


@pytest.mark.parametrize(("name", "other"), LIKE.items())
def test_a_table_like_another_one_says_so(name, other):
    assert not described()[name]
    assert f"[{other}](#{other})" in sections()[name]


def test_units_are_known_and_lengths_and_values_say_whether_they_are_weighted():
    for name, text in sections().items():
        for column, _, unit, weighted, over in rows(text):
            if unit.startswith("as "):
                continue
            parts = [part.partition(", ") for part in unit.split("; ")]
            assert {base for base, *_ in parts} <= UNITS, (name, column)
            assert {power for *_, power in parts} <= {"", "T²", "T⁴"}, (name, column)
            assert weighted or not any(p for *_, p in parts), (name, column)
            assert over or not unit or unit in ("factor", "log10", "part", "nats", "count")
