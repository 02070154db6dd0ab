"""What autograd sent, fitted on the closed forms: how often a term arrived, and what is left."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from toy import Training, batches

from kdanalysis import GDKD, KD, CrossEntropy, Recorder, Store, Sum, every, open_run
from kdanalysis.capture.arrival import fitted, term_ramps
from kdanalysis.studies.facts import run_facts

LOSS = Sum(CrossEntropy(), KD(2.0))
OTHERS = "explained by none of the terms"


def record(path, mine, loss=LOSS, ramp=1.0, steps=4, passes=1, unlabelled=0):
    """Train on a loss of one's own, beside the recorder that is told of another."""
    training = Training()
    sides = {"student": training.student, "teacher": training.teacher}
    options = {"schedule": every(1), "store": Store("float32"), **sides}
    with Recorder(path, loss, **options) as recorder:
        for x, y, index in batches(steps):
            y[:unlabelled] = -100
            student, teacher = training.forward(x)
            recorder.observe(y, index, ramp=ramp)
            value = mine(student, teacher, y)
            for left in reversed(range(passes)):
                value.backward(retain_graph=left > 0)
            training.optimizer.step()
            training.optimizer.zero_grad()
    return open_run(path)


def weighed(**weights):
    """The mean of ce and kd, each so many times."""

    def mine(*problem):
        return sum(weights[name] * value for name, value in LOSS(*problem).items()).mean()

    return mine


def terms(run) -> dict[str, np.ndarray]:
    columns = ("step", "term", "ramp", "arrived", "rest", "count")
    (rows,) = run.batches(columns, 1000, kind="terms")
    return rows


def of(rows, term: str, column: str) -> np.ndarray:
    return rows[column][rows["term"] == term]


def test_a_term_that_arrives_at_a_tenth_of_its_weight_is_found(tmp_path):
    run = record(tmp_path / "run", weighed(ce=1, kd=0.1))
    rows = terms(run)
    np.testing.assert_allclose(of(rows, "ce", "arrived"), 1, atol=1e-4)
    np.testing.assert_allclose(of(rows, "kd", "arrived"), 0.1, atol=1e-4)
    assert rows["rest"].max() < 1e-5
    assert rows["count"].tolist() == [10] * 8
    said = run_facts(run)["sent gradient"]
    assert said.startswith("kd arrives at 0.1 of its weight; the others as declared; ")
    assert said.endswith(OTHERS)


def test_a_term_that_is_not_there_arrives_at_nought(tmp_path):
    said = run_facts(record(tmp_path / "run", weighed(ce=1, kd=0)))["sent gradient"]
    assert said == f"kd arrives at 0 of its weight; the others as declared; 0 of it is {OTHERS}"


def test_terms_that_arrive_at_their_weights_beside_another_loss_are_no_others(tmp_path):
    def more(student, teacher, y):
        return KD(2.0)(student, teacher, y)["kd"].mean() + 0.1 * student.sin().mean()

    run = record(tmp_path / "run", more, KD(2.0))
    assert run_facts(run)["sent gradient"].startswith("kd arrives at its weight; 0.")
    both = record(tmp_path / "both", lambda *x: more(*x) + F.cross_entropy(x[0], x[2]), LOSS)
    assert run_facts(both)["sent gradient"].startswith("all terms arrive at their weights; 0.")


def test_torchs_mean_over_the_rows_with_a_label_is_explained(tmp_path):
    def torchs(student, teacher, y):
        return F.cross_entropy(student, y) + KD(2.0)(student, teacher, y)["kd"].mean()

    told = (
        "ce arrives at 2 of its weight; the others as declared; the declared ce is a mean over all"
    )
    loss = Sum(CrossEntropy(ignore_index=-100), KD(2.0))
    run = record(tmp_path / "run", torchs, loss, unlabelled=5)
    assert run_facts(run)["sent gradient"].startswith(told)
    other = record(tmp_path / "other", weighed(ce=1, kd=0.1), loss)
    assert "torch" not in run_facts(other)["sent gradient"]  # the control


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_a_loss_that_is_scaled_as_a_whole_is_said_in_one(tmp_path, share):
    run = record(tmp_path / "run", weighed(ce=share, kd=share))
    times = "twice" if share == 2 else "0.5 times"
    assert run_facts(run)["sent gradient"].startswith(f"everything arrives {times}; ")


@pytest.mark.filterwarnings("ignore:one loss went backward 2 times")
def test_two_backward_passes_are_everything_twice(tmp_path):
    run = record(tmp_path / "run", weighed(ce=1, kd=1), passes=2)
    assert run_facts(run)["sent gradient"].startswith("everything arrives twice; ")


def test_as_declared_there_is_nothing_to_say(tmp_path):
    run = record(tmp_path / "run", weighed(ce=1, kd=1))
    np.testing.assert_allclose(terms(run)["arrived"], 1, atol=1e-4)
    assert not {"sent gradient", "warm-up"} & run_facts(run).keys()


def test_what_no_term_explains_is_a_share_of_what_was_sent(tmp_path):
    extra = GDKD(k=2)

    def mine(*problem):
        return weighed(ce=1, kd=1)(*problem) + 10 * extra(*problem)["low_other"].mean()

    run = record(tmp_path / "run", mine)
    share = float(run_facts(run)["sent gradient"].split("; ")[-1].split(" ")[0])
    assert 0.1 < share <= 1
    assert share == pytest.approx(np.median(terms(run)["rest"]), rel=0.01)


@pytest.mark.parametrize(
    "fewer", [10, 28]
)  # of 40 steps: the median is not what was declared, or is
def test_a_weight_that_falls_on_the_way_is_said_of_both_ends(tmp_path, fewer):
    taken = iter(range(40))

    def mine(*problem):
        return weighed(ce=1, kd=1 if next(taken) < fewer else 0.25)(*problem)

    run = record(tmp_path / "run", mine, steps=40)
    ends = "1 of its weight in the first captured steps and at 0.25 of its weight in the last"
    assert run_facts(run)["sent gradient"].startswith(f"kd arrives at {ends}; the others as ")


def test_a_temperature_that_falls_late_is_said_of_both_ends(tmp_path):
    taken = iter(range(40))

    def mine(*problem):
        kd = KD(2.0 if next(taken) < 28 else 0.5)(*problem)["kd"]
        return (CrossEntropy()(*problem)["ce"] + kd).mean()

    run = record(tmp_path / "run", mine, steps=40)
    rest = of(terms(run), "kd", "rest")
    assert np.median(rest) < 1e-5 < 0.025 < np.median(rest[-5:])  # the median tells nothing
    said = run_facts(run)["sent gradient"].split("; ")[-1]
    last = f"{np.median(rest[-5:]):.2g}"
    assert said.endswith(f" in the first captured steps and {last} of it in the last is {OTHERS}")


def test_values_that_only_scatter_are_said_by_their_median(tmp_path):
    noise = iter((1 + 0.5 * np.random.default_rng(0).standard_normal(40)).tolist())
    run = record(tmp_path / "run", lambda *p: weighed(ce=1, kd=next(noise))(*p), steps=40)
    said = run_facts(run)["sent gradient"]
    assert re.match(r"kd arrives at [\d.]+ of its weight; the others as declared; ", said)


def test_the_fit_is_that_of_numpy():
    generator = torch.Generator().manual_seed(0)
    a, b, noise = torch.randn(3, 20, 6, generator=generator, dtype=torch.float64)
    sent = 0.3 * a + 1.7 * b + 0.5 * noise
    found = fitted({"a": a, "b": b}, sent, {"a": 1.0, "b": 1.0})
    design = np.stack([a.flatten().numpy(), b.flatten().numpy()], 1)
    expected, (squares,), *_ = np.linalg.lstsq(design, sent.flatten().numpy(), rcond=None)
    assert [found.arrived["a"], found.arrived["b"]] == pytest.approx(expected.tolist())
    assert found.rest == pytest.approx(np.sqrt(squares) / sent.norm().item())


def test_parallel_terms_stay_next_to_one_and_a_term_without_gradient_is_unknown():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(20, 6, generator=generator, dtype=torch.float64)
    closed = {"a": a, "again": a.clone(), "none": torch.zeros_like(a)}
    found = fitted(closed, 2 * a, dict.fromkeys(closed, 1.0))
    assert found.arrived["a"] == pytest.approx(1)
    assert found.arrived["again"] == pytest.approx(1)
    assert np.isnan(found.arrived["none"])
    tripled = fitted(closed, 6 * a, dict.fromkeys(closed, 1.0))
    assert tripled.arrived["a"] == pytest.approx(3)


def test_rows_that_overflowed_are_left_out_and_nothing_sent_is_unknown():
    a = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sent = 0.5 * a
    sent[1] = torch.inf
    found = fitted({"a": a}, sent, {"a": 1.0})
    assert found.arrived["a"] == pytest.approx(0.5)
    assert found.count == 3
    assert fitted({"a": a}, 0 * a, {"a": 1.0}).arrived == {}


def test_the_warm_up_is_stored_for_the_terms_that_it_is_put_on(tmp_path):
    def mine(*problem):
        return sum(LOSS(*problem, 0.25).values()).mean()

    run = record(tmp_path / "run", mine, ramp=0.25)
    rows = terms(run)
    np.testing.assert_allclose(of(rows, "ce", "ramp"), 1)
    np.testing.assert_allclose(of(rows, "kd", "ramp"), 0.25)
    np.testing.assert_allclose(rows["arrived"], 1, atol=1e-3)
    assert run_facts(run)["warm-up"] == "kd 0.25"


def test_a_warm_up_of_zero_is_zero():
    x, y = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sides = x, y, torch.arange(5)
    closed = LOSS.gradients(*sides, ramp=0.0)
    assert term_ramps(LOSS, closed, 0.0, *sides) == pytest.approx({"ce": 1.0, "kd": 0.0})


def test_a_term_without_gradient_is_said_to_be_warmed_up_as_the_loss_is():
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sides = x, x, torch.arange(5)  # the student gives its teacher's logits
    closed = LOSS.gradients(*sides, ramp=0.5)
    assert term_ramps(LOSS, closed, 0.5, *sides) == pytest.approx({"ce": 1.0, "kd": 0.5})


def choose(path) -> None:
    """A step whose loss is computed from every other row, chosen once more for the recorder."""
    training, (x, y, _) = Training(), next(batches(1))
    chosen = torch.arange(10) % 2 == 0
    with Recorder(path, LOSS, student=training.student) as recorder:
        student, teacher = training.forward(x)
        recorder.observe(y[chosen], student=student[chosen], teacher=teacher[chosen])
        training.update(weighed(ce=1, kd=1)(student[chosen], teacher[chosen], y[chosen]))


def test_a_foreign_loss_beside_chosen_rows_is_told_why_it_has_no_residual(tmp_path):
    with pytest.warns(RuntimeWarning, match=r"no residual \(NaN\): .* before backward\(\)"):
        choose(tmp_path / "run")
    said = run_facts(open_run(tmp_path / "run"))["residual"]
    assert said == "NaN in every row: no backward pass came by way of the recorded logits"


def test_a_recorder_called_after_backward_is_told_to_come_before(tmp_path):
    training = Training()
    sides = {"student": training.student, "teacher": training.teacher}
    recorder = Recorder(tmp_path / "run", LOSS, schedule=every(1), **sides)
    for x, y, index in batches(1):
        weighed(ce=1, kd=1)(*training.forward(x), y).backward()
        recorder.observe(y, index)
    weighed(ce=1, kd=1)(*training.forward(x), y).backward()
    with pytest.warns(RuntimeWarning, match=r"call it before backward\(\), not after"):
        recorder.close()


def test_the_very_rows_that_a_loss_is_computed_from_have_one(tmp_path):
    training, (x, y, _) = Training(), next(batches(1))
    with Recorder(tmp_path / "run", LOSS, student=training.student) as recorder:
        student, teacher = training.forward(x)
        some = student[:5]
        recorder.observe(y[:5], student=some, teacher=teacher[:5])
        training.update(weighed(ce=1, kd=1)(some, teacher[:5], y[:5]))
    (rows,) = open_run(tmp_path / "run").batches(("residual",), 100)
    assert rows["residual"].max() < 1e-5
