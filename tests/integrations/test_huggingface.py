"""The Hugging Face adapter distils token by token, and records what trains."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import Dataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from kdanalysis import (
    GDKD,
    KD,
    CrossEntropy,
    Layers,
    Store,
    Sum,
    at,
    every,
    linear_ramp,
    open_run,
)
from kdanalysis.integrations.huggingface import DistillationCallback, DistillationTrainer

LOSS = Sum(CrossEntropy(), GDKD(k=3, weights=(1, 2, 8)))
VOCABULARY, LENGTH = 13, 7


def transformer(seed: int, width: int = 8, dropout: float = 0.1) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    shape = {"n_embd": width, "n_layer": 1, "n_head": 2, "n_positions": LENGTH}
    drops = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), dropout)
    config = GPT2Config(vocab_size=VOCABULARY, bos_token_id=0, eos_token_id=0, **shape, **drops)
    return GPT2LMHeadModel(config)


class Sentences(Dataset):
    """Random tokens, padded on the right to one length; row i has a length of its own."""

    def __init__(self, rows: int = 24, ids: bool = True) -> None:
        generator = torch.Generator().manual_seed(0)
        self.tokens = torch.randint(VOCABULARY, (rows, LENGTH), generator=generator)
        self.lengths, self.ids = 2 + torch.arange(rows) % (LENGTH - 1), ids

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, row: int) -> dict:
        seen = torch.arange(LENGTH) < self.lengths[row]
        labels = self.tokens[row].where(seen, -100)
        entry = {"input_ids": self.tokens[row], "attention_mask": seen.long(), "labels": labels}
        return entry | ({"sample_id": 500 + row} if self.ids else {})


def arguments(tmp_path, **options) -> TrainingArguments:
    fixed = {"output_dir": tmp_path / "out", "report_to": [], "use_cpu": True, "disable_tqdm": True}
    usual = {"num_train_epochs": 2, "per_device_train_batch_size": 8, "save_strategy": "no"}
    return TrainingArguments(**(fixed | usual | options))


def distil(
    tmp_path,
    options=None,
    data=None,
    kind=DistillationTrainer,
    more=(),
    model=transformer,
    loss=LOSS,
    resume_from=None,
    **recording,
):
    """Two epochs of three steps, recorded into ``run``; the trainer after training."""
    recording = {"schedule": every(1), "store": Store("float32")} | recording
    callback = DistillationCallback(tmp_path / "run", loss, teacher=model(1, 16), **recording)
    trainer = kind(
        model=model(0),
        args=arguments(tmp_path, **(options or {})),
        train_dataset=data or Sentences(),
        eval_dataset=Sentences(4),
        callbacks=[callback, *more],
    )
    torch.manual_seed(9)
    trainer.train(resume_from_checkpoint=resume_from)
    return trainer


def rows(tmp_path) -> dict[str, np.ndarray]:
    columns = ("step", "epoch", "sample_id", "target", "teacher_logits", "student_logits")
    (found,) = open_run(tmp_path / "run").batches((*columns, "residual"), 100_000)
    return found


def test_labelled_tokens_are_recorded_once_an_epoch_and_padding_never(tmp_path):
    distil(tmp_path, {"eval_strategy": "steps", "eval_steps": 2})
    found, data = rows(tmp_path), Sentences()
    row, position = np.divmod(found["sample_id"], 2**20)
    expected = [
        (500 + i, p) for i, length in enumerate(data.lengths) for p in range(1, int(length))
    ]
    for epoch in (0, 1):
        chosen = found["epoch"] == epoch
        assert sorted(zip(row[chosen], position[chosen], strict=True)) == expected
        assert set(found["step"][chosen]) == {3 * epoch, 3 * epoch + 1, 3 * epoch + 2}
    assert found["target"].tolist() == data.tokens[row - 500, position].tolist()
    assert found["residual"].max() < 1e-5


def test_a_tokens_logits_are_those_of_the_position_before_it(tmp_path):
    teacher = transformer(1, 16).eval()
    distil(tmp_path)
    found, data = rows(tmp_path), Sentences()
    row, position = np.divmod(found["sample_id"], 2**20)
    entries = [data[i] for i in range(len(data))]
    inputs = {n: torch.stack([e[n] for e in entries]) for n in ("input_ids", "attention_mask")}
    with torch.no_grad():
        logits = teacher(**inputs).logits[row - 500, position - 1]
    np.testing.assert_allclose(found["teacher_logits"], logits.numpy(), atol=1e-5)


class ByHand(Trainer):
    """The same training without the adapter: the mean over the tokens of a step, written out."""

    items: np.ndarray  # of every step

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")[:, 1:]
        with torch.no_grad():
            teacher = self.teacher(**inputs).logits[:, :-1]
        student, kept = model(**inputs).logits[:, :-1], labels >= 0
        terms = LOSS(student[kept], teacher[kept], labels[kept])
        return sum(terms.values()).sum() / int(self.items[self.state.global_step])


@pytest.mark.parametrize("steps", [1, 3], ids=["one batch a step", "three batches a step"])
def test_training_is_bit_equal_to_one_without_the_adapter(tmp_path, steps):
    """The mean is over the tokens of all batches of a step, whose numbers differ."""
    options = {"gradient_accumulation_steps": steps, "per_device_train_batch_size": 8 // steps}
    trainer = distil(tmp_path, options)
    found = rows(tmp_path)
    assert found["residual"].max() < 1e-5
    ByHand.items, ByHand.teacher = np.bincount(found["step"]), transformer(1, 16).eval()
    assert len(set(ByHand.items.tolist())) > 1  # the control: steps differ in their tokens
    bare = ByHand(transformer(0), arguments(tmp_path, **options), train_dataset=Sentences())
    bare.model_accepts_loss_kwargs = True  # the loss is normalised already
    torch.manual_seed(9)
    bare.train()
    pairs = zip(trainer.model.parameters(), bare.model.parameters(), strict=True)
    assert all(torch.equal(mine, other) for mine, other in pairs)
    before = transformer(0).transformer.wte.weight  # the control: training moves the weights
    assert not torch.equal(trainer.model.transformer.wte.weight, before)


def test_logs_hold_the_mean_norms_of_the_steps_since_the_last_log(tmp_path):
    trainer = distil(tmp_path, {"logging_steps": 2, "max_steps": 5})
    logged = [entry for entry in trainer.state.log_history if "kd/residual" in entry]
    assert [entry["step"] for entry in logged] == [2, 4, 5]
    found = rows(tmp_path)
    for entry, steps in zip(logged, ([0, 1], [2, 3], [4]), strict=True):
        chosen = np.isin(found["step"], steps)
        student = torch.from_numpy(found["student_logits"][chosen]).double().requires_grad_()
        teacher, target = (torch.from_numpy(found[n][chosen]) for n in ("teacher_logits", "target"))
        for name, value in LOSS(student, teacher.double(), target).items():
            (gradient,) = torch.autograd.grad(value.sum(), student, retain_graph=True)
            expected = gradient.norm(dim=-1).mean().item()
            assert entry[f"kd/norm/{name}"] == pytest.approx(expected)
        assert entry["kd/residual"] == pytest.approx(found["residual"][chosen].max())


def test_an_evaluation_is_not_recorded_and_its_loss_is_the_mean_over_tokens(tmp_path):
    trainer = distil(tmp_path, {"eval_strategy": "steps", "eval_steps": 2}, schedule=at([0, 2]))
    found = rows(tmp_path)
    for step in (0, 2):  # eight rows in training; the four of the evaluation would add to them
        assert len(set(found["sample_id"][found["step"] == step] >> 20)) == 8
    evaluations = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    assert [name for entry in evaluations for name in entry if name.startswith("kd/")] == []
    data = Sentences(4)
    inputs = {n: torch.stack([data[i][n] for i in range(4)]) for n in data[0] if n != "sample_id"}
    labels, teacher = inputs.pop("labels")[:, 1:], transformer(1, 16).eval()
    kept, models = labels >= 0, (trainer.model.eval(), teacher)
    with torch.no_grad():
        student, taught = (model(**inputs).logits[:, :-1][kept] for model in models)
    expected = sum(LOSS(student, taught, labels[kept]).values()).mean().item()
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected)


def test_rows_without_ids_are_numbered_on_over_the_batches_of_a_step(tmp_path):
    options = {"gradient_accumulation_steps": 3, "per_device_train_batch_size": 4}
    distil(tmp_path, options, Sentences(ids=False), schedule=at([1]))
    found = rows(tmp_path)
    assert set(found["sample_id"] >> 20) == set(range(12))
    assert open_run(tmp_path / "run").duplicates == 0


def test_a_loss_of_ones_own_is_watched(tmp_path):
    class Own(DistillationTrainer):
        def token_loss(self, tokens):
            assert not tokens.teacher.requires_grad
            return self.weight * sum(LOSS(*tokens[:3]).values())

    Own.weight = 1.0
    distil(tmp_path / "same", kind=Own)
    assert rows(tmp_path / "same")["residual"].max() < 1e-5
    Own.weight = 2.0  # not what the callback was told
    distil(tmp_path / "other", kind=Own)
    assert rows(tmp_path / "other")["residual"].min() == pytest.approx(0.5, abs=1e-4)


def test_the_warm_up_follows_the_epoch(tmp_path):
    trainer = distil(tmp_path, {"logging_steps": 1}, ramp=lambda epoch: linear_ramp(epoch, 2))
    logged = [entry["kd/norm/low_top"] for entry in trainer.state.log_history[:6]]
    assert logged[:3] == [0, 0, 0]  # the first of two epochs of warm-up
    assert min(logged[3:]) > 0
    assert rows(tmp_path)["residual"].max() < 1e-5


def test_under_autocast_the_residual_is_that_of_the_logits_the_loss_saw(tmp_path):
    distil(tmp_path, {"bf16": True})
    assert rows(tmp_path)["residual"].max() < 1e-5


class Failing(TrainerCallback):
    """Ends the training before the optimizer's step of number 4."""

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.model, self.hooks = model, hooks(model)
        if state.global_step == 4:
            raise KeyError("the step that fails")


def hooks(model: torch.nn.Module) -> int:
    modules = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    return modules + sum(len(p._post_accumulate_grad_hooks or ()) for p in model.parameters())


def test_no_hook_is_left_after_training_or_an_exception_in_it(tmp_path):
    assert hooks(distil(tmp_path / "whole").model) == 0
    failing = Failing()
    with pytest.raises(KeyError, match="the step that fails"):
        distil(tmp_path / "failed", more=[failing])
    assert failing.hooks > 0  # the control
    assert hooks(failing.model) == 0
    assert open_run(tmp_path / "failed" / "run").steps().tolist() == [0, 1, 2, 3, 4]


def test_gradients_at_layers_add_up_to_those_of_the_training(tmp_path):
    class Looking(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
            block = model.transformer.h[0]
            self.squared = sum(p.grad.double().square().sum().item() for p in block.parameters())

    looking, options = Looking(), {"max_steps": 1, "max_grad_norm": 0.0}
    distil(tmp_path, options, more=[looking], keep=Layers("transformer.h.0"))
    (block,) = open_run(tmp_path / "run").batches(batch_size=1000, kind="layers")
    assert block["dot"].sum() == pytest.approx(looking.squared, rel=1e-5)


def test_a_training_that_goes_on_from_a_checkpoint_goes_on_with_the_run(tmp_path):
    class Looking(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            self.on_disk = open_run(tmp_path / "run").steps().tolist()

    looking, options = Looking(), {"save_strategy": "steps", "save_steps": 3}
    with pytest.raises(KeyError):
        distil(tmp_path, options, more=[looking, Failing()])
    assert looking.on_disk == [0, 1, 2]
    with pytest.raises(FileExistsError, match="already holds a run"):
        distil(tmp_path, options)
    distil(tmp_path, options, resume_from=tmp_path / "out" / "checkpoint-3")
    found = rows(tmp_path)
    assert open_run(tmp_path / "run").duplicates == 0
    assert sorted(set(found["step"])) == [0, 1, 2, 3, 4, 5]
    for epoch in (0, 1):
        assert len(set(found["sample_id"][found["epoch"] == epoch])) == len(found["step"]) / 2
    assert found["residual"].max() < 1e-5


def test_a_classifier_is_distilled_row_by_row(tmp_path):
    def classifier(seed, *_):
        torch.manual_seed(seed)
        shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = BertConfig(vocab_size=VOCABULARY, intermediate_size=8, num_labels=3, **shape)
        return BertForSequenceClassification(config)

    class Labelled(Sentences):
        def __getitem__(self, row):
            return super().__getitem__(row) | {"labels": torch.tensor(row % 3)}

    distil(tmp_path, data=Labelled(), model=classifier, loss=Sum(CrossEntropy(), KD()))
    found = rows(tmp_path)
    assert sorted(found["sample_id"][found["epoch"] == 0]) == list(range(500, 524))
    assert found["target"].tolist() == ((found["sample_id"] - 500) % 3).tolist()
    assert found["residual"].max() < 1e-5


def test_the_factor_of_a_gradient_scaler_is_divided_out(tmp_path):
    class Scaled(DistillationTrainer):
        def train(self, *args, **kwargs):
            self.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**14)
            return super().train(*args, **kwargs)

    trainer = distil(tmp_path, {"max_grad_norm": 0.0}, kind=Scaled)
    assert trainer.accelerator.scaler.get_scale() == 2.0**14
    assert rows(tmp_path)["residual"].max() < 1e-5


def test_an_encoder_decoder_is_held_against_the_tokens_themselves(tmp_path):
    def seq2seq(seed, *_):
        torch.manual_seed(seed)
        shape = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
        ends = {"decoder_start_token_id": 0, "pad_token_id": 0}
        return T5ForConditionalGeneration(T5Config(vocab_size=VOCABULARY, **shape, **ends))

    distil(tmp_path, model=seq2seq)
    found, data = rows(tmp_path), Sentences()
    assert len(found["step"]) == 2 * int(data.lengths.sum())
    row, position = np.divmod(found["sample_id"], 2**20)
    assert found["target"].tolist() == data.tokens[row - 500, position].tolist()
    assert found["residual"].max() < 1e-5


@pytest.mark.parametrize(("shift", "by"), [(None, 0), (True, 1)])
def test_a_model_of_ones_own_is_shifted_where_one_says_so(tmp_path, shift, by):
    class Bigram(torch.nn.Module):
        def __init__(self, seed, *_):
            super().__init__()
            torch.manual_seed(seed)
            self.table = torch.nn.Embedding(VOCABULARY, VOCABULARY)

        def forward(self, input_ids, attention_mask=None):
            return {"logits": self.table(input_ids)}

    distil(tmp_path, model=Bigram, shift=shift)
    found, data = rows(tmp_path), Sentences()
    assert len(found["step"]) == 2 * int((data.lengths - by).sum())
    row, position = np.divmod(found["sample_id"], 2**20)
    seen = data.tokens[row - 500, position - by]
    torch.testing.assert_close(
        torch.from_numpy(found["teacher_logits"]), Bigram(1).table(seen).detach()
    )
    assert found["residual"].max() < 1e-5


def test_a_batch_without_a_labelled_token_trains_nothing_and_is_not_recorded(tmp_path):
    class Empty(Sentences):
        def __init__(self, rows):
            super().__init__(rows)
            self.lengths[:] = 1  # the first token of a row is never predicted

    with pytest.warns(RuntimeWarning, match="none of its 1 captured batches held a sample"):
        trainer = distil(tmp_path, {"max_steps": 1}, data=Empty(8))
    assert trainer.state.log_history[-1]["train_loss"] == 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"label_smoothing_factor": 0.1}, "would not be used")],
)
def test_what_would_not_be_used_is_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        distil(tmp_path, options)


def test_without_the_callback_the_trainer_says_what_it_needs(tmp_path):
    message = "DistillationTrainer needs one DistillationCallback in callbacks=, got 0"
    with pytest.raises(ValueError, match=message):
        DistillationTrainer(transformer(0), arguments(tmp_path), train_dataset=Sentences())


def test_several_devices_in_one_process_are_refused(tmp_path):
    callback = DistillationCallback(tmp_path / "run", LOSS, teacher=transformer(1, 16))
    with pytest.raises(ValueError, match="2 devices in one process"):
        callback.on_train_begin(SimpleNamespace(n_gpu=2), None, None, model=transformer(0))


@pytest.mark.long
@pytest.mark.parametrize("batch", [4, 1])
def test_two_ranks_train_and_record_as_one_process_does(tmp_path, batch):
    """The mean is over the tokens of both, though one has fewer of them, or none at all."""
    program = Path(__file__).with_name("huggingface_in_ranks.py")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    found = {}
    for name, command, share in (("one", [sys.executable], 2 * batch), ("two", launch, batch)):
        done = [*command, program, tmp_path / name, str(share)]
        subprocess.run(done, check=True, capture_output=True)
        found[name] = rows(tmp_path / name)
        assert found[name]["residual"].max() < 1e-4
    for name in ("sample_id", "step"):
        assert sorted(found["one"][name]) == sorted(found["two"][name])
    one, two = (open_run(tmp_path / name / "run").table("layers") for name in found)
    pd.testing.assert_frame_equal(one, two, rtol=1e-3, atol=1e-6)
    weights = [torch.load(tmp_path / n / "student.pt", weights_only=True) for n in found]
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value)
