"""Targets that are distributions, labels that some rows lack, and heads of sigmoids, recorded."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from toy import Training, batches

import kdanalysis as kd
from kdanalysis.losses import restore_loss


def train(path, loss, targets, own=None, **more) -> dict[str, np.ndarray]:
    """Train three steps, each with the targets made of its labels; ``own`` is a loss by hand."""
    training = Training()
    options = {"schedule": kd.every(1), "store": kd.Store("float32"), **more}
    sides = {"student": training.student, "teacher": training.teacher}
    with kd.Recorder(path, loss, **sides, **options) as recorder:
        for number, (x, y, index) in enumerate(batches(3)):
            student, teacher = training.forward(x)
            if own is None:
                training.update(recorder.loss(targets(y, number), sample_id=index))
            else:
                recorder.observe(targets(y, number), sample_id=index)
                training.update(own(student, teacher, targets(y, number)))
    (rows,) = kd.open_run(path).batches(["target", "residual"], 100)
    return rows


def mixed(y: torch.Tensor, number: int) -> torch.Tensor:
    """As mixup makes them: every second step as they are."""
    hot = F.one_hot(y, 6).float()
    return hot if number == 1 else 0.7 * hot + 0.3 * hot.roll(1, 1)


CE_KD = kd.Sum(kd.CrossEntropy(), kd.KD(), kd.GDKD(k=2))


def by_torch(student, teacher, target):
    p = (teacher / 4).softmax(-1)
    ce = F.cross_entropy(student, target)
    loss = kd.GDKD(k=2)(student, teacher, target)
    return (
        ce
        + 16 * F.kl_div((student / 4).log_softmax(-1), p, reduction="batchmean")
        + sum(loss.values()).mean()
    )


@pytest.mark.parametrize("own", [None, by_torch], ids=["computes", "observes"])
def test_distributions_train_with_a_residual_of_rounding(tmp_path, own):
    rows = train(tmp_path / "run", CE_KD, mixed, own, keep=kd.Layers("logits"))
    assert rows["residual"].max() < 1e-5
    labels = torch.cat([y for _, y, _ in batches(3)]).numpy()
    assert (rows["target"][10:20] == labels[10:20]).all()  # one class alone is a label
    assert (rows["target"][[*range(10), *range(20, 30)]] == -1).all()


def test_control_a_forgotten_part_of_the_distribution_shows(tmp_path):
    def hard(student, teacher, target):
        return by_torch(student, teacher, target.argmax(-1))

    assert np.median(train(tmp_path / "run", CE_KD, mixed, hard)["residual"]) > 0.01


@pytest.mark.parametrize("sums", [1.0, 0.995])
def test_cross_entropy_of_distributions_is_torchs_with_its_gradient(sums):
    student, teacher = torch.randn(2, 8, 6, dtype=torch.float64)
    target = sums * torch.randn(8, 6, dtype=torch.float64).softmax(-1)
    leaf = student.clone().requires_grad_()
    expected = F.cross_entropy(leaf, target, reduction="none")
    loss = kd.CrossEntropy()
    torch.testing.assert_close(loss(student, teacher, target)["ce"], expected.detach())
    (slope,) = torch.autograd.grad(expected.sum(), leaf)
    torch.testing.assert_close(loss.gradients(student, teacher, target)["ce"], slope)


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        (kd.DKD(), "DKD"),
        (kd.Sum(kd.CrossEntropy(), kd.NKD()), "NKD"),
        (kd.LogitStandardized(kd.Sum(kd.KD(), kd.DKD())), "DKD"),
        (kd.Confident(kd.KD()), "Confident"),
    ],
)
def test_a_loss_that_needs_a_label_is_named(tmp_path, loss, name):
    student, teacher = torch.randn(2, 4, 6)
    target, words = torch.full((4, 6), 1 / 6), f"^{name} needs the label .* class index .n,."
    for call in (loss, loss.gradients):
        with pytest.raises(ValueError, match=words):
            call(student, teacher, target)
    recorder = kd.Recorder(tmp_path / "run", loss, schedule=kd.every(1))
    with recorder, pytest.raises(ValueError, match=words):
        recorder.observe(target, student=student, teacher=teacher)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (torch.full((4, 6), 0.5), "sample 0 is no distribution .* adds up to 3 .* several classes"),
        (torch.full((4, 6), torch.nan), "sample 0 is no distribution"),
        (torch.eye(6)[:4] - torch.eye(6)[1:5] + 1 / 6, "smallest entry is -0.8333"),
    ],
)
def test_rows_that_are_no_distribution_are_refused(target, words):
    with pytest.raises(ValueError, match=words):
        kd.CrossEntropy()(torch.randn(4, 6), torch.randn(4, 6), target)


@pytest.mark.parametrize("none", [-100, 999, 0])
def test_rows_without_a_label_teach_by_kd_alone_where_it_is_ignored(tmp_path, none):
    def some(y, number):
        return y.where(torch.arange(10) % 3 > 0, none)

    loss = kd.Sum(kd.CrossEntropy(ignore_index=none), kd.KD())

    def own(student, teacher, target):
        ce = F.cross_entropy(student, target, ignore_index=none, reduction="none")
        p = (teacher / 4).softmax(-1)
        return ce.mean() + 16 * F.kl_div((student / 4).log_softmax(-1), p, reduction="batchmean")

    for name, by_hand in (("computes", None), ("observes", own)):
        rows = train(tmp_path / name, loss, some, by_hand)
        assert rows["residual"].max() < 1e-5
        assert (rows["target"].reshape(3, 10)[:, ::3] == -1).all()
        assert (rows["target"] == -1).mean() < 0.6
    assert restore_loss(repr(loss)).ignore_index == none
    assert kd.parse_loss(f"ce:ignore_index={none}").ignore_index == none


def test_rows_without_a_label_are_refused_by_what_needs_one_and_the_way_is_named(tmp_path):
    student, teacher = torch.randn(2, 5, 6)
    y = torch.tensor([0, 1, -100, 2, 3])
    for loss, way in (
        (kd.CrossEntropy(), r"or give CrossEntropy\(ignore_index=-100\)$"),
        (kd.Sum(kd.CrossEntropy(ignore_index=-100), kd.DKD()), "recorded$"),
    ):
        recorder = kd.Recorder(tmp_path / "run", loss, schedule=kd.every(1))
        with recorder, pytest.raises(ValueError, match=f"sample 2 is -100, .* {way}"):
            recorder.observe(y, student=student, teacher=teacher)


def test_a_multi_label_head_is_recorded_with_a_residual_of_rounding(tmp_path):
    loss = kd.Sum(kd.BinaryCrossEntropy(1 / 6), kd.Sigmoid(2.0, present=1.0, absent=3.0))

    def several(y, number):
        hot = F.one_hot(y, 6).float()
        return (hot + hot.roll(2, 1)).clamp(max=1)

    def own(student, teacher, target):
        p, q = (teacher / 2).sigmoid(), (student / 2).sigmoid()
        split = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
        weight = torch.where(teacher > 0, 1.0, 3.0)
        bce = F.binary_cross_entropy_with_logits(student, target)
        return bce + 4 * (weight * split).sum(-1).mean()

    for name, by_hand in (("computes", None), ("observes", own)):
        rows = train(tmp_path / name, loss, several, by_hand)
        assert rows["residual"].max() < 1e-5
        assert (rows["target"] == -1).all()


def test_a_teacher_sees_another_view_of_the_same_samples(tmp_path):
    training, (x, y, index) = Training(), next(batches(1))
    sides = {"student": training.student, "teacher": training.teacher}
    options = {"schedule": kd.every(1), "store": kd.Store("float32")}
    with kd.Recorder(tmp_path / "run", kd.KD(), **sides, **options) as recorder:
        training.teacher(x.flip(1)), training.student(x)
        training.update(recorder.loss(y, sample_id=index))
    (rows,) = kd.open_run(tmp_path / "run").batches(["teacher_logits", "residual"], 100)
    assert rows["residual"].max() < 1e-5
    np.testing.assert_array_equal(rows["teacher_logits"], training.teacher(x.flip(1)).numpy())
