"""The embedding: scikit-learn's numbers of the features, and a picture that is told from them."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import mode
from sklearn.metrics import calinski_harabasz_score, silhouette_samples
from sklearn.neighbors import NearestNeighbors

from kdanalysis.analyzers.evidence import difference_of_shares, share_of
from kdanalysis.analyzers.students.embedding import Embedding
from kdanalysis.analyzers.students.embedding_shown import (
    embedding,
    embedding_reading,
    embeddings,
    networks,
    networks_reading,
    numbers_of_networks,
)
from tests.analyzers.readback import smallest_font

N, K = 80, 4
WIDTHS = {"teacher": 6, "student": 3}


@pytest.fixture(scope="module")
def columns():
    """80 rows of 4 classes that the teacher tells apart and the student hardly; row 7 is NaN."""
    rng = np.random.default_rng(0)
    target = rng.choice(5, N, p=[0.4, 0.3, 0.2, 0.1, 0.0])
    teacher, student = 4 + rng.normal(size=(5, 6)), 0.5 * rng.normal(size=(5, 3))
    found = {
        "teacher_features": teacher[target] + 0.7 * rng.normal(size=(N, 6)),
        "student_features": student[target] + rng.normal(size=(N, 3)),
        "target": target,
        "row": 100 + 2 * np.arange(N),
        "place": np.arange(N),
    }
    found["student_features"][7, 1] = np.nan
    return {name: torch.from_numpy(values) for name, values in found.items()}


def fed(columns, sides=WIDTHS, drawn=60, seed=0, k=K):
    counts = columns["target"].bincount(minlength=5).tolist()
    analyzer = Embedding(sides, counts, N, k, drawn, seed)
    for part in (slice(0, 30), slice(30, N)):
        analyzer.update(**{name: columns[name][part] for name in analyzer.needs})
    return analyzer


@pytest.fixture(scope="module")
def table(columns):
    return fed(columns).table()


def of_side(table: pd.DataFrame, side: str, part: str) -> pd.DataFrame:
    return table[(table.side == side) & (table.part == part)]


def neighbours(features: np.ndarray) -> np.ndarray:
    return NearestNeighbors(n_neighbors=K).fit(features).kneighbors(return_distance=False)


@pytest.mark.parametrize("side", WIDTHS)
def test_numbers_are_scikit_learns_of_the_features(columns, table, side):
    kept = np.arange(N) != 7  # NaN on one side leaves the row out of both
    features, target = (columns[n].numpy()[kept] for n in (f"{side}_features", "target"))
    right = mode(target[neighbours(features)], axis=1).mode == target
    silhouette = silhouette_samples(features, target)
    ratio = calinski_harabasz_score(features, target) * 3 / (N - 1 - 4)

    whole = of_side(table, side, "all").iloc[0]
    by_class = of_side(table, side, "class").set_index("class")

    assert whole.knn == pytest.approx(right.mean(), abs=1e-12)
    assert whole.silhouette == pytest.approx(silhouette.mean(), abs=1e-10)
    assert whole.fisher == pytest.approx(ratio, rel=1e-9)
    assert whole.chance == np.bincount(target).max() / len(target)
    assert (whole.n, whole.k, whole.width, whole.drawn) == (N - 1, K, WIDTHS[side], 60)
    assert (whole.labelled, whole.non_finite) == (N, 1)
    for number in range(4):
        here = target == number
        assert by_class.n[number] == here.sum()
        assert by_class.knn[number] == pytest.approx(right[here].mean(), abs=1e-12)
        assert by_class.silhouette[number] == pytest.approx(silhouette[here].mean(), abs=1e-10)


@pytest.mark.parametrize("side", WIDTHS)
def test_a_point_is_told_from_its_row_and_the_picture_from_the_features(columns, table, side):
    points = of_side(table, side, "sample")
    places = (points.row.to_numpy(int) - 100) // 2
    assert len(set(places)) == 60
    assert 7 not in places
    assert points["class"].tolist() == columns["target"][places].tolist()
    before = neighbours(columns[f"{side}_features"].numpy()[places])
    after = neighbours(points[["x", "y"]].to_numpy())
    kept = np.mean([len({*a} & {*b}) / K for a, b in zip(before, after, strict=True)])
    assert of_side(table, side, "all").kept.iloc[0] == pytest.approx(kept, abs=1e-12)
    assert 0.2 < kept < 1  # a picture of chance keeps 4 of 59


def test_every_class_is_drawn_in_proportion_and_anew_by_another_seed(columns, table):
    points, others = (
        of_side(t, "teacher", "sample") for t in (table, fed(columns, seed=1).table())
    )
    counts = columns["target"].bincount()[:4] * 60 / 79
    found = points["class"].value_counts().sort_index()
    assert np.abs(found.to_numpy(float) - counts.numpy()).max() < 2
    assert set(points.row) != set(others.row)
    pd.testing.assert_frame_equal(fed(columns).table(), table)  # the same seed, bit for bit


def test_a_side_alone_has_the_numbers_that_it_has_beside_the_other(columns, table):
    finite = {name: values.clone() for name, values in columns.items()}
    finite["student_features"][7, 1] = 0
    alone = fed(finite, {"student": 3}).table()
    assert set(alone.side) == {"student"}
    both = of_side(fed(finite).table(), "student", "all").iloc[0]
    assert alone.iloc[0].knn == both.knn
    assert alone.iloc[0].silhouette == both.silhouette


@pytest.mark.parametrize(
    ("counts", "rows", "message"),
    [
        ((9, 0, 0), 9, "features of 9 rows with labels of 1 of 3 classes: silhouette, Fisher"),
        ((0, 0), 0, "features of 0 rows with labels of 0 of 2 classes"),
        ((5, 5), 10, "need two classes and more rows than k = 10"),
    ],
)
def test_one_class_or_too_few_rows_are_refused(counts, rows, message):
    with pytest.raises(ValueError, match=message):
        Embedding({"teacher": 4}, counts, rows)


def test_features_of_another_width_are_refused(columns):
    analyzer = Embedding({"teacher": 6}, (40, 40), N)
    wrong = columns["student_features"]
    with pytest.raises(ValueError, match=r"teacher_features have shape \(80, 3\), need \(80, 6\)"):
        analyzer.update(wrong, *(columns[name] for name in ("target", "row", "place")))


def test_where_nan_leaves_too_few_rows_nothing_is_said(columns):
    broken = columns | {"teacher_features": torch.full((N, 6), torch.nan)}
    broken["teacher_features"][:K] = 0.0
    found = fed(broken, {"teacher": 6}).table()
    assert found.part.tolist() == ["all"]
    assert (found.n.item(), found.non_finite.item()) == (K, N - K)
    assert found[["knn", "silhouette", "fisher", "kept"]].isna().all(axis=None)
    for use in (embedding_reading, embedding):
        with pytest.raises(ValueError, match="has enough rows without NaN or inf to look at"):
            use(found)


def test_the_reading_says_shares_differences_and_what_the_picture_keeps(table):
    teacher, student = (of_side(table, side, "all").iloc[0] for side in WIDTHS)
    ahead = difference_of_shares(teacher.knn, 79, student.knn, 79)
    said = embedding_reading(table)
    assert f"teacher {share_of(teacher.knn, 79)}, student {share_of(student.knn, 79)}" in (
        said.sentence
    )
    assert f"do so more often than a student's: student {ahead.points()} (seen)." in said.sentence
    kept = sorted(100 * row.kept for row in (teacher, student))
    assert f"4 nearest it keeps {kept[0]:.1f} % to {kept[1]:.1f} %" in said.sentence
    assert said.number == (
        f"of 79 samples, silhouette and Fisher ratio in feature space: teacher "
        f"{teacher.silhouette:.3f} and {teacher.fisher:.3g}; student {student.silhouette:.3f} "
        f"and {student.fisher:.3g}"
    )


def test_no_lead_is_claimed_where_neither_network_has_one(table):
    student = of_side(table, "student", "all")
    same = pd.concat([student.assign(side="teacher"), student])
    assert "student +0.0 ± " in embedding_reading(same).sentence
    assert "(not seen)" in embedding_reading(same).sentence


def test_students_are_held_against_plain_kd_and_a_shared_teacher_stands_once(table):
    other = table.assign(knn=table.knn.where(table.side == "teacher", 1.0))
    tables = {"dkd": other, "kd": table}
    assert list(networks(tables)) == ["teacher", "dkd", "kd"]
    kd = of_side(table, "student", "all").knn.iloc[0]
    lead = difference_of_shares(1.0, 79, kd, 79)
    said = networks_reading(tables).sentence
    asked = "That other students' do more often than"
    assert f"{asked} kd's: dkd {lead.points()} (seen); one student each" in said
    behind = networks_reading({"dkd": table, "kd": other}).sentence
    assert f"{asked} kd's: dkd {lead.negated.points()} (the opposite is seen)" in behind
    moved = other.assign(silhouette=other.silhouette / 2)
    assert list(networks({"kd": table, "dkd": moved})) == ["teacher", "kd", "teacher of dkd", "dkd"]


def test_the_page_shows_the_numbers_of_the_networks_alone(table):
    assert numbers_of_networks(table).side.tolist() == ["teacher", "student"]


def test_the_picture_shows_every_point_hollow_where_neighbours_vote_otherwise(table):
    figure = embedding(table, names=["ant", "bee", "cow", "$dog$", "eel"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        *("ant", "bee", "cow", "$dog$"),
    ]
    ratios = [of_side(table, side, "all").fisher.iloc[0] for side in WIDTHS]
    decimals = 2 - int(np.floor(np.log10(max(ratios))))  # three digits of the largest
    for ax, side in zip(figure.axes, WIDTHS, strict=True):
        points, whole = of_side(table, side, "sample"), of_side(table, side, "all").iloc[0]
        drawn = {True: [], False: []}
        for line in ax.lines:
            full = line.get_markerfacecolor() != "none"
            drawn[full] += zip(line.get_xdata(), line.get_ydata(), strict=True)
        for full, found in drawn.items():
            rows = points[(points.knn == 1) == full]
            assert sorted(found) == sorted(zip(rows.x, rows.y, strict=True))
        assert drawn[False]
        assert ax.get_title(loc="left") == (
            f"{side}: 4-NN {share_of(whole.knn, 79)}\n"
            f"silhouette {whole.silhouette:.2f}, Fisher ratio {whole.fisher:.{decimals}f}"
        )
    assert smallest_font(figure) >= 8
    assert "60 of 79, every class in proportion" in figure.get_supxlabel()


def test_a_picture_of_many_classes_has_no_legend_and_says_so(table):
    many = pd.concat([table.assign(**{"class": table["class"] + 4 * i}) for i in range(6)])
    figure = embeddings({"kd": many})
    assert figure.legends == []
    assert "24 classes, colours and marks repeat" in figure.get_supxlabel()
