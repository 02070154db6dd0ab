"""Region logits kept beside the logits of a run: whose, of which rows, how large on the disk."""

import architectures as zoo
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdanalysis import (
    DKD,
    KD,
    SDD,
    Blockwise,
    CrossEntropy,
    Recorder,
    Regions,
    Store,
    Sum,
    every,
    open_run,
    region_bytes,
    region_logits,
)
from kdanalysis.store.schema import read_cells

SIDES = ("teacher_regions", "student_regions")
ALL = ("step", "epoch", "sample_id", "target", *SIDES)
LOSS = Sum(CrossEntropy(), SDD(DKD(), (1, 2)))


def pair() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {"student": zoo.ResNet().eval(), "teacher": zoo.ShuffleNet().eval()}


def images(step: int, size: int = 8):
    generator = torch.Generator().manual_seed(step)
    x = 3 * torch.randn(size, 3, 16, 16, generator=generator)
    return x, torch.randint(zoo.CLASSES, (size,), generator=generator)


def record(path, sides, loss, steps=3, observe=False, **options):
    """Record batches whose sample ids are step * 100 + row; nothing is trained."""
    options = {"schedule": every(1), "store": Store("float32"), "keep": Regions((1, 2))} | options
    with Recorder(path, loss, **sides, **options) as recorder:
        for step in range(steps):
            recorder.epoch = step // 2
            x, y = images(step)
            sides["teacher"](x), sides["student"](x)
            (recorder.observe if observe else recorder.loss)(y, torch.arange(8) + 100 * step)
    return open_run(path)


def read(run) -> dict[str, np.ndarray]:
    batches = list(run.batches(ALL, kind="regions"))
    return {name: np.concatenate([batch[name] for batch in batches]) for name in ALL}


@torch.no_grad()
def by_hand(sides, step, scales):
    """Region logits of both sides from their parts, without any hook."""
    (x, y), student, teacher = images(step), sides["student"], sides["teacher"]
    maps = teacher.conv5(x), student.layer4(student.conv1(x))
    read = zip(SIDES, maps, (teacher.fc, student.fc), strict=True)
    return y, {name: region_logits(values, head, None, scales) for name, values, head in read}


@pytest.mark.parametrize("observe", [False, True])
@pytest.mark.parametrize(
    ("loss", "scales"), [(KD(), (1, 2)), (LOSS, (1, 2)), (LOSS, (1, 2, 4)), (CrossEntropy(), (1,))]
)
def test_kept_regions_are_those_of_the_rows_they_name(tmp_path, loss, scales, observe):
    sides = pair()
    run = record(tmp_path / "run", sides, loss, keep=Regions(scales, 5), observe=observe)
    found = read(run)
    assert run.info.scales == scales
    assert found["step"].tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert found["epoch"].tolist() == [0] * 10 + [1] * 5
    for row in range(15):
        step, place = divmod(int(found["sample_id"][row]), 100)
        y, expected = by_hand(sides, step, scales)
        assert (step, y[place]) == (found["step"][row], found["target"][row])
        for name in SIDES:
            np.testing.assert_allclose(found[name][row], expected[name][place], atol=2e-5)


def test_rows_differ_from_step_to_step_and_are_among_those_captured(tmp_path):
    run = record(tmp_path / "run", pair(), KD(), 12, max_rows=6, keep=Regions((1, 2), 3))
    found = read(run)
    (samples,) = run.batches(["sample_id"])
    assert set(found["sample_id"]) < set(samples["sample_id"])
    places = (found["sample_id"] % 100).reshape(12, 3)
    assert len(np.unique(places, axis=0)) > 6
    assert (np.diff(places) > 0).all()


def test_the_run_holds_what_it_would_without_regions(tmp_path):
    columns = ("step", "sample_id", "target", "student_logits", "teacher_logits")
    runs = [
        record(tmp_path / name, pair(), LOSS, keep=keep)
        for name, keep in (("bare", ()), ("kept", Regions((1, 2))))
    ]
    (one,), (two,) = (run.batches(columns) for run in runs)
    for name in columns:
        np.testing.assert_array_equal(one[name], two[name])
    assert runs[0].columns_of("regions") == ()


def test_logits_that_were_changed_in_place_afterwards_are_kept_as_they_were(tmp_path):
    sides = pair()
    with Recorder(
        tmp_path / "run", KD(), **sides, keep=Regions((1,)), store=Store("float32")
    ) as recorder:
        x, y = images(0)
        with torch.no_grad():
            sides["teacher"](x)
            sides["student"](x).zero_()
            recorder.observe(y)
    found = read(open_run(tmp_path / "run"))
    _, expected = by_hand(sides, 0, (1,))
    np.testing.assert_allclose(found["student_regions"], expected["student_regions"], atol=2e-5)


def test_regions_under_autocast_are_kept_in_full_precision_of_what_the_models_gave(tmp_path):
    sides = pair()
    with Recorder(
        tmp_path / "run", LOSS, **sides, keep=Regions((1, 2)), store=Store("same")
    ) as recorder:
        x, y = images(0)
        with torch.autocast("cpu", torch.bfloat16):
            sides["teacher"](x), sides["student"](x)
            recorder.loss(y)
    found = read(open_run(tmp_path / "run"))
    _, expected = by_hand(sides, 0, (1, 2))
    for name in SIDES:
        assert found[name].dtype == np.float32
        scale = float(expected[name].abs().max())
        np.testing.assert_allclose(found[name], expected[name], atol=0.03 * scale)


def test_regions_given_by_hand_are_kept(tmp_path):
    given = torch.randn(2, 8, 5, 5)
    with Recorder(
        tmp_path / "run", SDD(KD(), (1, 2)), keep=Regions((1, 2)), store=Store("same")
    ) as recorder:
        recorder.loss(torch.arange(8) % 5, student=given[0], teacher=given[1].bfloat16())
    found = read(open_run(tmp_path / "run"))
    np.testing.assert_array_equal(found["student_regions"], given[0])
    np.testing.assert_array_equal(found["teacher_regions"], given[1].bfloat16().float())


def test_the_announced_size_is_that_of_the_cells_on_the_disk(tmp_path):
    run = record(tmp_path / "run", pair(), KD(), 40, store=Store(), keep=Regions((1, 2), 8))
    announced = region_bytes(40 * 8, zoo.CLASSES, (1, 2))
    assert announced == 40 * 8 * 2 * zoo.CLASSES * 5 * 2
    on_disk = sum(part.stat().st_size for part in (run.path / "regions").rglob("*.parquet"))
    assert announced < on_disk < announced + 12_000  # footer, and the columns that name a row
    assert region_bytes(1, 100, (1, 2, 4), "float64") == 2 * 100 * 21 * 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keep": Regions((1, 8))}, "the student has no such regions: scale 8 asks for 8x8"),
    ],
)
def test_what_cannot_be_kept_is_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        record(tmp_path / "run", pair(), KD(), **change)


def test_given_regions_of_other_scales_are_refused(tmp_path):
    given = torch.randn(8, 5, 5)
    with Recorder(tmp_path / "run", SDD(KD(), (1, 2)), keep=Regions((1, 2, 4))) as recorder:
        with pytest.raises(ValueError, match=r"have 5 regions, those of the scales .* are 21"):
            recorder.loss(torch.arange(8) % 5, student=given, teacher=given)
        recorder.step += 1


def test_a_head_that_is_not_linear_is_not_applied_again(tmp_path):
    torch.manual_seed(0)
    head = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, zoo.CLASSES))
    student = nn.Sequential(
        nn.Conv2d(3, 8, 3, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head
    ).eval()
    sides = {"student": student, "teacher": zoo.ResNet().eval()}
    with pytest.raises(ValueError, match="the student cannot be recorded: its head Sequential is"):
        record(tmp_path / "kd", sides, KD())
    found = read(record(tmp_path / "sdd", sides, LOSS))
    assert found["student_regions"].shape == (24, zoo.CLASSES, 5)


def test_region_bytes_refuses_an_unknown_dtype():
    with pytest.raises(ValueError, match=r"dtype is one of .* got 'half'"):
        region_bytes(1, 10, (1, 2), "half")


def test_regions_beside_stepping_stones_are_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be kept beside a loss on stepping stones"):
        Recorder(tmp_path / "run", Blockwise(KD()), keep=Regions((1, 2)))


def trained(path, loss, kept) -> list[torch.Tensor]:
    """Weights and random state after steps with dropout, watched with or without regions."""
    sides = pair()
    sides["student"].train()
    dropout = sides["student"].layer4.register_forward_hook(lambda m, a, y: F.dropout(y, 0.2))
    optimizer = torch.optim.SGD(sides["student"].parameters(), lr=0.01)
    torch.manual_seed(3)
    options = {"schedule": every(2), "keep": Regions(kept, 3) if kept else ()}
    with Recorder(path, loss, **sides, **options) as recorder:
        for step in range(7):
            x, y = images(step)
            with torch.no_grad():
                sides["teacher"](x)
            sides["student"](x)
            recorder.loss(y).backward()
            optimizer.step()
            optimizer.zero_grad()
    dropout.remove()
    return [*sides["student"].state_dict().values(), torch.get_rng_state()]


@pytest.mark.parametrize("loss", [Sum(CrossEntropy(), KD()), LOSS], ids=["kd", "sdd"])
def test_keeping_regions_changes_no_bit_of_a_training(tmp_path, loss):
    bare = trained(tmp_path / "bare", loss, ())
    kept = trained(tmp_path / "kept", loss, (1, 2, 4))
    assert all(torch.equal(a, b) for a, b in zip(bare, kept, strict=True))
    assert len(read(open_run(tmp_path / "kept"))["step"]) == 4 * 3


def test_regions_in_bfloat16_are_kept_bit_for_bit_and_take_half_the_room(tmp_path):
    given = torch.randn(2, 8, 5, 5).bfloat16()
    options = {"keep": Regions((1, 2)), "store": Store("same")}
    with Recorder(tmp_path / "run", SDD(KD(), (1, 2)), **options) as recorder:
        recorder.loss(torch.arange(8) % 5, student=given[0], teacher=given[1])
    found = read(open_run(tmp_path / "run"))
    for name, values in zip(("student_regions", "teacher_regions"), given, strict=True):
        np.testing.assert_array_equal(found[name], values.float())
    (part,) = (tmp_path / "run" / "regions").rglob("*.parquet")
    cells = read_cells(pq.read_schema(part))
    assert {name: cell.dtype for name, cell in cells.items()} == dict.fromkeys(SIDES, "bfloat16")
