"""Shares of the terms, and by the teacher's confidence: autograd's norms, numpy's deciles, bars."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb

from kdanalysis.analyzers.terms.confidence import (
    ShareByConfidence,
    confidence_reading,
    share_by_confidence,
)
from kdanalysis.analyzers.terms.share import TermShare, share_of_terms, share_reading
from kdanalysis.core.partition import TopK
from kdanalysis.losses import DKD, GDKD
from kdanalysis.losses.parts import KDParts
from tests.analyzers.readback import (
    legend_is_above,
    legend_texts,
    lines,
    smallest_font,
    smallest_letters_on_a_page,
)
from tests.analyzers.reference import autograd_gradients, logits, probabilities, targets, top_mass

STUDENT, TEACHER, TARGET = logits(0), logits(1), targets(2)
LOSSES = {"kd": KDParts(TopK(3), 2.0), "gdkd": GDKD(3, (1, 2, 8), 2.0), "dkd": DKD(1, 8, 2.0)}


def expected_shares(student, teacher, target) -> dict[tuple[str, str], np.ndarray]:
    """Share of every term, one entry a sample."""
    norms = {
        term: np.linalg.norm(rows, axis=1)
        for term, rows in autograd_gradients(student, teacher, target, 3, 2.0).items()
    }
    mass = top_mass(teacher, 3, 2.0)
    gdkd = ("high", "low_top", "low_other")
    weighted = {
        "kd": dict(zip(gdkd, (1, mass, 1 - mass), strict=True)),
        "gdkd": dict(zip(gdkd, (1, 2, 8), strict=True)),
        "dkd": {"tckd": 1, "nckd": 8},
    }
    result = {}
    for loss, weights in weighted.items():
        total = sum(w * norms[term] for term, w in weights.items())
        result |= {(loss, term): w * norms[term] / total for term, w in weights.items()}
    return result


def filled(metric, student=STUDENT, teacher=TEACHER, target=TARGET, split: int = 17):
    metric.update(student[:split], teacher[:split], target[:split])
    metric.update(student[split:], teacher[split:], target[split:])
    return metric


def test_shares_agree_with_autograd():
    rows = filled(TermShare(LOSSES)).table()
    expected = {key: s.mean() for key, s in expected_shares(STUDENT, TEACHER, TARGET).items()}
    found = dict(zip(zip(rows.loss, rows.term, strict=True), rows.share, strict=True))
    assert found == pytest.approx(expected)
    assert rows.groupby("loss").share.sum().tolist() == pytest.approx([1, 1, 1])
    assert (rows.n == 60).all()
    spread = [s.std(ddof=1) for s in expected_shares(STUDENT, TEACHER, TARGET).values()]
    assert rows["std"].tolist() == pytest.approx(spread)


def test_a_sample_without_gradient_has_no_share():
    teacher = TEACHER.clone()
    teacher[:5] = STUDENT[:5]
    rows = filled(TermShare(LOSSES), teacher=teacher).table()
    expected = expected_shares(STUDENT[5:], TEACHER[5:], TARGET[5:])
    assert rows.share.tolist() == pytest.approx([s.mean() for s in expected.values()])
    assert (rows.n == 55).all()
    assert (rows.no_gradient == 5).all()


def test_deciles_agree_with_numpy_where_confidences_are_apart():
    # log odds of max p at T = 1 spread evenly, far enough apart for the bins
    odds = torch.linspace(-1.5, 10, 60, dtype=torch.float64)
    teacher = logits(1).sort(-1, descending=True).values
    teacher[:, 0] = odds + teacher[:, 1:].logsumexp(-1)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    teacher = teacher[order]
    rows = filled(ShareByConfidence(LOSSES), teacher=teacher).table()
    confidence = probabilities(teacher, 1.0).max(1)
    tenths = np.array_split(np.argsort(confidence), 10)
    for (loss, term), share in expected_shares(STUDENT, teacher, TARGET).items():
        part = rows[(rows.loss == loss) & (rows.term == term)]
        np.testing.assert_allclose(part.share, [share[i].mean() for i in tenths], rtol=1e-9)
        np.testing.assert_allclose(part["std"], [share[i].std(ddof=1) for i in tenths], rtol=1e-6)
        np.testing.assert_allclose(part.confidence, [confidence[i].mean() for i in tenths])
        assert part.n.tolist() == [6] * 10
        assert part.decile.tolist() == list(range(1, 11))


def test_decile_shares_average_to_the_overall_share():
    by_decile = filled(ShareByConfidence(LOSSES, 4)).table()
    overall = filled(TermShare(LOSSES)).table()
    mass = (by_decile.share.fillna(0) * by_decile.n).groupby([by_decile.loss, by_decile.term])
    expected = overall.set_index(["loss", "term"]).share
    pd.testing.assert_series_equal(mass.sum() / 60, expected.sort_index(), check_names=False)


def test_equal_confidences_stay_in_one_decile():
    teacher = TEACHER[:1].expand(60, -1).clone()
    rows = filled(ShareByConfidence(LOSSES), teacher=teacher).table()
    assert sorted(rows[rows.term == "nckd"].n) == [0] * 9 + [60]


@pytest.mark.parametrize("analyzer", [TermShare, ShareByConfidence])
def test_a_batch_without_finite_rows_gives_nan(analyzer):
    rows = filled(analyzer(LOSSES), student=STUDENT * torch.nan).table()
    assert rows.share.isna().all()
    assert (rows.non_finite == 60).all()


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="need at least one loss, got none"):
        TermShare({})
    with pytest.raises(ValueError, match=r"temperature must lie between 0\.001 and 10000, got -2"):
        ShareByConfidence(LOSSES, -2)
    with pytest.raises(ValueError, match="the batch holds no samples"):
        TermShare(LOSSES).update(STUDENT[:0], TEACHER[:0], TARGET[:0])


def shares(kd: float = 0.1, gdkd: float = 0.6) -> pd.DataFrame:
    rows = [
        ("kd", "high", 1 - kd),
        ("kd", "low_other", kd),
        ("gdkd", "high", 1 - gdkd),
        ("gdkd", "low_other", gdkd),
        ("dkd", "nckd", 1.0),
    ]
    frame = pd.DataFrame(rows, columns=["loss", "term", "share"])
    return frame.assign(std=0.1, n=100, non_finite=2)


def test_bars_stack_to_the_whole():
    ax = share_of_terms(shares())
    bars = [(bar.get_x(), bar.get_width()) for bar in ax.patches]
    expected = [(0, 90), (90, 10), (0, 40), (40, 60), (0, 100)]
    np.testing.assert_allclose(bars, expected)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["kd", "gdkd", "dkd"]
    assert [text.get_text() for text in ax.texts] == ["90", "10", "40", "60", "100"]
    assert legend_texts(ax) == ["high", "low_other", "nckd"]
    assert "2 samples with NaN" in ax.get_xlabel()
    assert smallest_font(ax.figure) >= 9
    assert smallest_letters_on_a_page(ax.figure) >= 9.5
    assert legend_is_above(ax)


def test_every_segment_starts_where_the_last_one_ends():
    rows = [("gdkd", "high", 0.2), ("gdkd", "low_top", 0.3), ("gdkd", "low_other", 0.5)]
    ax = share_of_terms(pd.DataFrame(rows, columns=["loss", "term", "share"]))
    assert [bar.get_x() for bar in ax.patches] == pytest.approx([0, 20, 50])


def test_narrow_segments_carry_no_number():
    ax = share_of_terms(shares(kd=0.02))
    texts = {text.get_text(): text for text in ax.texts if text.get_text()}
    assert list(texts)[:2] == ["98", "2.0"]
    assert texts["2.0"].get_position()[0] > 100  # beyond the bar, in the term's colour
    assert to_rgb(texts["2.0"].get_color()) == to_rgb(ax.patches[1].get_facecolor())


def test_share_sentence_follows_the_table():
    sentence, number = share_reading(shares())
    assert sentence == (
        "low_other is 10.0 % of the gradient in kd, 60.0 % in gdkd (+50.0 ± 2.8 points)."
    )
    assert number == "kd: low_other 10.0 %; gdkd: low_other 60.0 %; dkd: nckd 100.0 %"
    assert "60.0 % in gdkd (\u221210.0 ± 2.8 points)" in share_reading(shares(0.7)).sentence
    silent = shares().assign(share=shares().share.where(shares().loss != "gdkd", 0.0))
    told = "low_other is 10.0 % of the gradient in kd, without a gradient in gdkd."
    assert share_reading(silent).sentence == told
    none = shares().assign(share=0.0)
    assert share_reading(none).sentence == "low_other has no gradient in kd, gdkd."
    assert "cannot be compared" in share_reading(shares().query("loss == 'kd'")).sentence


def by_confidence(kd_last: float = 0.01, gdkd_last: float = 0.5) -> pd.DataFrame:
    deciles = np.arange(1, 11)
    frames = [
        pd.DataFrame(
            {
                "loss": loss,
                "term": term,
                "decile": deciles,
                "confidence": 1 - 10.0 ** -(deciles / 2),
                "share": np.linspace(first, last, 10),
                "std": 0.2,
                "n": 50,
            }
        )
        for loss, term, first, last in (
            ("kd", "low_other", 0.3, kd_last),
            ("kd", "high", 0.7, 1 - kd_last),
            ("gdkd", "low_other", 0.7, gdkd_last),
        )
    ]
    return pd.concat(frames, ignore_index=True).assign(temperature=1.0, non_finite=0)


def test_only_the_non_top_shares_are_drawn_a_panel_a_term():
    cold = by_confidence().query("loss == 'gdkd'").assign(loss="gdkd (T = 1)")
    split = by_confidence().query("loss == 'kd'").assign(loss="kd by target", term="nckd")
    figure = share_by_confidence(pd.concat([by_confidence(), cold, split]))
    left, right = figure.axes
    drawn = lines(left)
    assert list(drawn) == ["kd: 1 %", "gdkd: 50 %", "gdkd (T = 1): 50 %"]
    assert drawn["kd: 1 %"][0] == list(range(1, 11))
    assert drawn["gdkd: 50 %"][1] == pytest.approx(np.linspace(70, 50, 10))
    _, warm, same = left.lines
    assert warm.get_color() == same.get_color()
    assert (warm.get_linestyle(), same.get_linestyle()) == ("-", "--")
    assert right.get_legend().get_title().get_text() == "nckd (number: the surest tenth)"
    ticks = [label.get_text() for label in left.get_xticklabels()]
    assert (ticks[0], ticks[-1]) == ("1\n.68", "10\n≈1")
    assert smallest_font(figure) >= 9


def test_a_decile_without_samples_is_left_out():
    table = by_confidence()
    table.loc[table.decile == 10, "share"] = np.nan
    assert share_by_confidence(table).axes[0].lines[0].get_xdata().tolist() == list(range(1, 10))


def test_confidence_sentence_follows_the_table():
    sentence, number = confidence_reading(by_confidence())
    assert (
        "most confident tenth: seen in kd 30.0 % to 1.0 % (\u221229.0 ± 8.0 points), gdkd"
        in sentence
    )
    assert "gdkd 70.0 % to 50.0 % (\u221220.0 ± 8.0 points)." in sentence
    assert number == "kd: 30.0 % to 1.0 %; gdkd: 70.0 % to 50.0 %"
    sentence, _ = confidence_reading(by_confidence(gdkd_last=0.65))
    assert "; not seen in gdkd 70.0 % to 65.0 % (\u22125.0 ± 8.0 points)." in sentence
    sentence, _ = confidence_reading(by_confidence(gdkd_last=0.9))
    assert "; the opposite is seen in gdkd 70.0 % to 90.0 % (+20.0 ± 8.0 points)." in sentence


def test_a_table_without_relations_is_refused():
    with pytest.raises(ValueError, match="the table has no shares of"):
        share_by_confidence(by_confidence().query("term == 'high'"))
