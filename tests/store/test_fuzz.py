"""Damaged files of every kind: an answer in one sentence of ours, in seconds and bounded memory."""

import json
import pickle
import struct
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import mutants
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
import torch
from PIL import Image
from sparse_files import distillkit, iteration, megatron, packed_token, sglang, vllm
from stored_files import C, N, save

from kdanalysis.networks.zoo import build_model
from kdanalysis.training.checkpoint import save_checkpoint

KINDS = ["a.npy", "a.npz", "packed.npz", "fortran.npz", "a.pt", "a.safetensors", "lists.parquet"]
KINDS += ["fixed.parquet", "part.parquet", "run"]
LOSSES = [
    "gdkd:k=5,weights=1/mass/8,divergence=both",
    "ce + ls-dkd:alpha=0.5,partition=top1",
    "topk:k=64,tail=bucket,divergence=reverse,clamp=0",
    "sdd-ls-kd:scales=1/2,temperature=2",
    "Sum(CrossEntropy(weight=1.0), KD(temperature=2.0, weight=1.0))",
]


def logits(folder):
    rng = np.random.default_rng(0)
    teacher, student = rng.standard_normal((2, N, C)).astype(np.float32)
    arrays = {"teacher_logits": teacher, "student_logits": student}
    arrays["target"] = rng.integers(0, C, N)
    for kind in KINDS:
        if kind == "a.npy":
            np.save(folder / kind, teacher)
        elif kind == "part.parquet":
            part = next(save(folder, arrays, "run").rglob("*.parquet"))
            part.rename(folder / kind)
            for path in sorted((folder / "run").rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            (folder / "run").rmdir()
        else:
            save(folder, arrays, kind)


def sparse(folder):
    ids = np.array([[3, 1, 7], [0, 4, 2]])
    values = np.log([[0.5, 0.25, 0.1], [0.75, 0.125, 0.05]])
    named = {"ids": ids, "logprobs": values, "log_other": np.log([0.15, 0.075])}
    np.savez(folder / "a.npz", **named)
    torch.save({name: torch.from_numpy(x) for name, x in named.items()}, folder / "a.pt")
    safetensors.numpy.save_file(named, folder / "a.safetensors")
    lists = {"ids": ids.tolist(), "logprobs": values.tolist()}
    pq.write_table(pa.table(lists), folder / "lists.parquet")
    rows = list(zip(ids.tolist(), values.tolist(), strict=True))
    (folder / "vllm.json").write_text(json.dumps({"prompt_logprobs": vllm(*rows)}))
    answers = [json.dumps({"input_top_logprobs": sglang(row)}) for row in rows]
    (folder / "sglang.jsonl").write_text("\n".join(answers))
    megatron(folder / "a.tar", {"1.pt.zst": iteration((ids[:1].tolist(), values[:1].tolist()))})
    (folder / "packed").mkdir()
    token = struct.pack("<2e", -1.0, -2.0) + bytes(packed_token()[4:])
    distillkit(folder / "packed", token=list(token))


def image(folder):
    pixels = np.random.default_rng(0).integers(0, 255, (12, 12, 3), dtype=np.uint8)
    for kind in ("png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm"):
        Image.fromarray(pixels).save(folder / f"a.{kind}")


def images(folder):
    stream = BytesIO()
    Image.new("L", (8, 8), 9).save(stream, "PNG")
    cells = [{"bytes": stream.getvalue(), "path": None}] * 10
    pq.write_table(pa.table({"image": cells, "label": [0, 1] * 5}), folder / "a.parquet")
    (folder / "cifar").mkdir()
    batch = {b"data": np.zeros((4, 3072), np.uint8), b"labels": [0, 1, 0, 1]}
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        (folder / "cifar" / name).write_bytes(pickle.dumps(batch, 2))
    (folder / "cifar" / "batches.meta").write_bytes(pickle.dumps({b"label_names": ["a", "b"]}, 2))


def losses(folder):
    for number, text in enumerate(LOSSES):
        (folder / f"{number}.txt").write_text(text)


def networks(folder):
    torch.manual_seed(0)
    model = build_model("resnet8", 10)
    facts = {"model": "resnet8", "classes": list("0123456789"), "mean": [0.5] * 3, "std": [0.5] * 3}
    save_checkpoint(folder / "ours.pt", model, facts)
    torch.save({"state_dict": model.state_dict()}, folder / "theirs.th")


SEEDS = {one.__name__: one for one in (logits, sparse, image, images, losses, networks)}


def fuzz(folder, doors, first, count):
    for door in doors:
        (folder / door).mkdir()
        SEEDS[door](folder / door)
    command = [sys.executable, mutants.__file__, str(folder), str(first), str(count)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
def test_forty_mutants_of_each_kind_get_an_answer(tmp_path):
    fuzz(tmp_path, SEEDS, 0, 40)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
@pytest.mark.parametrize("door", SEEDS)
def test_three_thousand_mutants_of_each_kind_get_an_answer(tmp_path, door):
    fuzz(tmp_path, [door], 1000, 3000)  # of all doors together 102 000


def test_control_what_is_no_answer_is_told(tmp_path, monkeypatch):
    def fails(path: Path) -> None:
        if path.read_text() != "kd":
            raise KeyError("x")

    (tmp_path / "a.txt").write_text("kd")
    monkeypatch.setitem(mutants.DOORS, "losses", fails)
    told = list(mutants.problems(tmp_path / "a.txt", "losses", 0, 3))
    assert len(told) == 3
    assert all("KeyError('x')" in one for one in told)
