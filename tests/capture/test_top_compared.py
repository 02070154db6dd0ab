"""Runs that keep K classes, compared: the tables of runs of all logits, and what is left out."""

import pandas as pd
import pytest
from kept_runs import LOSS, train
from typer.testing import CliRunner

import kdanalysis as kd
from kdanalysis.cli.main import app
from kdanalysis.studies.kept import TABLES
from kdanalysis.studies.run import tables_of

CLOSE = {"rtol": 1e-6, "atol": 1e-7}
OTHER = kd.Sum(kd.CrossEntropy(), kd.KD(3.0))
NEEDING_ALL = {"relation", "discrepancy", "suppression"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of two trainings by what was kept, under the same names."""
    folder = tmp_path_factory.mktemp("runs")
    dense = [train(folder / "dense" / n, (), loss) for n, loss in (("one", LOSS), ("two", OTHER))]
    one = train(folder / "top" / "one", kd.TopK(16))
    two = train(folder / "top" / "two", kd.TopK(4), OTHER)
    return {"dense": dense, "top": [one, two]}


def same_tables(top, dense):
    for noun, tables in top.parts.items():
        for run, table in tables.items():
            pd.testing.assert_frame_equal(table, dense.parts[noun][run], **CLOSE)


def test_runs_are_compared_at_what_both_answer_for(runs):
    top = kd.compare(runs["top"])
    assert top.facts["losses compared"] == (
        "KD, DKD and GDKD at T = 1 and k = 4; not at T = 2: sums over the other classes were kept "
        "at T = 1; not at k = 5: 4 classes were kept"
    )
    for name, path in zip(("one", "two"), runs["dense"], strict=True):
        for noun, table in tables_of(kd.open(path).source, TABLES, compared=(1.0, 4)).items():
            if noun in top.parts:
                pd.testing.assert_frame_equal(top.parts[noun][name], table, **CLOSE)


def test_k_is_told_at_a_temperature_that_is_asked_for_too(runs):
    told = "KD, DKD and GDKD at T = 1 and k = 4; not at k = 5: 4 classes were kept"
    assert kd.compare(runs["top"], temperature=1.0).facts["losses compared"] == told
    whole = kd.compare(runs["dense"], temperature=1.0).facts["losses compared"]
    assert whole == "KD, DKD and GDKD at temperature 1 and k 5"


def test_their_tables_are_those_of_runs_of_all_logits(runs):
    pairs = {name: [runs[name][0], runs[name][0].parent / "again"] for name in runs}
    train(pairs["dense"][1], (), kd.Sum(kd.CrossEntropy(), kd.KD(2.0)))
    train(pairs["top"][1], kd.TopK(16), kd.Sum(kd.CrossEntropy(), kd.KD(2.0)))
    dense, top = (kd.compare(pairs[name]) for name in ("dense", "top"))
    assert {*dense.parts} - {*top.parts} == NEEDING_ALL
    same_tables(top, dense)
    assert top.readings["direction"] == dense.readings["direction"]


def test_what_is_left_out_is_said_and_a_run_of_all_logits_beside_them_has_it(runs):
    mixed = {"whole": runs["dense"][0], "few": runs["top"][1]}
    study = kd.compare(mixed)
    assert study.facts["left out"] == (
        "relation, discrepancy, suppression and losses at other weights of few, which would need "
        "all logits: a few classes of every row and sums over the others were kept"
    )
    for noun, tables in study.parts.items():
        assert noun == "runs" or [*tables] == ["whole", "few"][: 2 - (noun in NEEDING_ALL)]
    assert "left out" not in kd.compare(runs["dense"]).facts
    assert study.facts["left out"] in study.html()


def test_losses_on_them_are_those_on_all_logits(runs):
    asked = "kd,dkd,gdkd:k=4,topk:k=4,ce"
    for some in (slice(1), slice(2)):
        at = {"temperature": 1.0, "match_norm": True}
        dense, top = (kd.compare(runs[name][some], asked, **at) for name in ("dense", "top"))
        assert [*top.parts] == [*dense.parts]
        same_tables(top, dense)


@pytest.mark.parametrize(
    ("losses", "temperature", "says"),
    [
        ("kd,jsd", 2.0, r"the loss 'jsd' on one: JSD.* looks into the classes outside the 16"),
        ("kd,dkd", None, r"the loss 'kd' on one: KD.* is at T = 4, and the sums .* at T = 1, 2"),
        (None, 3.0, r"T = 3 cannot be looked at: .* for T = 1 in all these runs"),
    ],
)
def test_what_they_do_not_answer_for_is_refused(runs, losses, temperature, says):
    with pytest.raises(ValueError, match=says):
        kd.compare(runs["top"], losses, temperature=temperature)


@pytest.mark.parametrize("more", [(), ("--losses", "kd,dkd", "--temperature", "1")])
def test_the_command_compares_them(runs, tmp_path, more):
    paths = [*map(str, runs["top"])]
    result = CliRunner().invoke(app, ["compare", *paths, *more, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "report.html").is_file()
