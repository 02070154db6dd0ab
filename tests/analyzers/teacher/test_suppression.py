"""The histogram of 1 - p agrees with numpy's far into the tail; its curves keep every sample."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit, logit, logsumexp

from kdanalysis.analyzers.teacher.card import TeacherDistribution
from kdanalysis.analyzers.teacher.suppression import (
    BINS,
    Suppression,
    join_teachers,
    rest_odds,
    suppression_reading,
    teachers_reading,
)
from kdanalysis.analyzers.teacher.suppression_pictures import (
    suppression_by_teacher,
    suppression_of_teachers,
)
from tests.analyzers.readback import legend_is_beside, legend_texts, smallest_font
from tests.analyzers.reference import logits, probabilities, targets

TEACHER, TARGET = logits(0, 200), targets(1, 200)


def table(teacher=TEACHER, target=TARGET, temperatures=(1, 4), split: int = 70) -> pd.DataFrame:
    metric = Suppression(12, temperatures, temperatures[-1])
    for rows in (slice(None, split), slice(split, None)):
        metric.update(teacher[rows], None if target is None else target[rows])
    return metric.table()


def exact_odds(teacher: torch.Tensor, index: np.ndarray, temperature: float) -> np.ndarray:
    """log((1 - p) / p), one sample at a time, from sums over the other classes."""
    rows = teacher.numpy() / temperature
    return np.array(
        [logsumexp(np.delete(row, i)) - row[i] for row, i in zip(rows, index, strict=True)]
    )


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("of", ["label", "top"])
def test_counts_and_mean_agree_with_numpy(of, temperature):
    rows = table()
    rows = rows[(rows.of == of) & (rows.temperature == temperature)]
    index = TARGET.numpy() if of == "label" else TEACHER.argmax(1).numpy()
    expected, edges = np.histogram(
        exact_odds(TEACHER, index, temperature), bins=1000, range=(-50, 50)
    )
    assert rows["count"].tolist() == expected[expected > 0].tolist()
    np.testing.assert_allclose(rows.low_log_odds, edges[:-1][expected > 0], atol=1e-9)
    np.testing.assert_allclose(rows.high_log_odds - rows.low_log_odds, BINS.width)
    one = 1 - probabilities(TEACHER, temperature)[range(200), index]
    assert rows["mean"].unique() == pytest.approx(one.mean())
    assert rows.share.sum() == pytest.approx(1)
    assert (rows.n == 200).all()


def test_the_mean_is_the_cards_suppression():
    card = TeacherDistribution(12, (1, 4))
    card.update(TEACHER, TARGET)
    means = table().query("of == 'label'").groupby("temperature")["mean"].first()
    assert means.tolist() == pytest.approx(card.compute()["suppression"].tolist())


def test_without_labels_only_the_top_class_is_there():
    rows = table(target=None)
    assert rows.of.unique().tolist() == ["top"]
    pd.testing.assert_frame_equal(rows, table().query("of == 'top'").reset_index(drop=True))


def test_odds_keep_their_digits_where_one_minus_p_rounds_to_zero():
    sure = torch.tensor([[90.0, 0.0, 0.0]], dtype=torch.float64)
    odds = rest_odds(sure, torch.tensor([0]))
    assert odds.item() == pytest.approx(np.log(2) - 90)
    assert 1 - sure.softmax(-1)[0, 0] == 0  # the control: the plain way has lost it


def test_values_beyond_the_histogram_are_in_its_open_bins():
    far = torch.zeros(3, 12)
    far[:, 0] = torch.tensor([100.0, -100.0, 0.0])
    rows = table(far, torch.zeros(3, dtype=torch.long), (1,), split=1).query("of == 'label'")
    assert rows["count"].tolist() == [1, 1, 1]
    assert rows.low_log_odds.iloc[0] == -np.inf
    assert rows.high_log_odds.iloc[-1] == np.inf


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="need at least 2 classes"):
        Suppression(1)
    with pytest.raises(ValueError, match="target of sample 1 is -1, need an index from 0 to 2"):
        Suppression(3).update(torch.zeros(2, 3), torch.tensor([0, -1]))


NORMAL = np.random.default_rng(0).normal(size=4000)


def example(centre: float, of: str = "label", n: int = 4000, spread: float = 2.0) -> pd.DataFrame:
    """Log odds of 1 - p around ``centre`` at T = 1, nearer 0 at T = 4; bins of 0.1."""
    frames = []
    for temperature, odds in ((1.0, centre + spread * NORMAL[:n]), (4.0, 1 + NORMAL[:n] / 2)):
        counts, edges = np.histogram(odds, bins=1000, range=(-50, 50))
        rows = pd.DataFrame(
            {"low_log_odds": edges[:-1], "high_log_odds": edges[1:], "count": counts}
        )
        mean = expit(odds).mean()
        frames.append(rows[counts > 0].assign(temperature=temperature, mean=mean))
    whole = pd.concat(frames, ignore_index=True)
    return whole.assign(of=of, share=whole["count"] / n, n=n, distilled=1.0, non_finite=0)


def test_curves_are_the_shares_up_to_every_value_the_trainings_temperature_bold():
    frame = example(-1.0)
    ax = suppression_by_teacher(frame)
    trained, warm = ax.lines[:2]
    odds = -1 + 2 * NORMAL
    for place in (10, 40):
        expected = 100 * np.mean(odds < trained.get_xdata()[place])
        assert trained.get_ydata()[place] == pytest.approx(expected)
    for line in (trained, warm):  # also of samples that are all alike
        assert line.get_ydata()[[0, -1]].tolist() == pytest.approx([0, 100])
        assert line.get_xdata()[0] < ax.get_xlim()[0] < ax.get_xlim()[1] < line.get_xdata()[-1]
    assert trained.get_linewidth() > warm.get_linewidth()
    assert trained.get_linestyle() != warm.get_linestyle()
    mean = expit(odds).mean()
    assert legend_texts(ax)[0] == f"T = 1: {mean:.2g}"
    assert legend_is_beside(ax)
    assert smallest_font(ax.figure) >= 9


@pytest.mark.parametrize(("centre", "spread"), [(-1.0, 2.0), (-20.0, 8.0), (0.0, 0.1)])
def test_the_axis_is_marked_in_probabilities_that_do_not_overlap(centre, spread):
    ax = suppression_by_teacher(example(centre, spread=spread))
    ax.figure.canvas.draw()
    marks = {float(t.get_text().replace("\u2212", "-")): t for t in ax.get_xticklabels()}
    assert list(ax.get_xticks()) == pytest.approx([logit(mark) for mark in marks])
    boxes = sorted((t.get_window_extent() for t in marks.values()), key=lambda box: box.x0)
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))


def test_teachers_over_other_samples_are_not_told_apart_as_if_over_the_same():
    small, wide = example(1.0), example(-3.0)
    told = suppression_reading(join_teachers({"small": small, "wide": wide})).sentence
    assert "samples are not the same" not in told
    fewer = wide.assign(n=wide.n - 1)
    told = suppression_reading(join_teachers({"small": small, "wide": fewer})).sentence
    assert "Their samples are not the same, which alone may do it." in told


def test_teachers_are_curves_of_one_figure():
    joined = join_teachers({"small": example(1.0), "wide $net$": example(-3.0)})
    ax = suppression_by_teacher(joined)
    names = [text.rpartition(": ")[0] for text in legend_texts(ax)]
    assert names == [f"{n}: T = {t}" for n in ("small", "wide $net$") for t in (1, 4)]
    small, _, wide, _ = ax.lines[:4]
    assert small.get_color() != wide.get_color()
    sentence = suppression_reading(joined).sentence
    assert sentence.index("wide $net$ 0.") < sentence.index("small 0.")
    rows = {name: part[part.temperature == part.distilled] for name, part in joined.groupby("name")}
    middles = {n: expit((r.low_log_odds + r.high_log_odds) / 2) for n, r in rows.items()}
    errors = {
        n: np.cov(x, fweights=rows[n]["count"]) / rows[n].n.iloc[0] for n, x in middles.items()
    }
    gap = rows["small"]["mean"].iloc[0] - rows["wide $net$"]["mean"].iloc[0]
    assert f"as teacher than with small is seen: by {gap:.3g} ± 0." in sentence
    half = float(sentence.rpartition(" ± ")[2].partition(". ")[0])
    error = np.sqrt(sum(errors.values()))
    assert half == pytest.approx(1.96 * error, rel=0.05)
    three = join_teachers({"a": example(1.0), "b": example(-3.0), "c": example(-1.0)})
    told = suppression_reading(three).sentence.partition(" ± ")[2]
    assert float(told.partition(",")[0]) == pytest.approx(2.394 * error, rel=0.05)
    assert ", 95 % for all 3 pairs together. " in told
    again = suppression_reading(
        join_teachers({"small": example(1.0), "too": example(1.0)})
    ).sentence
    assert "is not seen: by 0.000 ± " in again
    assert suppression_reading(joined).number.count("T = 1") == 2
    tables = dict(tuple(joined.drop(columns="name").groupby(joined.name, sort=False)))
    assert teachers_reading(tables).sentence == sentence
    assert teachers_reading(tables).number == suppression_reading(joined).number
    assert len(suppression_of_teachers(tables).lines) == 5
    with pytest.raises(ValueError, match="at least one teacher, got none"):
        join_teachers({})


def test_the_label_counts_where_all_teachers_have_one():
    both = pd.concat([example(-3.0, "top"), example(1.0)])
    assert "1 \u2212 p of the label" in suppression_reading(both).sentence
    mixed = join_teachers({"both": both, "bare": example(-3.0, "top")})
    assert "for lack of labels" in suppression_by_teacher(mixed).get_xlabel()
    assert len(suppression_by_teacher(mixed).lines) == 5


def test_the_sentence_leads_with_the_trainings_temperature():
    warm = example(-1.0).assign(distilled=4.0)
    sentence = suppression_reading(warm).sentence
    assert sentence.index("at T = 4") < sentence.index("at T = 1")
    below = float(sentence.split("at T = 1 and below 0.1 for ")[1].split()[0])
    assert below == pytest.approx(100 * (expit(-1 + 2 * NORMAL) < 0.1).mean(), abs=0.2)
    number = suppression_reading(example(-1.0)).number
    assert number.startswith(f"T = 1: mean {expit(-1 + 2 * NORMAL).mean():.2g}")


def test_a_teacher_that_runs_share_is_read_and_drawn_once():
    found = table()
    shared = {"kd": found, "dkd": found.copy()}
    told = teachers_reading(shared)
    assert told.sentence == f"kd, dkd have one teacher. {suppression_reading(found).sentence}"
    many = teachers_reading(dict.fromkeys("abcdef", found)).sentence
    assert many.startswith("All 6 have one teacher.")
    assert told.number == suppression_reading(found).number
    alone = suppression_by_teacher(found)
    assert len(suppression_of_teachers(shared).lines) == len(alone.lines)
    other = {"kd": found, "dkd": found.assign(mean=found["mean"] / 2)}
    assert "with dkd as teacher than with kd" in teachers_reading(other).sentence
