"""Pictures of several runs say what they leave out; runs have one colour on all of a page."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from kdanalysis.analyzers.sweep.gram import CE
from kdanalysis.analyzers.teacher.mass import TopKMass
from kdanalysis.pages.accuracies import accuracy_of_networks, where_of
from kdanalysis.pages.by_run import (
    anatomy_by_run,
    cancellation_by_run,
    layer_conflict_by_run,
    layers_by_run,
    section_of_runs,
    snr_by_run,
)
from kdanalysis.pages.compare_runs import overview
from kdanalysis.pages.explorer import Explorer
from kdanalysis.pages.groups import arranged
from kdanalysis.pages.html import Section
from kdanalysis.studies.opening import open_source


def ratios(signal) -> pd.DataFrame:
    rows = [(run, "fc", term, n) for run in ("kd", "dkd") for term in ("ce", "kd") for n in (4, 8)]
    frame = pd.DataFrame(rows, columns=["run", "layer", "term", "n"])
    return frame.assign(step=frame.n, signal=signal, noise=2.0, snr=1.0)


def test_ratios_of_0_and_below_are_counted_where_they_are_not_drawn():
    assert "not drawn" not in snr_by_run(ratios(1.0)).get_supxlabel()
    below = [1.0, 1.0, -1.0, 1.0, 1.0, 1.0, 0.0, 0.0]  # in one the records' mean is above 0
    told = snr_by_run(ratios(below)).get_supxlabel()
    assert "(not drawn: 1 of 4 that are 0 or below, all noise)" in told
    below[2] = -3.0
    told = snr_by_run(ratios(below)).get_supxlabel()
    assert "(not drawn: 2 of 4 that are 0 or below, all noise)" in told


def test_ratios_have_the_t_interval_of_the_jackknife_over_steps():
    signal, noise = np.array([0.2, 0.5, 0.3, 0.4]), np.array([1.0, 2.0, 1.0, 3.0])
    rows = pd.DataFrame({"run": "kd", "layer": "fc", "term": "ce", "step": range(4), "n": 1})
    figure = snr_by_run(rows.assign(signal=signal, noise=noise, snr=1.0))
    left = [np.log(np.delete(signal, i).sum() / np.delete(noise, i).sum()) for i in range(4)]
    half = stats.t.ppf(0.975, 3) * np.sqrt(3 * np.var(left))
    (segment,) = figure.axes[0].collections[0].get_segments()
    assert segment[:, 0] == pytest.approx(0.2 * np.exp([-half, half]), rel=1e-3)
    assert "signal-to-noise ratio (line: 95 % over captured steps)" in figure.get_supxlabel()


def test_norms_of_cells_have_the_t_interval_of_the_jackknife_over_classes():
    norms, n = np.array([1.0, 2.0, 4.0, 3.0]), np.array([1, 2, 2, 5])
    rows = pd.DataFrame({"run": "kd", "part": "class", "class": range(4), "scale": 2, "n": n})
    rows = rows.assign(case="GT-LT", norm=norms)
    other = rows.assign(part="cell", norm=99.0)
    figure = anatomy_by_run(pd.concat([rows, other, rows.assign(scale=1)]))
    left = [np.average(np.delete(norms, i), weights=np.delete(n, i)) for i in range(4)]
    half = stats.t.ppf(0.975, 3) * np.sqrt(3 * np.var(left))
    (ax,) = figure.axes
    whole = np.average(norms, weights=n)
    assert ax.lines[0].get_xdata().tolist() == pytest.approx([whole])
    (segment,) = ax.collections[0].get_segments()
    assert segment[:, 0] == pytest.approx([whole - half, whole + half], rel=1e-3)
    assert "(line: 95 % over classes)" in figure.get_supxlabel()


def test_what_means_of_cells_keep_has_the_t_interval_over_ten_images_or_more():
    rows = pd.DataFrame({"run": "kd", "scale": 2, "differing": range(5), "ratio": 0.5})
    rows = rows.assign(n=[40, 20, 18, 20, 20], ratio_se=0.02, times=2)
    figure = cancellation_by_run(rows)
    (ax,) = figure.axes
    ends = {x: [] for x in range(5)}
    for path in ax.collections[0].get_paths():
        for x, y in path.vertices:
            ends[round(x)].append(y)
    far = {x: 2 * stats.t.ppf(0.975, n - 1) for x, n in {0: 20, 1: 10, 3: 10, 4: 10}.items()}
    found = {x: (min(y), max(y)) for x, y in ends.items() if y}
    assert found == {x: pytest.approx((50 - y, 50 + y), rel=1e-3) for x, y in far.items()}
    assert "(band: 95 % interval, of 10 images on)" in figure.get_supxlabel()


def of_layers(values, steps=4, **columns) -> pd.DataFrame:
    rows = [(run, step) for run in ("kd", "dkd") for step in range(steps)]
    frame = pd.DataFrame(rows, columns=["run", "step"]).assign(layer="fc", term_a="ce", n=1)
    return frame.assign(**{"term_b": "ce", "norm_a": values, "cosine": values} | columns)


@pytest.mark.parametrize("scale", [np.log, np.positive])
def test_dots_of_layers_have_the_t_interval_of_the_jackknife_over_steps(scale):
    values = np.array([0.2, 0.5, 0.3, 0.4, 0.1, 0.1, 0.2, 0.6])
    log = scale is np.log
    draw = layers_by_run if log else layer_conflict_by_run
    figure = draw(of_layers(values, term_b="ce" if log else "kd", n=[1, 3] * 4))
    assert "(line: 95 % over captured steps)" in figure.get_supxlabel()
    for place, line in enumerate(figure.axes[0].collections):
        mine, n = values[4 * place : 4 * place + 4], np.array([1, 3, 1, 3])
        left = [scale(np.average(np.delete(mine, i), weights=np.delete(n, i))) for i in range(4)]
        half = stats.t.ppf(0.975, 3) * np.sqrt(3 * np.var(left))
        whole = scale(np.average(mine, weights=n))
        ends = [whole - half, whole + half]
        expected = np.exp(ends) if log else ends
        assert line.get_segments()[0][:, 0] == pytest.approx(expected, rel=1e-3)


def test_two_steps_make_no_interval():
    (ax,) = layers_by_run(of_layers([0.1, 0.2, 0.3, 0.4], steps=2)).axes
    assert not any(len(segment) for line in ax.collections for segment in line.get_segments())
    assert [line.get_xdata()[0] for line in ax.lines[:2]] == pytest.approx([0.15, 0.35])


def test_a_run_has_its_colour_in_the_explorer_and_on_the_first_screen():
    gram = pd.DataFrame({"temperature": [1.0], "k": [1], "square_kd": [1.0]})
    gram = gram.assign(**dict.fromkeys(CE, float("nan")))
    names = ("ours", "gdkd.npz", "dkd.npz", "sdd-gdkd", "sdd-nkd", "sdd-kd", "dkd-2")
    runs = dict.fromkeys(names, gram)
    found = {run["name"]: run["colour"] for run in Explorer(runs, 1.0, 1).payload["runs"]}
    table = pd.DataFrame({"network": ["teacher", *runs], "accuracy": 0.5, "n": 100})
    dots = [line for line in accuracy_of_networks(table).lines if line.get_marker() == "o"]
    assert [dot.get_color() for dot in dots[1:]] == list(found.values())
    assert len(set(found.values())) == len(names)


@pytest.mark.parametrize(
    ("epochs", "steps", "where"),
    [
        ([pd.NA], [0], "over all samples"),
        ([1, 2], [0, 10], "over the captured samples of epoch 2"),
        ([pd.NA, pd.NA], [0, 10], "at the last captured step"),
    ],
)
def test_the_first_screen_says_over_which_samples_accuracies_are(epochs, steps, where):
    shares = dict.fromkeys(("agreement", "student_accuracy", "teacher_accuracy"), 0.5)
    table = pd.DataFrame({"step": steps, "epoch": epochs, "n": 10}).assign(**shares)
    table = table.astype({"epoch": "Int64"})
    assert where_of({"": table}) == where


def test_what_may_be_chance_of_accuracies_is_over_the_labelled_rows():
    logits = torch.zeros(2, 3)
    source = open_source({"teacher_logits": logits, "student_logits": logits})
    shares = {"agreement": 0.5, "student_accuracy": 0.25, "teacher_accuracy": 0.5}
    table = pd.DataFrame({"step": [0], "epoch": 0, "labelled": 8, "n": 80}).assign(**shares)
    runs = {name: {"agreement": table} for name in ("kd", "dkd")}
    frame = overview(dict.fromkeys(runs, source), runs)
    assert frame.labelled.tolist() == [8, 8]
    assert frame.chance[0] == pytest.approx(2 * np.sqrt(2 * 0.3 * 0.7 / 10))
    alike = {name: {"agreement": table.drop(columns="labelled")} for name in runs}
    assert "labelled" not in overview(dict.fromkeys(runs, source), alike)


def masses(shift: float) -> pd.DataFrame:
    analyzer = TopKMass(30, (1, 4))
    analyzer.update(torch.linspace(0, 6, 600).view(20, 30).sin() * 5 + shift * torch.arange(30))
    return analyzer.table()


def test_what_is_the_same_of_all_runs_is_said_once():
    one, other = masses(0.0), masses(0.1)
    alike = section_of_runs("mass", {"kd": one, "gdkd": one.copy()})
    (line,) = alike.text.splitlines()
    assert line.startswith("kd, gdkd: That the knee")
    ((_, table),) = alike.tables
    assert table.run.unique().tolist() == ["kd", "gdkd"]
    many = section_of_runs("mass", {f"kd-{seed}": one.copy() for seed in range(9)})
    assert many.text.startswith("kd-0 and 8 others: That the knee")
    lines = section_of_runs("mass", {"kd": one, "gdkd": other}).text.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["kd", "gdkd"]


def test_what_students_say_stands_under_their_name_trained_here_or_not():
    said = [Section(noun, noun) for noun in ("relation", "share", "magnitude")]
    assert [one.group for one in arranged(said)] == ["Losses", "Students", "Students"]
