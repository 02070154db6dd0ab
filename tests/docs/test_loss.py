"""docs/loss.md: the loss that it adds in one file is known everywhere and keeps every claim."""

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from problems import batch

import kdanalysis as kd
from kdanalysis.analyzers.terms.direction import LossDirection
from kdanalysis.analyzers.terms.magnitude import TermMagnitude
from kdanalysis.draw.colours import term_colour
from kdanalysis.losses import non_top_terms, restore_loss, term_colour_of
from tests.losses.claims import CLAIMS

PAGE = Path(__file__).parents[2] / "docs" / "loss.md"
SOURCE = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]


@pytest.fixture
def jsd():
    """The class, defined by the page's code in a module of its own."""
    module = ModuleType("sjsd")
    exec(compile(SOURCE, "sjsd.py", "exec"), vars(module))
    return module.SplitJSD


def test_it_is_one_file_of_few_lines():
    assert sum(bool(line.strip()) for line in SOURCE.splitlines()) <= 40


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_it_keeps_the_claims_of_every_loss(jsd, claim):
    for text in ("sjsd:k=3", "sjsd:weights=0.5/2,temperature=1", "sdd-sjsd:k=2,scales=1/2"):
        claim(kd.parse_loss(text))


def test_the_command_lines_grammar_knows_it(jsd):
    assert repr(kd.parse_loss("SJSD:k=3,weights=1/4")) == repr(jsd(3, (1.0, 4.0)))
    assert kd.parse_loss("ce+ls-sjsd").terms == ("ce", "jsd_high", "jsd_rest")
    with pytest.raises(ValueError, match="unknown loss 'sjds'; did you mean 'sjsd'"):
        kd.parse_loss("sjds")


def test_its_repr_gives_it_back(jsd):
    found = restore_loss("Sum(CrossEntropy(weight=1.0), SplitJSD(k=3, weights=(1.0, 4.0)))")
    assert type(found.losses[1]) is jsd


def test_figures_know_its_terms(jsd):
    assert term_colour_of("jsd_high") == "sky"
    assert term_colour("jsd_rest") == "#882255"
    assert "jsd_rest" in non_top_terms()


def test_the_commands_know_it_once_it_is_imported(tmp_path):
    (tmp_path / "sjsd.py").write_text(SOURCE, encoding="utf-8")
    student, teacher, target = batch(0, n=20)
    sides = {"student_logits": student, "teacher_logits": teacher, "target": target}
    np.savez(tmp_path / "logits.npz", **sides)
    command = ["--import", "sjsd", "compare", "logits.npz", "--losses", "kd,sjsd:k=3"]
    done = subprocess.run(
        [sys.executable, "-m", "kdanalysis", *command],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "SplitJSD(k=3, weights=(1.0, 8.0), temperature=4.0)" in done.stdout


def test_defining_it_again_replaces_it_as_in_a_notebook(jsd):
    exec(compile(SOURCE, "sjsd.py", "exec"), vars(again := ModuleType("sjsd")))
    assert type(kd.parse_loss("sjsd")) is again.SplitJSD is not jsd


def test_without_it_nothing_knows_it():
    with pytest.raises(ValueError, match="unknown loss 'sjsd'"):
        kd.parse_loss("sjsd")


@pytest.mark.parametrize("analyzer", [TermMagnitude, LossDirection])
def test_an_analyzer_compares_it_with_others_without_labels(jsd, analyzer):
    student, teacher, _ = batch(0, n=40)
    compared = analyzer({"kd": kd.KD(), "sjsd": kd.parse_loss("sjsd:k=3")})
    compared.update(student, teacher)
    table = compared.table()
    assert {"kd", "sjsd"} <= set(table.filter(like="loss").to_numpy().flatten())
