"""NCKD by confidence: a loop over ranked samples, autograd, and whether the surer half has it."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax

from kdanalysis import DKD
from kdanalysis.analyzers.terms.confidence import short_confidence
from kdanalysis.analyzers.terms.nckd import (
    NCKDByConfidence,
    half_shares,
    nckd_by_confidence,
    nckd_reading,
)
from tests.analyzers.readback import legend_is_beside, legend_texts, lines, smallest_font
from tests.analyzers.reference import autograd_gradients, logits, probabilities, targets

STUDENT, TARGET = logits(0), targets(2)


def spread() -> torch.Tensor:
    """A teacher whose log odds of the label are apart by more than a bin, in random order."""
    odds = torch.linspace(-6, 9, 60, dtype=torch.float64)
    odds = odds[torch.randperm(60, generator=torch.Generator().manual_seed(0))]
    teacher, label = logits(1), TARGET.unsqueeze(-1)
    rest = teacher.scatter(-1, label, -torch.inf).logsumexp(-1)
    return teacher.scatter(-1, label, (odds + rest).unsqueeze(-1))


TEACHER = spread()


def filled(metric, student=STUDENT, teacher=TEACHER, target=TARGET, split: int = 17):
    metric.update(student[:split], teacher[:split], target[:split])
    metric.update(student[split:], teacher[split:], target[split:])
    return metric


def expected(temperature: float) -> dict[str, np.ndarray]:
    """Every quantity of every sample, from probabilities and autograd."""
    p, q = probabilities(TEACHER, temperature), probabilities(STUDENT, temperature)
    values = []
    for one, other, y in zip(p, q, TARGET.tolist(), strict=True):
        one, other = (np.delete(row, y) / np.delete(row, y).sum() for row in (one, other))
        values.append(temperature**2 * (one * np.log(one / other)).sum())
    norms = autograd_gradients(STUDENT, TEACHER, TARGET, 3, temperature)["nckd"]
    norms = np.linalg.norm(norms, axis=1)
    factor = 1 - p[range(60), TARGET]
    confidence = softmax(TEACHER.numpy(), axis=1)[range(60), TARGET]
    return {
        "confidence": confidence,
        "value": np.array(values),
        "norm": norms,
        "kd_value": factor * values,
        "kd_norm": factor * norms,
    }


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize(("part", "parts"), [("tenth", 10), ("half", 2)])
def test_parts_agree_with_a_plain_ranking(part, parts, temperature):
    rows = filled(NCKDByConfidence(temperature)).table()
    rows = rows[rows.part == part]
    samples = expected(temperature)
    ranked = np.array_split(np.argsort(samples["confidence"]), parts)
    for name, of_sample in samples.items():
        np.testing.assert_allclose(rows[name], [of_sample[i].mean() for i in ranked], rtol=1e-9)
    assert rows.place.tolist() == list(range(1, parts + 1))
    assert rows.n.tolist() == [60 // parts] * parts
    assert (rows.temperature == temperature).all()


def test_a_part_begins_between_its_samples_and_those_before():
    rows = filled(NCKDByConfidence()).table()
    confidence = np.sort(expected(4.0)["confidence"])
    for part, parts in (("tenth", 10), ("half", 2)):
        lowest = rows[rows.part == part].lowest.to_numpy()
        starts = np.arange(1, parts) * (60 // parts)
        assert lowest[0] == 0
        odds = np.log(lowest[1:] / (1 - lowest[1:]))
        before = np.log(confidence[starts - 1] / (1 - confidence[starts - 1]))
        np.testing.assert_allclose(odds, before, atol=0.02)  # a bin's width


def test_the_values_are_those_of_the_loss():
    rows = filled(NCKDByConfidence(2)).table().query("part == 'half'")
    values = DKD(1.0, 1.0, 2.0)(STUDENT, TEACHER, TARGET)["nckd"]
    assert (rows.value * rows.n).sum() == pytest.approx(values.sum().item())


def test_equal_samples_stay_in_one_part():
    alike = [x[:1].expand(60, *x.shape[1:]).clone() for x in (STUDENT, TEACHER, TARGET)]
    rows = filled(NCKDByConfidence(), *alike).table()
    assert sorted(rows[rows.part == "tenth"].n) == [0] * 9 + [60]
    assert rows[rows.n == 0].value.isna().all()


def test_two_classes_have_no_relations():
    metric = NCKDByConfidence()
    metric.update(STUDENT[:, :2], TEACHER[:, :2], TARGET % 2)
    rows = metric.table().dropna()
    assert (rows[["value", "norm", "kd_norm"]] == 0).all(axis=None)
    assert rows[rows.part == "half"].n.sum() == 60


def test_without_finite_rows_there_are_no_values():
    rows = filled(NCKDByConfidence(), student=STUDENT * torch.nan).table()
    assert rows[["lowest", "value", "norm", "confidence"]].isna().all(axis=None)
    assert (rows.non_finite == 60).all()


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"temperature must lie between 0\.001 and 10000, got 0"):
        NCKDByConfidence(0)
    with pytest.raises(ValueError, match="target of sample 0 is 12, need an index from 0 to 11"):
        NCKDByConfidence().update(STUDENT, TEACHER, TARGET + 12)


def example(slope: float = 0.2, n: int = 30) -> pd.DataFrame:
    """Value 1 + slope per tenth, norm twice that; KD's falls by a twelfth a tenth."""
    place = np.arange(1, 11)
    value = 1 + slope * place
    tenths = pd.DataFrame({"part": "tenth", "place": place, "value": value, "norm": 2 * value})
    kept = 1 - place / 12
    tenths = tenths.assign(kd_value=value * kept, kd_norm=2 * value * kept)
    tenths = tenths.assign(confidence=place / 10 - 0.05, lowest=place / 10 - 0.1, n=n)
    columns = ["value", "norm", "kd_value", "kd_norm", "confidence"]
    halves = tenths.groupby(tenths.place.gt(5) + 1)[columns].mean().reset_index()
    halves = halves.assign(part="half", lowest=[0.0, 0.5], n=5 * n)
    return pd.concat([tenths, halves], ignore_index=True).assign(
        temperature=4.0, non_finite=0, **{f"{name}_std": 0.1 for name in columns[:4]}
    )


def test_lines_are_the_tables_and_the_legend_holds_the_shares():
    frame = example()
    figure = nckd_by_confidence(frame)
    tenths = frame[frame.part == "tenth"]
    for ax, quantity in zip(figure.axes, ("value", "norm"), strict=True):
        drawn = lines(ax)
        (alone, inside) = drawn
        assert drawn[alone] == (tenths.place.tolist(), tenths[quantity].tolist())
        assert drawn[inside] == (tenths.place.tolist(), tenths["kd_" + quantity].tolist())
        upper = tenths[quantity][5:].sum() / tenths[quantity].sum()
        assert legend_texts(ax)[0] == f"nckd: {100 * upper:.0f} %"
        assert legend_is_beside(ax)
        assert ax.get_ylim()[0] == 0
    assert figure.axes[-1].get_xticklabels()[0].get_text() == "1\n.05"
    assert "nckd at T = 4" in figure.axes[-1].get_xlabel()
    assert smallest_font(figure) >= 9


def test_shares_weigh_the_halves_by_their_samples():
    frame = example(0.0)
    frame.loc[(frame.part == "half") & (frame.place == 2), "n"] = 450
    assert half_shares(frame)["value"].value == pytest.approx(450 / 600)


def test_parts_without_samples_are_not_drawn():
    frame = example()
    empty = (frame.part == "tenth") & (frame.place == 3)
    frame.loc[empty, ["value", "norm", "kd_value", "kd_norm", "confidence"]] = np.nan
    frame.loc[empty, "n"] = 0
    places, _ = next(iter(lines(nckd_by_confidence(frame).axes[0]).values()))
    assert places == [1, 2, 4, 5, 6, 7, 8, 9, 10]


def test_sentence_follows_the_table():
    sentence, number = nckd_reading(example(0.5))
    assert sentence.startswith(
        "That the surer half of the samples holds more of nckd is seen: the samples "
    )
    upper = (1 + 0.5 * np.arange(6, 11)).sum() / (1 + 0.5 * np.arange(1, 11)).sum()
    assert f"a probability above 0.50 hold {100 * upper:.1f} % (" in sentence
    assert number.startswith(f"surer half: {100 * upper:.1f} % (")
    assert "is not seen" in nckd_reading(example(0.0)).sentence
    mixed = example(0.5)
    mixed["norm"] = 1.0
    assert "is not seen" in nckd_reading(mixed).sentence
    assert "is seen not to hold" in nckd_reading(example(-0.05)).sentence
    unsure = example(0.5)
    unsure.loc[(unsure.part == "half") & (unsure.place == 2), "lowest"] = 0.99983
    assert "a probability above 0.99983 hold" in nckd_reading(unsure).sentence


@pytest.mark.parametrize("n", [(0, 1), (1, 1), (1, 2)])
def test_of_a_half_of_one_sample_nothing_is_seen(n):
    frame = example(0.5)
    frame.loc[frame.part == "half", "n"] = n
    frame.loc[frame.n == 1, frame.columns[frame.columns.str.endswith("_std")]] = np.nan
    assert "cannot be tested here" in nckd_reading(frame).sentence


def test_the_interval_of_the_surer_half_is_that_of_a_bootstrap():
    rng = np.random.default_rng(0)
    low, high = rng.exponential(1.0, 400), rng.exponential(1.5, 400)
    frame = example()
    for place, half in ((1, low), (2, high)):
        rows = (frame.part == "half") & (frame.place == place)
        frame.loc[rows, ["value", "value_std", "n"]] = half.mean(), half.std(ddof=1), 400
    found = half_shares(frame)["value"]
    assert found.value == pytest.approx(high.sum() / (low.sum() + high.sum()))
    drawn = [rng.choice(half, (4000, 400)).sum(1) for half in (low, high)]
    ends = np.quantile(drawn[1] / (drawn[0] + drawn[1]), (0.025, 0.975))
    assert (found.low, found.high) == pytest.approx(ends, abs=0.003)


def test_a_term_that_is_zero_everywhere_is_said_to_be():
    flat = example().assign(value=0.0, norm=0.0, kd_value=0.0, kd_norm=0.0)
    assert nckd_reading(flat).sentence.startswith("nckd is 0 for every sample")
    assert nckd_reading(flat).number == "nckd is 0 for every sample"
    assert legend_texts(nckd_by_confidence(flat).axes[0]) == ["nckd", "inside KD"]


@pytest.mark.parametrize(
    ("confidence", "text"),
    [(0.5, ".50"), (0.997, ".997"), (0.99996, "≈1"), (0.003, ".003"), (1e-5, "≈0")],
)
def test_confidences_keep_the_digits_that_tell_them_from_0_and_1(confidence, text):
    assert short_confidence(confidence) == text


def test_accuracies_of_students_have_a_panel_with_their_means():
    accuracy = {"nckd": [0.62, 0.64, 0.63], "nckd sure": [0.65]}
    figure = nckd_by_confidence(example(), accuracy=accuracy)
    *_, below = figure.axes
    assert [label.get_text() for label in below.get_yticklabels()] == list(accuracy)
    rings, mean, one, same = (list(line.get_xdata()) for line in below.lines)
    assert rings == pytest.approx([62, 64, 63])
    assert mean == pytest.approx([63])
    assert one == same == [65]
    (interval,) = below.collections  # of one seed there is none
    ends = interval.get_segments()[0][:, 0]
    assert np.ptp(ends) == pytest.approx(2 * 4.302653 * 1 / np.sqrt(3))
    assert len(nckd_by_confidence(example()).axes) == 2


def test_accuracies_that_are_no_shares_are_refused():
    with pytest.raises(ValueError, match=r"lie in \[0, 1\], those of 'kd' are \[63.0\]"):
        nckd_by_confidence(example(), accuracy={"kd": [63.0]})
    with pytest.raises(ValueError, match="need the accuracies of one student or more"):
        nckd_by_confidence(example(), accuracy={"kd": []})
