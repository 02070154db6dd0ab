"""Reading regions: both sides' own grids, evaluation mode meanwhile, one sentence on errors."""

import architectures as zoo
import numpy as np
import pytest
import torch
from torch import nn

from kdanalysis import (
    KD,
    SDD,
    Recorder,
    Regions,
    Side,
    Store,
    every,
    open_run,
    read_regions,
    region_logits,
)


def images(count: int = 3, side: int = 16):
    generator = torch.Generator().manual_seed(0)
    for number in range(count):
        x = torch.randn(4, 3, side, side, generator=generator)
        yield x, torch.arange(4) % zoo.CLASSES, torch.arange(4) + 4 * number


def pair() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return zoo.ShuffleNet().eval(), zoo.ResNet().eval()


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


class Coarse(nn.Module):
    """A map of 2 x 2 positions, whatever the student's has."""

    def __init__(self, classes: int = zoo.CLASSES) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(2)
        self.fc = nn.Linear(6, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.pool(self.conv(x)).mean((2, 3)))


def test_the_columns_are_the_regions_of_both_sides_by_hand():
    teacher, student = pair()
    batches = list(read_regions(images(), teacher, student, (1, 2)))
    for batch, (x, y, ids) in zip(batches, images(), strict=True):
        with torch.no_grad():
            maps = teacher.conv5(x), student.layer4(student.conv1(x))
        for name, values, fc in zip(
            ("teacher_regions", "student_regions"), maps, (teacher.fc, student.fc), strict=True
        ):
            expected = region_logits(values, fc, None, (1, 2)).detach()
            np.testing.assert_allclose(batch[name], expected, atol=2e-5)
        assert batch["target"].tolist() == y.tolist()
        assert batch["sample_id"].tolist() == ids.tolist()


def test_models_run_in_evaluation_mode_and_go_back_to_their_own():
    teacher, student = pair()
    student.train()
    student.layer4.eval()
    before = {name: module.training for name, module in student.named_modules()}
    weights = {name: x.clone() for name, x in student.state_dict().items()}
    reader = read_regions(images(), teacher, student, (1, 2))
    next(reader)
    assert not any(module.training for module in student.modules())
    assert hooks(student)
    reader.close()
    assert {name: module.training for name, module in student.named_modules()} == before
    assert all(torch.equal(x, weights[name]) for name, x in student.state_dict().items())
    assert hooks(student) == hooks(teacher) == 0


def test_grids_may_differ_and_each_is_pooled_on_its_own():
    _, student = pair()
    (batch,) = read_regions(images(1), Coarse(), student, (1, 2))
    assert batch["teacher_regions"].shape == batch["student_regions"].shape == (4, zoo.CLASSES, 5)
    np.testing.assert_allclose(
        batch["teacher_regions"][..., 1:].mean(-1), batch["teacher_regions"][..., 0], atol=1e-5
    )


def test_a_grid_of_tokens_that_is_no_square_is_given(tmp_path):
    """2 x 8 patches, whose number is that of a square."""
    torch.manual_seed(0)
    model, features = zoo.ViT("avg", 0).eval(), []
    model.norm.register_forward_hook(lambda *seen: features.append(seen[2].detach()))
    x, y = torch.randn(4, 3, 8, 32), torch.arange(4)
    wide = Side(model, grid=(2, 8))
    (batch,) = read_regions([(x, y)], wide, wide, (1, 2))
    expected = region_logits(features[0].mT.unflatten(2, (2, 8)), model.head, None, (1, 2)).detach()
    (square,) = read_regions([(x, y)], model, None, (1, 2))
    assert not np.allclose(square["teacher_regions"][..., 1:], expected[..., 1:], atol=1e-2)

    student = zoo.ViT("avg", 0)
    options = {"keep": Regions((1, 2)), "store": Store("float32"), "schedule": every(1)}
    sides = {"student": Side(student, grid=(2, 8)), "teacher": wide}
    with Recorder(tmp_path, SDD(KD(), (1, 2)), **sides, **options) as r:
        model(x)
        student(x)
        r.loss(y).backward()
    run = open_run(tmp_path)
    (kept,) = run.batches(["teacher_regions"], kind="regions")
    (rows,) = run.batches(["residual"], 10)
    assert rows["residual"].max() < 1e-5
    for found in (batch["teacher_regions"], batch["student_regions"], kept["teacher_regions"]):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_grid_without_regions_is_refused(tmp_path):
    with pytest.raises(ValueError, match="the student's map, head or grid is given, but only"):
        Recorder(tmp_path / "run", KD(), student=Side(zoo.ViT(), grid=(4, 4)))


def test_a_teacher_alone_and_batches_without_ids():
    teacher, _ = pair()
    (batch,) = read_regions(((x, y) for x, y, _ in images(1)), teacher)
    assert set(batch) == {"teacher_regions", "target"}


@pytest.mark.parametrize(
    ("teacher", "scales", "message"),
    [
        (Coarse, (1, 2, 4), "the teacher has no such regions: scale 4 asks for 4x4 cells, but"),
        (zoo.VGG, (1, 2), "no spatial map of the teacher was found"),
        (lambda: Coarse(7), (1, 2), "the teacher tells 7 classes apart, the student 5"),
        (zoo.ShuffleNet, (2, 4), r"scales must rise from 1, the whole image, got \(2, 4\)"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_sentence_and_no_hook_stays(teacher, scales, message):
    _, student = pair()
    teacher = teacher()
    with pytest.raises(ValueError, match=message):
        list(read_regions(images(), teacher, student, scales))
    assert hooks(student) == hooks(teacher) == 0


def test_a_head_that_does_not_fit_the_map_is_named():
    student, teacher = pair()
    with pytest.raises(ValueError, match="the teacher has no such regions"):
        list(read_regions(images(), Side(teacher, map="layer4", head="conv1"), student))
