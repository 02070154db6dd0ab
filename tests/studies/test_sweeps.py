"""`kdanalysis.sweep`: any float input, bad input named, memory that does not grow."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

import kdanalysis as kd

RNG = np.random.default_rng(0)
STUDENT, TEACHER = RNG.normal(size=(2, 50, 6)).astype(np.float32) * 3


def test_columns_are_those_of_the_contract():
    frame = kd.sweep(STUDENT, TEACHER)
    first = "temperature k mass_top value_high value_low_top value_low_other value_kd norm_high"
    then = "norm_low_top norm_low_other norm_kd norm_total cosine_total_kd"
    assert frame.columns[:13].tolist() == f"{first} {then}".split()
    assert len(frame) == 4 * 5
    assert (frame.n == 50).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_arrays_and_tensors_give_the_same(dtype):
    student, teacher = (side.astype(dtype) for side in (STUDENT, TEACHER))
    native = [torch.from_numpy(x.astype(x.dtype.newbyteorder("="))) for x in (student, teacher)]
    frame = kd.sweep(student, teacher, (1, 4))
    pd.testing.assert_frame_equal(frame, kd.sweep(*native, (1, 4)))
    wide = kd.sweep(student.astype(np.float64), teacher.astype(np.float64), (1, 4))
    pd.testing.assert_frame_equal(frame, wide, check_exact=True)


def test_views_and_tensors_in_training_are_read_and_left_alone():
    student = torch.tensor(STUDENT.T.copy()).T.requires_grad_()
    teacher = TEACHER[:, ::-1].copy()[:, ::-1]
    teacher.flags.writeable = False
    before = teacher.copy()
    expected = kd.sweep(STUDENT, TEACHER, (2,))
    pd.testing.assert_frame_equal(kd.sweep(student, teacher, (2,)), expected)
    assert (teacher == before).all()
    bfloat = torch.tensor(TEACHER).bfloat16()
    pd.testing.assert_frame_equal(
        kd.sweep(bfloat, bfloat.flip(0), (2,)),
        kd.sweep(bfloat.double(), bfloat.double().flip(0), (2,)),
    )


def test_float32_is_near_float64():
    exact, rough = (kd.sweep(STUDENT, TEACHER, dtype=d) for d in (torch.float64, torch.float32))
    np.testing.assert_allclose(rough, exact, rtol=1e-3, atol=1e-4)


def spoiled(row: int, value: float) -> np.ndarray:
    logits = TEACHER.copy()
    logits[row, 2] = value
    return logits


@pytest.mark.parametrize(
    ("student", "teacher", "words"),
    [
        (STUDENT, spoiled(7, np.nan), "teacher logits of sample 7 hold nan at class 2"),
        (spoiled(3, -np.inf), TEACHER, "student logits of sample 3 hold -inf at class 2"),
        (STUDENT[:, :5], TEACHER, r"student logits \(50, 5\) and teacher logits \(50, 6\)"),
        (STUDENT[0], TEACHER[0], r"\(6,\), need .samples, classes."),
        (STUDENT[:, :1], TEACHER[:, :1], "need at least 2 classes"),
        (STUDENT[:, :0], TEACHER[:, :0], "need at least 2 classes, got 0"),
        (STUDENT[:0], TEACHER[:0], "the batch holds no samples"),
        (STUDENT.astype(int), TEACHER, "student logits are int64, need floats"),
    ],
)
def test_bad_logits_are_refused(student, teacher, words):
    with pytest.raises(ValueError, match=words):
        kd.sweep(student, teacher)


def test_a_sample_is_named_by_its_place_in_the_whole(monkeypatch):
    monkeypatch.setattr("kdanalysis.studies.sweeps.ROWS", 8)
    with pytest.raises(ValueError, match="sample 21 "):
        kd.sweep(STUDENT, spoiled(21, np.nan))


@pytest.mark.parametrize("ks", ["all", (2, 5)])
def test_means_of_the_samples_are_the_sweep(ks):
    samples = kd.sweep_samples(STUDENT, TEACHER, 2, ks)
    frame = kd.sweep(STUDENT, TEACHER, (2,), ks)
    for name, values in samples.items():
        assert values.shape == (50, len(frame))
        kept = ~values.isnan().all(0).numpy()  # low_top has no direction at k = 1
        np.testing.assert_allclose(
            np.nanmean(values.numpy()[:, kept], 0), frame[name].to_numpy()[kept], rtol=1e-10
        )


@pytest.mark.parametrize("temperature", [0.7, 1, 3, 4])
def test_a_gradient_that_is_rounding_has_no_direction(temperature):
    """Both sides hold the same gap inside the top 2, so that low_top pulls nowhere."""
    student = np.array([[5.0, 3.0, 0.0, -2.0], [5.0, 3.0, 0.1, -2.0]])
    teacher = np.array([[3.0, 1.0, 0.0, -1.0], [3.0, 1.5, 0.0, -1.0]])
    samples = kd.sweep_samples(student, teacher, temperature, (2,))
    assert samples["norm_low_top"][0] == 0
    for name in ("cosine_low_top_kd", "cosine_high_low_top"):
        assert samples[name][:, 0].isnan().tolist() == [True, False]
        assert samples[name][1].abs() <= 1


def test_logits_rounded_to_bfloat16_have_cosines():
    student, teacher = (torch.tensor(x).bfloat16() for x in (STUDENT, TEACHER))
    student[:20] = teacher[:20] + 0.5
    samples = kd.sweep_samples(student, teacher, 1)
    for name, values in samples.items():
        if "cosine" in name:
            assert values[~values.isnan()].abs().max() <= 1 + 1e-12, name


def test_samples_refuse_what_the_sweep_refuses():
    with pytest.raises(ValueError, match="teacher logits of sample 7 hold nan at class 2"):
        kd.sweep_samples(STUDENT, spoiled(7, np.nan))
    with pytest.raises(ValueError, match="got 6: a group would be empty"):
        kd.sweep_samples(STUDENT, TEACHER, ks=(6,))


def peak_megabytes(samples: int) -> float:
    """Peak memory of a fresh process that sweeps zeros mapped from one page, so inputs are free."""
    code = f"""
import resource, numpy as np, torch
torch.set_num_threads(1)
import kdanalysis as kd
row = np.random.default_rng(0).normal(size=(2, 1, 20)).astype(np.float32)
teacher, student = (torch.from_numpy(x).expand({samples}, 20) for x in row)
kd.sweep(student, teacher, (1, 4))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_memory_does_not_grow_with_the_samples():
    small, large = peak_megabytes(70_000), peak_megabytes(280_000)
    assert large < 1.05 * small  # one float64 copy of the larger would add 45 MB


def test_logits_of_texts_are_pointed_to_what_picks_their_rows():
    with pytest.raises(ValueError, match=r"have shape \(1, \d+, \d+\).*kd.tokens\("):
        kd.sweep(torch.as_tensor(STUDENT)[None], TEACHER)
