"""Losses of language models equal what published trainers compute, by name and by preset."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kdanalysis import SparseTeacher, parse_loss

GOLDEN = Path(__file__).parents[1] / "golden"
ROWS = json.loads((GOLDEN / "sparse_losses.json").read_text())
PRESETS = {
    "axolotl integrations/kd forward_kl.loss (normalised logprobs given)": "axolotl",
    "DistillKit sparse_kl_div (logprobs at T=1 given)": "distillkit",
    "TRL server/async distillation _jsd_loss_chunk beta=0": "trl-server",
    "Megatron-LM topk_kl_div": "megatron",
    "verl kl_divergence": "verl",
}
DENSE = {
    "forward_kl": "kd",
    "reverse_kl": "jsd:beta=1",
    "skewed_forward_kl": "skew",
    "skewed_reverse_kl": "skew:divergence=reverse",
    "tv_distance": "tvd",
    "js_distance": "jsd:beta=0.1",  # lam = .9 there
}


@pytest.fixture(scope="module")
def arrays():
    with np.load(GOLDEN / "sparse_losses.npz", allow_pickle=False) as file:
        return {name: torch.from_numpy(array) for name, array in file.items()}


def written(row: dict) -> str:
    """The loss of a row as text."""
    options = {"temperature": row["temperature"]}
    if row["code"] in PRESETS:
        name, options["k"] = PRESETS[row["code"]], row["k"]
        if row.get("ghost") is False:
            options["tail"] = "none"
        elif row.get("add_tail") is False:
            options["tail"] = "renormalise"
        elif row["name"].endswith("symmetric_uniform"):
            options["tail"] = "bucket"
    elif row["code"] == "DistiLLM losses":
        name, _, more = DENSE[row["name"]].partition(":")
        options |= dict(option.split("=") for option in more.split(",") if option)
    else:
        name = "ab" if "alpha" in row else "jsd"
        options |= {key: row[key] for key in ("alpha", "beta") if key in row}
    return f"{name}:" + ",".join(f"{key}={value}" for key, value in options.items())


def entropy(teacher: torch.Tensor) -> float:
    return float(-(teacher.softmax(-1) * teacher.log_softmax(-1)).sum())


def compare(loss, arrays, teacher, row) -> None:
    student, square = arrays["student_logits"], row["temperature"] ** 2
    target = torch.zeros(len(student), dtype=torch.long)
    value = float(sum(loss(student, teacher, target).values()).sum()) / square
    if row["name"] in ("forward_kl", "skewed_forward_kl"):
        value += entropy(arrays["teacher_logits"])
    assert value == pytest.approx(row["loss"], rel=2e-6)
    gradient = sum(loss.gradients(student, teacher, target).values())[::4] / square
    expected = arrays[row["key"]].double()
    assert (gradient - expected).abs().max() <= 2e-5 * expected.abs().max()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['key']} {written(row)}")
def test_value_and_gradient_equal_the_published_code(arrays, row):
    compare(parse_loss(written(row)), arrays, arrays["teacher_logits"], row)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if "k" in row], ids=lambda row: f"{row['key']} {written(row)}"
)
def test_the_published_log_probabilities_are_enough(arrays, row):
    stored = arrays[f"logprobs_T{row['temperature']:g}"]
    teacher = SparseTeacher(arrays["token_ids"], stored, None, row["temperature"], 1500)
    compare(parse_loss(written(row)), arrays, teacher, row)


def test_the_table_covers_every_project():
    assert {row["code"] for row in ROWS} > PRESETS.keys() | {"ABKD ab_div", "DistiLLM losses"}
