"""Every noun's picture of several runs shows the rows of each, and leaves out what repeats."""

import pandas as pd

from kdanalysis.analyzers.students.agreement import agreement_by_run
from kdanalysis.analyzers.students.relation_pictures import relation_by_run
from tests.analyzers.readback import lines

RUNS = ("one", "two")


def names(figure) -> list[str]:
    (ax,) = figure.axes
    return [label.get_text() for label in ax.get_yticklabels()]


def values(figure) -> dict[str, list[float]]:
    drawn = lines(figure.axes[0])
    return {run: drawn[run][0] for run in RUNS}


def test_agreement_is_in_percent_and_without_labels_alone():
    frame = pd.DataFrame({"run": RUNS, "step": 0, "n": 5, "agreement": [0.5, 0.25]})
    frame = frame.assign(student_accuracy=float("nan"), teacher_accuracy=float("nan"))
    figure = agreement_by_run(frame)
    assert names(figure) == ["agrees with its teacher"]
    assert values(figure) == {"one": [50], "two": [25]}


def test_relations_are_kendalls_by_notion():
    frame = pd.DataFrame(
        [
            (run, 0, notion, measure, mean + (measure == "order"), 0.5, 25)
            for run in RUNS
            for notion, mean in (("target", 0.5), ("top-5", 0.25))
            for measure in ("kendall", "order")
        ],
        columns=["run", "step", "notion", "measure", "mean", "std", "n"],
    )
    figure = relation_by_run(frame)
    assert names(figure) == ["all but the target", "all but the top-5"]
    assert values(figure) == {"one": [0.5, 0.25], "two": [0.5, 0.25]}
