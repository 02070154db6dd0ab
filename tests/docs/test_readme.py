"""The README fits on a page, and its numbers are those of the results that lie beside it."""

import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

import kdanalysis as kd

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
SCRIPT, PICTURE = ROOT / "scripts" / "draw_losses.py", ROOT / "docs" / "losses.svg"
CLAIMS = pd.read_csv(ROOT / "notebooks" / "results" / "cifar10" / "claims.csv").set_index("number")
MOST_LINES, MINUS = 150, "\N{MINUS SIGN}"


@pytest.fixture(scope="module")
def script() -> dict:
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def tables(script) -> dict[str, pd.DataFrame]:
    return kd.compare(script["LOGITS"], losses=script["LOSSES"]).tables


@pytest.fixture
def rows(script, tables) -> pd.DataFrame:
    """Cosine and step of every loss against KD."""
    return script["against_kd"](tables["direction"])


def row(start: str) -> str:
    """The number of the table of what was found whose row begins so."""
    (found,) = re.findall(rf"^\| {re.escape(start)}.*? \| (.*) \|$", TEXT, re.M)
    return found


def interval(claim: str, factor: int, digits: int, unit: str = "") -> str:
    """A claim's mean with its interval, as the README writes it."""
    mean, low, high = (factor * CLAIMS.loc[claim, name] for name in ("mean", "low", "high"))
    text = f"{mean:+.{digits}f}{unit} ({low:.{digits}f} to {high:.{digits}f})"
    return text.replace("-", MINUS)


def test_it_fits_on_a_page():
    assert len(TEXT.splitlines()) <= MOST_LINES


def test_the_picture_has_the_numbers_of_the_logits(script, rows):
    shown = re.findall(r">(cosine [^<]*)<", PICTURE.read_text(encoding="utf-8"))
    assert shown == script["numbers"](rows)
    assert len(shown) == 5
    assert PICTURE.stat().st_size < 150_000


def test_what_stands_in_place_of_the_picture_says_the_same(rows):
    (said,) = re.findall(r"^!\[(.*)\]\(docs/losses.svg\)$", TEXT, re.M)
    rows = rows.set_axis(["KD 6", "DKD 1", "DKD 8", "GDKD 1", "GDKD 8"])
    for name in ("DKD 1", "DKD 8", "GDKD 1", "GDKD 8"):
        step = f"{rows.multiplier[name]:.1f}".removesuffix(".0")
        assert re.search(rf"\b{rows.cosine[name]:.2f} and {step} times", said), name
    assert (rows.cosine["KD 6"], rows.multiplier["KD 6"]) == pytest.approx((1, 6))


def test_shares_and_directions_are_those_of_the_logits(tables, rows):
    steps = [
        f"{rows.cosine[name]:.2f} and {rows.multiplier[name]:.1f}"
        for name in ("DKD, weights 1/1", "DKD, weights 1/8", "GDKD, weights 1/1/8")
    ]
    first, *others = (step.removesuffix(".0") for step in steps)
    assert row("Cosine to KD and step") == f"{first} times; {'; '.join(others)}"
    table = tables["share"]
    share = table[table.term == "low_other"].set_index("loss").share
    names = "KD parts", "GDKD, weights 1/1/1", "GDKD, weights 1/1/8"
    said = " / ".join(f"{100 * share[name]:.0f}" for name in names)
    assert row("GDKD's `low_other`") == f"{said} % of the gradient"


def test_differences_of_students_are_those_of_the_claims():
    said = row("Accuracy against KD (68.5 %)")
    assert interval("accuracy, dkd 8 less kd", 100, 1, " points") in said
    assert interval("accuracy, gdkd 1/1/8 less kd", 100, 1) in said
    assert interval("accuracy, dkd 8 less dkd 1", 100, 1) in said
    nckd = row("The other classes alone (NCKD)")
    assert interval("accuracy, nckd less kd", 100, 1, " points") in nckd
    start = "tau-b to the teacher outside its top 5, "
    weight = row("Relations outside the top 5 (tau-b)")
    assert interval(start + "gdkd 1/1/8 less gdkd 1/1/1", 1, 3) in weight
    partition = row("The same, top 5 less top 1")
    for mean in CLAIMS["mean"][
        [start + "gdkd 1/1/1 less dkd-top1 1", start + "gdkd 1/1/8 less dkd-top1 8"]
    ]:
        assert f"{mean:+.3f}".replace("-", MINUS) in partition
    for text, verdict in ((said, "does not hold"), (weight, "holds"), (partition, "not seen")):
        assert text.endswith(verdict)


def test_the_script_says_which_numbers_are_old(script, tables, tmp_path, monkeypatch):
    old = tmp_path / "old.svg"
    old.write_text(PICTURE.read_text(encoding="utf-8").replace("cosine 0.30", "cosine 0.31"))
    monkeypatch.setattr(kd, "compare", lambda *_, **__: SimpleNamespace(tables=tables))
    monkeypatch.setattr(sys, "argv", ["draw_losses.py", "--check"])
    script["main"]()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--picture", str(old)])
    with pytest.raises(SystemExit, match=r"the picture has .*cosine 0\.31.* give .*cosine 0\.30"):
        script["main"]()
