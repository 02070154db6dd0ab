"""Training with SDD through the recorder: its loss, what it stores, and the residual in the map."""

import gc

import architectures as zoo
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdanalysis import (
    DKD,
    KD,
    SDD,
    CrossEntropy,
    Layers,
    Recorder,
    Scaling,
    Side,
    Store,
    Sum,
    every,
    open_run,
    region_logits,
)

SCALES = (1, 2, 4)
LOSS = Sum(CrossEntropy(), SDD(DKD(), SCALES, 3.0, "correctness"))


def pair(student=zoo.ResNet, teacher=zoo.ShuffleNet) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    sides = {"student": student(), "teacher": teacher().eval().requires_grad_(False)}
    with torch.no_grad():
        sides["teacher"](torch.randn(64, 3, 16, 16))
    return sides


def batches(count: int, size: int = 8, side: int = 16):
    generator = torch.Generator().manual_seed(1)
    for number in range(count):
        x = 3 * torch.randn(size, 3, side, side, generator=generator)
        y = torch.randint(zoo.CLASSES, (size,), generator=generator)
        yield x, y, torch.arange(number * size, (number + 1) * size)


def rows(path) -> dict[str, np.ndarray]:
    columns = ("step", "sample_id", "target", "teacher_logits", "student_logits", "residual")
    (found,) = open_run(path).batches(columns, 100_000)
    return found


def by_hand(sides: dict, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Region logits of both sides from their parts, without any hook."""
    student, teacher = sides["student"], sides["teacher"]
    ours, theirs = student.layer4(student.conv1(x)), teacher.conv5(x)
    regions = region_logits(ours, student.fc.weight, student.fc.bias, SCALES)
    return regions, region_logits(theirs, teacher.fc.weight, teacher.fc.bias, SCALES)


def train(
    path, sides, mine=None, steps=3, loss=LOSS, divide=1, side=16, half=False, names=None, **options
):
    """Train with the recorder's loss, or with ``mine`` while it only observes."""
    values, options = [], {"schedule": every(1), "store": Store("float32")} | options
    optimizer = torch.optim.SGD(sides["student"].parameters(), lr=0.01)
    places = {name: Side(model, **(names or {}).get(name, {})) for name, model in sides.items()}
    with Recorder(path, loss, **places, **options) as recorder:
        for x, y, index in batches(steps, side=side):
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                with torch.no_grad():
                    sides["teacher"](x)
                logits = sides["student"](x)
                if mine is None:
                    value = recorder.loss(y, sample_id=index)
                else:
                    value = mine(sides, logits, x, y)
                    recorder.observe(y, sample_id=index)
            (value / divide).backward()
            optimizer.step()
            optimizer.zero_grad()
            values.append(value.detach())
    return values


def test_the_recorders_loss_is_sdd_on_the_regions_of_both_sides(tmp_path):
    sides = pair()
    x, y, _ = next(batches(1))
    with Recorder(tmp_path / "run", LOSS, **sides) as recorder:
        logits, _ = sides["student"](x), sides["teacher"](x)
        value = recorder.loss(y, ramp=0.25)
    sides["student"].train()
    regions, theirs = by_hand(sides, x)
    terms = SDD(DKD(), SCALES, 3.0, "correctness")(regions, theirs, y, 0.25)
    expected = sum(terms.values()).mean() + F.cross_entropy(logits, y)
    torch.testing.assert_close(value, expected)
    gradients = []
    for loss in (value, expected):
        gradients.append(
            torch.autograd.grad(loss, sides["student"].parameters(), retain_graph=True)
        )
    for ours, hand in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, hand, rtol=1e-4, atol=1e-6)


def test_the_global_logits_are_stored_and_the_residual_is_small(tmp_path):
    sides = pair()
    values = train(tmp_path / "run", sides)
    found, info = rows(tmp_path / "run"), open_run(tmp_path / "run").info
    assert found["student_logits"].shape == (24, zoo.CLASSES)
    assert found["residual"].max() < 1e-5
    assert info.loss == repr(LOSS)
    assert "complementary/nckd" in info.terms
    again = pair()
    x = next(batches(1))[0]
    student, teacher = again["student"](x), again["teacher"](x)
    np.testing.assert_array_equal(found["student_logits"][:8], student.detach().numpy())
    np.testing.assert_allclose(found["teacher_logits"][:8], teacher.numpy(), atol=1e-6)
    assert float(values[0]) > 0


def own(seen, sides, logits, x, y, loss=LOSS, detach=False):
    """The user's own SDD on the map that the model's pass gave, taken by a hook of their own."""
    regions = region_logits(seen.pop(), sides["student"].fc, None, SCALES)
    cells = regions[..., 1:].detach() if detach else regions[..., 1:]
    regions = torch.cat((logits.unsqueeze(-1), cells), -1)
    _, theirs = by_hand(sides, x)
    return sum(loss(regions, theirs, y).values()).mean()


def observe(path, **changed):
    sides, seen = pair(), []
    sides["student"].layer4.register_forward_hook(lambda *call: seen.append(call[2]))
    train(path, sides, lambda *step: own(seen, *step, **changed))
    return rows(path)["residual"]


def test_the_residual_of_a_loss_of_the_users_own_is_small_where_it_is_the_same(tmp_path):
    assert observe(tmp_path / "run").max() < 1e-5


@pytest.mark.parametrize(
    "changed",
    [
        {"loss": Sum(CrossEntropy(), SDD(DKD(), SCALES, 1.0, "correctness"))},
        {"loss": Sum(CrossEntropy(), SDD(DKD(), SCALES, 3.0, "class"))},
        {"loss": Sum(CrossEntropy(), SDD(DKD(), SCALES, 3.0, "correctness", "sum"))},
        {"loss": SDD(DKD(), SCALES, 3.0, "correctness")},
        {"detach": True},
    ],
    ids=["weight", "split", "reduction", "forgotten term", "detached cells"],
)
def test_a_loss_that_is_not_what_it_seems_shows_as_a_residual(tmp_path, changed):
    residual = observe(tmp_path / "run", **changed)
    assert residual.max() > 0.05
    assert not np.isnan(residual).any()


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        (zoo.ViT, zoo.ResNet),
        (zoo.DenseNet, lambda: zoo.ViT("avg")),
        (lambda: zoo.TimmNet(zoo.ClassifierHead(True), channels_last=True), zoo.ConvNeXt),
        (zoo.PooledConvolution, zoo.SqueezeNet),
    ],
    ids=["vit", "densenet", "channels last", "1x1 convolution"],
)
def test_any_pair_of_architectures_trains_with_a_small_residual(tmp_path, student, teacher):
    sides = pair(student, teacher)
    train(tmp_path / "run", sides)
    assert rows(tmp_path / "run")["residual"].max() < 1e-5


def test_teacher_and_student_may_have_different_grids(tmp_path):
    sides = pair(lambda: nn.Sequential(nn.AvgPool2d(2), zoo.ResNet()))
    train(tmp_path / "run", sides, side=32)  # 4x4 against 8x8 positions
    assert rows(tmp_path / "run")["residual"].max() < 1e-5


def test_where_the_closed_form_does_not_hold_the_residual_is_unknown(tmp_path):
    train(tmp_path / "convnext", pair(zoo.ConvNeXt))  # a norm after the pool
    assert np.isnan(rows(tmp_path / "convnext")["residual"]).all()
    train(tmp_path / "dropout", pair(lambda: zoo.MobileNet(0.5)))
    assert np.isnan(rows(tmp_path / "dropout")["residual"]).all()
    train(tmp_path / "control", pair(lambda: zoo.MobileNet(0.0)))
    assert rows(tmp_path / "control")["residual"].max() < 1e-5


def test_rows_accumulation_and_scaling_are_taken_into_account(tmp_path):
    train(tmp_path / "rows", pair(), max_rows=3)
    assert len(rows(tmp_path / "rows")["residual"]) == 9
    assert rows(tmp_path / "rows")["residual"].max() < 1e-5
    train(tmp_path / "divided", pair(), divide=4, scaling=Scaling(accumulate=4))
    assert rows(tmp_path / "divided")["residual"].max() < 1e-5


def test_half_precision_keeps_the_residual_near_zero(tmp_path):
    train(tmp_path / "run", pair(), half=True)
    assert rows(tmp_path / "run")["residual"].max() < 3e-2


@pytest.mark.parametrize("watches", [False, True], ids=["computes", "observes"])
def test_gradients_in_layers_go_through_the_cells_as_well(tmp_path, watches):
    sides = pair()
    x, y, _ = next(batches(1))
    layers = {"fc": sides["student"].fc, "layer4.0": sides["student"].layer4[0]}
    options = {"schedule": every(1), "keep": Layers(*layers, noise=False), **sides}
    with Recorder(tmp_path / "run", LOSS, **options) as recorder:
        sides["student"](x), sides["teacher"](x)
        recorder.observe(y) if watches else recorder.loss(y)
    values = LOSS(*by_hand(sides, x), y)
    for name, layer in layers.items():
        flat = {
            term: torch.cat([g.flatten() for g in torch.autograd.grad(
                value.mean(), list(layer.parameters()), retain_graph=True
            )])
            for term, value in values.items()
        }  # fmt: skip
        (batch,) = open_run(tmp_path / "run").batches(batch_size=100_000, kind="layers")
        rows = zip(*(batch[key] for key in ("layer", "term_a", "term_b", "dot")), strict=True)
        found = {(a, b): dot for where, a, b, dot in rows if where == name}
        assert len(found) == len(LOSS.terms) ** 2
        for (a, b), dot in found.items():
            expected = float(flat[a].double() @ flat[b].double())
            scale = float(flat[a].norm() * flat[b].norm())
            assert dot == pytest.approx(expected, abs=1e-4 * scale)


def test_layers_are_not_observed_through_a_head_that_would_have_to_run(tmp_path):
    sides = pair(zoo.ConvNeXt)
    x, y, _ = next(batches(1))
    options = {"schedule": every(1), "keep": Layers("features"), **sides}
    with Recorder(tmp_path / "run", LOSS, **options) as recorder:
        sides["student"](x), sides["teacher"](x)
        with pytest.raises(RuntimeError, match="let the recorder compute the loss"):
            recorder.observe(y)
        sides["student"](x), sides["teacher"](x)
        recorder.loss(y)  # the control


def test_region_logits_may_be_given(tmp_path):
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 8, 5, 21, generator=generator)
    student.requires_grad_()
    y = torch.arange(8) % 5
    with Recorder(tmp_path / "run", LOSS, schedule=every(1), store=Store("float32")) as recorder:
        recorder.loss(y, student=student, teacher=teacher).backward()
    found = rows(tmp_path / "run")
    np.testing.assert_array_equal(found["teacher_logits"], teacher[..., 0].numpy())
    assert found["residual"].max() < 1e-5


def test_a_row_with_nan_has_no_residual_and_the_others_have(tmp_path):
    student, teacher = torch.randn(2, 8, 5, 21, generator=torch.Generator().manual_seed(0))
    y, shown = torch.arange(8) % 5, teacher.clone()
    shown[2, 1, 7] = float("nan")
    student.requires_grad_()
    with Recorder(tmp_path / "run", LOSS, schedule=every(1), store=Store("float32")) as recorder:
        recorder.observe(y, student=student, teacher=shown)
        student.backward(sum(LOSS.gradients(student, teacher, y).values()) / 8)
    residual = rows(tmp_path / "run")["residual"]
    assert np.isnan(residual).tolist() == [row == 2 for row in range(8)]
    assert np.nanmax(residual) < 1e-5


def test_observing_regions_changes_nothing(tmp_path):
    """Not even with dropout in a head of several layers, which looking must not run."""
    for name, make in (("mlp", lambda: zoo.MobileNetV3(0.5)), ("linear", zoo.MobileNet)):
        states = []
        for watches in (False, True):
            sides = pair(make)
            torch.manual_seed(3)
            optimizer = torch.optim.SGD(sides["student"].parameters(), lr=0.1)
            options = {"schedule": every(1), **sides}
            recorder = Recorder(tmp_path / name, LOSS, **options) if watches else None
            for x, y, _ in batches(4):
                logits, _ = sides["student"](x), sides["teacher"](x)
                if recorder is not None:
                    recorder.observe(y)
                F.cross_entropy(logits, y).backward()
                optimizer.step()
                optimizer.zero_grad()
            if recorder is not None:
                recorder.close()
            states.append([*sides["student"].state_dict().values(), torch.get_rng_state()])
        assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


def hooks(model: nn.Module) -> int:
    modules = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    return modules + sum(len(p._post_accumulate_grad_hooks or ()) for p in model.parameters())


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_no_hook_is_left_after_success_bad_input_or_an_exception(tmp_path, error):
    sides = pair()
    x, y, _ = next(batches(1))

    def run() -> None:
        with Recorder(tmp_path / "run", LOSS, schedule=every(1), **sides) as recorder:
            assert hooks(sides["student"]) > 2  # the control
            sides["student"](x), sides["teacher"](x)
            loss = recorder.loss(y)
            if error is not None:
                raise error
            loss.backward()

    if error is None:
        run()
    else:
        with pytest.raises(error):
            run()
    assert hooks(sides["student"]) == hooks(sides["teacher"]) == 0


def test_an_exception_in_forward_leaves_no_hook(tmp_path):
    sides = pair()
    with (
        pytest.raises(RuntimeError, match="expected input"),
        Recorder(tmp_path / "run", LOSS, **sides),
    ):
        sides["student"](torch.zeros(2, 4, 16, 16))
    assert hooks(sides["student"]) == hooks(sides["teacher"]) == 0


def test_a_bad_name_on_one_side_leaves_no_hook_on_the_other(tmp_path):
    sides = pair()
    with pytest.raises(ValueError, match="the teacher has no layer 'layer9'"):
        Recorder(
            tmp_path / "run", LOSS, **sides | {"teacher": Side(sides["teacher"], map="layer9")}
        )
    assert hooks(sides["student"]) == hooks(sides["teacher"]) == 0


def test_a_target_that_is_no_class_leaves_no_hook_on_a_parameter(tmp_path):
    sides = pair()
    x, y, _ = next(batches(1))
    with Recorder(tmp_path / "run", SDD(KD()), schedule=every(1), **sides) as recorder:
        sides["student"](x), sides["teacher"](x)
        with pytest.raises(ValueError, match="target of sample 0 is 9"):
            recorder.observe(y * 0 + 9)
    assert hooks(sides["student"]) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": SDD(KD(), (1, 2, 8))}, "the student has no such regions: scale 8 asks for 8x8"),
        ({"teacher": lambda: zoo.ViT("token", 3)}, "the teacher has no such regions: 19 tokens"),
        ({"teacher": zoo.VGG}, "no spatial map of the teacher was found"),
        (
            {"loss": KD(), "names": {"student": {"map": "layer4"}}},
            "only regions, recorded or distilled",
        ),
        (
            {"names": {"student": {"map": "layer4", "head": "conv1"}}},
            "the student has no such regions",
        ),
    ],
)
def test_bad_use_is_answered_in_one_sentence(tmp_path, change, message):
    sides = pair(teacher=change.pop("teacher", zoo.ShuffleNet))
    with pytest.raises(ValueError, match=message):
        train(tmp_path / "run", sides, **change)
    assert hooks(sides["student"]) == hooks(sides["teacher"]) == 0


def test_logits_given_where_regions_are_needed_are_refused(tmp_path):
    logits, y = torch.randn(8, 5), torch.arange(8) % 5
    with (
        Recorder(tmp_path / "run", LOSS) as recorder,
        pytest.raises(ValueError, match=r"are needed here, but the student's are \(8, 5\)"),
    ):
        recorder.loss(y, student=logits, teacher=logits)


def test_a_validation_pass_does_not_take_the_training_passs_place(tmp_path):
    sides = pair()
    x, y, _ = next(batches(1))
    with Recorder(tmp_path / "run", LOSS, schedule=every(1), **sides) as recorder:
        sides["teacher"](x)
        sides["student"](x)
        with torch.no_grad():
            sides["student"](0 * x)
        recorder.loss(y).backward()
    assert rows(tmp_path / "run")["residual"].max() < 1e-5


def test_no_graph_is_kept_once_a_step_is_over(tmp_path):
    train(tmp_path / "run", pair(), steps=10)
    gc.collect()
    alive = [x for x in gc.get_objects() if type(x) is torch.Tensor and x.grad_fn is not None]
    assert len(alive) <= 2


def test_a_named_map_and_head_serve_the_recorder(tmp_path):
    names = {"student": {"map": "layer4", "head": "fc"}, "teacher": {"map": "conv5", "head": "fc"}}
    one = train(tmp_path / "named", pair(), names=names)
    two = train(tmp_path / "found", pair())
    assert [float(x) for x in one] == [float(x) for x in two]
    assert rows(tmp_path / "named")["residual"].max() < 1e-5
