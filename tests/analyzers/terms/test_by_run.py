"""The picture of a noun for several runs shows the rows of each, and leaves out what repeats."""

from itertools import combinations

import pandas as pd
import pytest

from kdanalysis.analyzers.terms.conflict_pictures import conflict_by_run
from kdanalysis.analyzers.terms.direction_pictures import direction_by_run, multiplier_by_run
from kdanalysis.analyzers.terms.magnitude import magnitude_by_run
from kdanalysis.analyzers.terms.share import share_by_run
from tests.analyzers.readback import legend_texts, lines

RUNS = ("one", "two")


def magnitudes() -> pd.DataFrame:
    terms = [("kd", "kd", 1.0), ("gdkd", "high", 2.0), ("gdkd", "low_other", 3.0)]
    terms += [("kd parts", "high", 2.0), ("kd parts", "low_other", 0.5)]
    return pd.DataFrame(
        [
            (run, loss, term, step, mean * (1 + r) * (1 + step), 0.5, 5)
            for r, run in enumerate(RUNS)
            for loss, term, mean in terms
            for step in (0, 1)
        ],
        columns=["run", "loss", "term", "step", "mean", "std", "n"],
    )


def cosines(a: str, b: str, names: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            (run, step, teacher, x, y, 0.1 * i + (teacher == "right"), 2.0 + i, 5)
            for run in RUNS
            for step in (0, 1)
            for teacher in ("right", "all")
            for i, (x, y) in enumerate(combinations(names, 2))
        ],
        columns=["run", "step", "teacher", a, b, "cosine", "multiplier", "n"],
    )


def titles(figure) -> list[str]:
    return [ax.get_title(loc="left") for ax in figure.axes if ax.get_visible()]


def test_terms_with_equal_norms_are_drawn_once():
    figure = magnitude_by_run(magnitudes())
    assert titles(figure) == ["kd", "gdkd: high", "gdkd: low_other", "kd parts: low_other"]
    assert lines(figure.axes[2])["two"] == ([0, 1], [6.0, 12.0])
    changed = magnitudes()
    changed.loc[6, "mean"] = 7.0  # kd parts: high differs at one step of one run
    assert "kd parts: high" in titles(magnitude_by_run(changed))


def test_conflict_shows_the_pairs_with_cross_entropy_over_all_samples():
    figure = conflict_by_run(cosines("term_a", "term_b", ("ce", "kd", "high")))
    assert titles(figure) == ["ce / kd", "ce / high"]
    assert lines(figure.axes[1])["one"] == ([0, 1], [0.1, 0.1])
    other = conflict_by_run(cosines("term_a", "term_b", tuple("abcdef")))
    assert len(titles(other)) == 9  # of 15 pairs
    assert "a / b" in titles(other)
    assert "e / f" not in titles(other)


def test_directions_are_held_against_the_first_loss():
    frame = cosines("loss_a", "loss_b", ("kd", "dkd", "gdkd"))
    assert titles(direction_by_run(frame)) == ["dkd", "gdkd"]
    assert lines(direction_by_run(frame).axes[1])["two"] == ([0, 1], [0.1, 0.1])
    assert lines(multiplier_by_run(frame).axes[0])["two"] == ([0, 1], [2.0, 2.0])
    assert multiplier_by_run(frame).axes[0].get_yscale() == "log"


def test_bars_of_a_loss_stand_together():
    frame = pd.DataFrame(
        {
            "run": ["one", "one", "two", "two"],
            "loss": ["kd", "gdkd", "kd", "gdkd"],
            "term": ["high", "high", "high", "high"],
            "share": [0.1, 0.2, 0.3, 0.4],
        }
    )
    ax = share_by_run(frame)
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert labels == [f"{loss}, student {run}" for loss in ("kd", "gdkd") for run in ("one", "two")]
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([10, 30, 20, 40])
    assert legend_texts(ax) == ["high"]


def test_bars_of_runs_with_names_alike_stay_apart():
    runs = [f"cifar100_resnet_seed_{seed}_lr_0.05" for seed in (1, 2)]
    frame = pd.DataFrame({"run": runs, "loss": "kd", "term": "high", "share": [0.4, 0.6]})
    ax = share_by_run(frame)
    assert len({text.get_text() for text in ax.get_yticklabels()}) == 2
    assert [bar.get_x() for bar in ax.patches] == [0, 0]
