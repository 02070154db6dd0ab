"""``scripts/measures/claims.py``: a claim holds, fails, is not seen, or cannot be tested."""

import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(scope="module")
def claims():
    sys.path.insert(0, str(SCRIPTS))
    import measures.claims
    import measures.matrix

    yield measures.claims
    sys.path.remove(str(SCRIPTS))


def accuracies(**students: list[float]) -> dict[str, pd.DataFrame]:
    rows = [(s, i, a) for s, values in students.items() for i, a in enumerate(values)]
    return {"accuracy": pd.DataFrame(rows, columns=["student", "seed", "accuracy"])}


@pytest.mark.parametrize(
    ("dkd", "above", "verdict"),
    [
        ([0.70, 0.71, 0.72], 0, "holds"),
        ([0.50, 0.51, 0.52], 0, "does not hold"),
        ([0.70, 0.50, 0.61], 0, "not seen"),
        ([0.611, 0.610, 0.612], 0, "not seen: less than 0.02"),  # without 0
        ([0.611, 0.610, 0.612], -0.02, "holds"),  # as good as
        ([0.50, 0.51, 0.52], -0.02, "does not hold"),
        ([0.7], 0, "cannot be tested: one seed"),
        ([0.70, 0.70, 0.70], 0, "cannot be tested: its seeds do not differ"),
        ([], 0, "cannot be tested: not trained here"),
    ],
)
def test_a_verdict_follows_from_interval_and_least_difference(claims, dkd, above, verdict):
    tables = accuracies(kd=[0.6, 0.6, 0.6][: len(dkd)], dkd=dkd)
    claim = claims.points("DKD", "dkd", "kd", "", above)
    assert claim.row(tables)["verdict"] == verdict


def test_what_nobody_trained_cannot_be_tested(claims):
    table = claims.verdicts(accuracies(ce=[0.5, 0.6]))
    assert table.verdict.unique().tolist() == ["cannot be tested: not trained here"]
    assert table["mean"].isna().all()


def test_every_student_of_a_claim_is_one_of_the_matrix(claims):
    from measures.matrix import MATRIX

    everyone = accuracies(**{name: [0.5, 0.6] for name in MATRIX})
    found = claims.verdicts(everyone).set_index("number").n
    assert found[[number for number in found.index if number.startswith("accuracy")]].min() == 2


def test_relations_are_kendalls_outside_the_top_five(claims):
    rows = [
        (s, seed, notion, measure, 10 * (notion == "top-5") + (measure == "kendall") * (s == "a"))
        for s, seed in product("ab", (0, 1))
        for notion, measure in product(("top-5", "target"), ("kendall", "spearman"))
    ]
    table = pd.DataFrame(rows, columns=["student", "seed", "notion", "measure", "mean"])
    assert claims.relation("a", "b")({"relation": table}).tolist() == [1, 1]


def test_larger_teachers_are_held_against_the_next_smaller(claims):
    rows = [("r20", 0.3), ("r32", 0.2), ("r44", 0.25)]
    table = pd.DataFrame(rows, columns=["network", "mean"]).assign(of="label", temperature=4)
    off = table.assign(temperature=1, mean=0)
    both = {"teacher_suppression": pd.concat([table, table, off])}
    np.testing.assert_allclose(claims.by_size(both), [0.1, -0.05])
    with pytest.raises(KeyError):
        claims.by_size({"teacher_suppression": table[:1]})


def test_correlations_are_compared_off_the_diagonal(claims):
    rows = [
        (s, 0, a, b, {"kd": 0.5, "dkd 8": 0.2}[s] if a != b else 9, 0)
        for s, a, b in product(("kd", "dkd 8"), (0, 1), (0, 1))
    ]
    columns = ["student", "seed", "given", "class", "student_correlation", "teacher_correlation"]
    table = pd.DataFrame(rows, columns=columns)
    np.testing.assert_allclose(claims.nearer({"discrepancy": table}), [0.3])


def test_conflict_is_weighed_by_samples(claims):
    rows = [("right", 10, 0.1), ("right", 30, 0.3), ("wrong", 10, 0.5), ("wrong", 0, np.nan)]
    table = pd.DataFrame(rows, columns=["teacher", "n", "conflict"])
    table = table.assign(student="gdkd 1/1/8", seed=0, term_a="ce", term_b="low_other")
    np.testing.assert_allclose(claims.more_conflict({"conflict": table}), [0.5 - 0.25])


def test_cells_are_counted_below_the_whole_image(claims):
    rows = [(1, True, 90, 9.0), (2, True, 10, 3.0), (2, False, 30, 2.0)]
    table = pd.DataFrame(rows, columns=["scale", "by_class", "n", "value"])
    table = table.assign(part="cell", student="kd", seed=0)
    found = {"regions_anatomy": table}
    np.testing.assert_allclose(claims.complementary("by_class", True)(found), [0.25])
    np.testing.assert_allclose(claims.complementary("by_class", False)(found), [0.5])


def test_cells_that_differ_are_held_against_those_that_do_not(claims):
    rows = [(2, 0, 10, 0.1), (4, 0, 10, 0.8), (4, 1, 30, 0.6), (4, 4, 10, 0.4)]
    table = pd.DataFrame(rows, columns=["scale", "differing", "n", "ratio"])
    found = {"regions_cancellation": table.assign(student="kd", seed=0)}
    np.testing.assert_allclose(claims.cancels(found), [0.65 - 0.4])


def test_what_kd_hears_is_its_own_split_at_the_trainings_temperature(claims):
    rows = [(1, 0.9), (5, 0.6), (10, 0.2)]
    table = pd.DataFrame(rows, columns=["decile", "share"]).assign(term="nckd", seed=0)
    own = table.assign(student="kd", loss="kd parts by target")
    others = [own.assign(student="ce", share=0), own.assign(loss="dkd", share=0)]
    found = {"confidence": pd.concat([own, *others])}
    np.testing.assert_allclose(claims.heard_less(found), [0.7])
