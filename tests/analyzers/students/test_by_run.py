"""Every noun's picture of several runs shows the rows of each, and leaves out what repeats."""

import pandas as pd

from kdanalysis.analyzers.students.agreement import agreement_by_run
from kdanalysis.analyzers.students.relation_pictures import relation_by_run
from tests.analyzers.readback import lines

RUNS = ("one", "two")


def titles(figure) -> list[str]:
    return [ax.get_title(loc="left") for ax in figure.axes if ax.get_visible()]


def test_agreement_is_in_percent_and_without_labels_alone():
    frame = pd.DataFrame({"run": RUNS, "step": 0, "n": 5, "agreement": [0.5, 0.25]})
    frame = frame.assign(student_accuracy=float("nan"), teacher_accuracy=float("nan"))
    figure = agreement_by_run(frame)
    assert titles(figure) == ["agrees with its teacher"]
    assert lines(figure.axes[0]) == {"one": ([0], [50]), "two": ([1], [25])}


def test_relations_are_kendalls_by_notion():
    frame = pd.DataFrame(
        [
            (run, 0, notion, measure, mean + (measure == "order"), 5)
            for run in RUNS
            for notion, mean in (("target", 0.5), ("top-5", 0.25))
            for measure in ("kendall", "order")
        ],
        columns=["run", "step", "notion", "measure", "mean", "n"],
    )
    figure = relation_by_run(frame)
    assert titles(figure) == ["all but the target", "all but the top-5"]
    assert lines(figure.axes[1]) == {"one": ([0], [0.25]), "two": ([1], [0.25])}
