"""One check for every door: probabilities are refused however rounded, logits never are."""

import re
import warnings

import ml_dtypes
import numpy as np
import pandas as pd
import pytest
import torch

import kdanalysis as kd
from kdanalysis.core.logits import check_dense, check_logits, check_tensor

torch.manual_seed(0)
LOGITS = 3 * torch.randn(40, 10)
SOFTMAX = LOGITS.softmax(-1)
UNFILLED = torch.where(torch.arange(40)[:, None] % 4 == 1, 0.0, SOFTMAX)


@pytest.mark.parametrize(
    ("values", "total"),
    [
        (SOFTMAX, "1"),
        (SOFTMAX[:1], "1"),
        (SOFTMAX.bfloat16(), "1"),
        (SOFTMAX.half(), "1"),
        ((100 * SOFTMAX).round() / 100, "1"),
        ((255 * SOFTMAX).round() / 255, "1"),
        ((255 * SOFTMAX).round(), "255"),
        (100 * SOFTMAX, "100"),
        (UNFILLED, "1"),
        (SOFTMAX.where(torch.arange(40)[:, None] > 0, torch.nan), "1"),
        ((3 * torch.randn(30, 1000)).softmax(-1), "1"),
    ],
    ids=range(11),
)
def test_probabilities_are_refused(values, total):
    with pytest.raises(
        ValueError, match=rf"^z are probabilities.* up to about {total}[ ;].*give z"
    ):
        check_logits("z", values, "give z")


def test_what_probabilities_add_up_to_is_told_as_a_range_where_it_is_one():
    exact = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).expand(3, 4)
    rounded = exact * torch.tensor([1, 1.002, 1]).unsqueeze(-1)
    for rows, told in ((exact, "about 1; give"), (rounded, "about 1 (from 1 to 1.002); give")):
        with pytest.raises(ValueError, match=re.escape(told)):
            check_logits("z", rows, "give z")


@pytest.mark.parametrize(
    "values",
    [
        LOGITS,
        SOFTMAX.log(),
        LOGITS.relu(),
        LOGITS + 40,
        torch.zeros(40, 10),
        torch.full((3, 10), torch.nan),
        SOFTMAX[:3] * torch.tensor([[1.0], [2.0], [0.5]]),
        torch.tensor([[0.4, 0.5]]),
        LOGITS[:15].sigmoid(),
        LOGITS.sigmoid() / 2,
        torch.tensor([[0.0, 1.0], [0.6, 0.8]]) * 3,
    ],
    ids=range(11),
)
def test_logits_pass(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_logits("z", values, "give z")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(("base", "factor"), [(2, 0.6931), (10, 2.3026)])
def test_logarithms_to_another_base_are_refused(base, factor, dtype):
    wide = (3 * torch.randn(40, 5000)).double()
    other = (wide.log_softmax(-1) / np.log(base)).to(dtype)
    with pytest.raises(ValueError, match=rf"z are logarithms to base {base}: .* = {factor}$"):
        check_logits("z", other, "give z")


@pytest.mark.parametrize(
    "values",
    [
        (30 * torch.eye(10)[torch.arange(40) % 10] + LOGITS).log_softmax(-1),  # to any base 1
        SOFTMAX[:1].log2(),  # one row may do so by chance
        torch.full((40, 8), -3.0),  # 2^-3 of 8 classes: rows of one value
        LOGITS - 20,
        torch.where(torch.arange(40)[:, None] == 3, LOGITS - 20, SOFTMAX.log2()),
        (torch.eye(10)[torch.arange(40) % 10] - 1) * (4 + torch.rand(40, 10)),  # less their largest
    ],
    ids=range(6),
)
def test_other_negative_logits_pass(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_logits("z", values, "give z")


def test_sigmoids_are_warned_of():
    with pytest.warns(RuntimeWarning, match="z lie between 0 and 1 in all of 40 rows"):
        check_logits("z", LOGITS.sigmoid(), "give z")


def test_a_tensor_of_other_dimensions_and_what_is_none_are_named():
    check_tensor("teacher", torch.ones(3, 2), 2)
    with pytest.raises(ValueError, match="teacher must be a torch tensor of 2 dimensions, got a "):
        check_tensor("teacher", torch.ones(3), 2)
    with pytest.raises(ValueError, match="target must be a torch tensor, got None"):
        check_tensor("target", None)


@pytest.fixture
def recorder(tmp_path):
    with kd.Recorder(tmp_path / "run", kd.KD(), schedule=kd.every(1)) as recorder:
        yield recorder


TARGET = torch.zeros(40, dtype=torch.long)
STRANGE = {
    "float8_e4m3fn in a strided": lambda: LOGITS.to(torch.float8_e4m3fn),
    "float32 in a sparse_coo": lambda: LOGITS.to_sparse(),
    "float32 in a strided tensor on meta": lambda: LOGITS.to("meta"),
}
CAUGHT = {  # by the annotations too, which tests check and users do not
    "complex64 in a strided": lambda: LOGITS.to(torch.complex64),
    "int64 in a strided": lambda: LOGITS.long(),
    "bool in a strided": lambda: LOGITS > 0,
    "float32 in a nested": lambda: torch.nested.nested_tensor([*LOGITS], layout=torch.jagged),
}
WORDS = r"(student|teacher) logits are torch\.{}.*need a dense one of float16, bfloat16, "
DOORS = {
    "student of a loss": lambda one, _: kd.KD()(one, LOGITS, TARGET),
    "teacher of a loss": lambda one, _: kd.KD()(LOGITS, one, TARGET),
    "gradients": lambda one, _: kd.GDKD(k=2).gradients(one, LOGITS, TARGET),
    "sweep": lambda one, _: kd.sweep(one, LOGITS, ks=(1,)),
    "sweep of samples": lambda one, _: kd.sweep_samples(LOGITS, one, ks=(1,)),
    "truncation": lambda one, _: kd.truncation(one, LOGITS, (1,)),
    "arrays": lambda one, _: kd.diagnose({"teacher_logits": one}),
    "analyzer": lambda one, _: kd.analyzers["mass"](10).update(one),
    "recorder": lambda one, recorder: recorder.observe(TARGET, student=one, teacher=LOGITS),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", STRANGE)
def test_what_is_no_dense_tensor_of_floats_is_refused_at_every_door(kind, door, recorder):
    with pytest.raises(ValueError, match=WORDS.format(kind)):
        DOORS[door](STRANGE[kind](), recorder)


@pytest.mark.parametrize("kind", CAUGHT)
def test_no_other_kind_of_tensor_is_taken_for_logits(kind):
    with pytest.raises(ValueError, match=WORDS.format(kind)):
        check_dense("student logits", CAUGHT[kind]())


@pytest.mark.parametrize("kind", STRANGE)
def test_hidden_states_and_heads_are_dense_tensors_of_floats(kind):
    for given in ((STRANGE[kind](), LOGITS), (LOGITS, STRANGE[kind]())):
        with pytest.raises(ValueError, match=rf"(states|weights) are torch\.{kind}.*need a dense"):
            kd.Projected(*given)


class Refusing:
    def __array__(self, *_, **__):
        raise ValueError("a reason of its own")


def test_what_is_beside_logits_is_dense_and_of_one_length():
    sparse = {"teacher_logits": LOGITS, "target": TARGET.to_sparse()}
    with pytest.raises(ValueError, match=r"target are torch\.int64 in a sparse_coo tensor on cpu"):
        kd.open(sparse)
    with pytest.raises(ValueError, match=r"teacher_logits of arrays cannot be .* differ in length"):
        kd.open({"teacher_logits": [[1.0, 2.0], [1.0]]})
    with pytest.raises(ValueError, match="cannot be made an array: a reason of its own"):
        kd.open({"teacher_logits": Refusing()})


@pytest.mark.parametrize("of", [torch.Tensor.bfloat16, torch.Tensor.half, torch.Tensor.double])
def test_arrays_of_every_float_are_read_exactly(of):
    given = {"teacher_logits": of(LOGITS), "student_logits": of(2 * LOGITS)}
    expected = kd.open({name: z.double() for name, z in given.items()}).table("agreement")
    pd.testing.assert_frame_equal(kd.open(given).table("agreement"), expected)


def test_arrays_of_numpys_bfloat16_are_read_as_torchs():
    named = {"teacher_logits": LOGITS.bfloat16(), "student_logits": (2 * LOGITS).bfloat16()}
    arrays = {name: z.float().numpy().astype(ml_dtypes.bfloat16) for name, z in named.items()}
    expected = kd.open(named).table("agreement")
    pd.testing.assert_frame_equal(kd.open(arrays).table("agreement"), expected)
    both = [kd.sweep(*pair.values(), (4,), (1, 3)) for pair in (named, arrays)]
    pd.testing.assert_frame_equal(*both)


def test_an_array_with_a_mask_is_refused_and_one_without_is_read():
    whole = np.ma.masked_array(LOGITS.numpy(), False)
    assert kd.open({"teacher_logits": whole}).table("mass").notna().all(axis=None)
    masked = {"teacher_logits": np.ma.masked_greater(LOGITS.numpy(), 2)}
    with pytest.raises(ValueError, match="teacher_logits are masked in part: leave such rows out"):
        kd.open(masked)
    with pytest.raises(ValueError, match="student logits are masked in part"):
        kd.sweep(masked["teacher_logits"], LOGITS.numpy())


READ_ONLY = {
    "diagnose": kd.diagnose,
    "compare": lambda x: kd.compare(x, losses="kd,dkd"),
    "open": lambda x: kd.open(x).table("agreement"),
    "sweep": kd.sweep_study,
    "truncation": lambda x: kd.truncation(x["student_logits"], x["teacher_logits"], ks=[2]),
    "sparsify": lambda x: kd.sparsify({"teacher_logits": x["teacher_logits"]}, "top.parquet", k=2),
}


@pytest.mark.parametrize("read", READ_ONLY.values(), ids=READ_ONLY)
@pytest.mark.parametrize("order", ["memory map", "backwards"])
def test_arrays_that_torch_cannot_share_are_read_without_a_warning(
    tmp_path, monkeypatch, read, order
):
    monkeypatch.chdir(tmp_path)
    columns = {
        "teacher_logits": LOGITS.numpy(),
        "student_logits": (LOGITS / 2 + torch.randn(40, 10) / 8).numpy(),
        "target": LOGITS.argmax(-1).numpy(),
    }
    if order == "memory map":
        for name, rows in columns.items():
            np.save(f"{name}.npy", rows)
        columns = {name: np.load(f"{name}.npy", mmap_mode="r") for name in columns}
    else:
        columns = {name: rows[::-1] for name, rows in columns.items()}
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # else torch warns once a process
    try:
        read(columns)
    finally:
        torch.set_warn_always(before)
