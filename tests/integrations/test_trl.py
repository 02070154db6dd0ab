"""TRL's trainers are recorded token by token, and train as without it.

Skipped where TRL is not installed; ``pip install 'kdanalysis[trl]'`` runs it.
"""

import re
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import kdanalysis as kd
from kdanalysis.store.run import StoredRun

REASON = "needs TRL: pip install 'kdanalysis[trl]' runs it"
trl = pytest.importorskip("trl", reason=REASON)
datasets = pytest.importorskip("datasets", reason=REASON)
tokenizers = pytest.importorskip("tokenizers", reason=REASON)
gkd = pytest.importorskip("trl.experimental.gkd", reason=REASON)

from kdanalysis.integrations.trl import (  # noqa: E402 - needs what is skipped for above
    RecordingCallback,
    RecordsDistillation,
    RecordsGKD,
)

WORDS = ["<pad>", "<eos>", "<unk>", *(f"w{i}" for i in range(30))]
pytestmark = pytest.mark.filterwarnings("ignore")  # of trl's own


class Distils(RecordsDistillation, trl.DistillationTrainer):
    """As users write it."""


class Generalises(RecordsGKD, gkd.GKDTrainer):
    """As users write it."""


def model(seed, width):
    torch.manual_seed(seed)
    shape = {"n_embd": width, "n_layer": 1, "n_head": 2, "n_positions": 64}
    drops = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    ends = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
    net = GPT2LMHeadModel(GPT2Config(vocab_size=len(WORDS), **shape, **drops, **ends))
    with torch.no_grad():
        net.transformer.wte.weight *= 20
    return net


def tokenizer():
    vocabulary = {word: place for place, word in enumerate(WORDS)}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    names = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    made = PreTrainedTokenizerFast(tokenizer_object=words, **names)
    made.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    return made


def common(path):
    return {
        "output_dir": str(path / "out"),
        "per_device_train_batch_size": 4,
        "max_steps": 3,
        "learning_rate": 1e-2,
        "report_to": "none",
        "use_cpu": True,
        "save_strategy": "no",
        "logging_steps": 1,
        "gradient_checkpointing": False,
        "bf16": False,
    }


def distils(path, kind, callbacks, **more):
    prompts = [{"prompt": f"w{i} w{i + 1} w{i + 2}"} for i in range(12)]
    options = {"beta": 0.5, "temperature": 2.0, "max_completion_length": 6} | more
    args = trl.DistillationConfig(**common(path), **options)
    data = datasets.Dataset.from_list(prompts)
    given = {"processing_class": tokenizer(), "callbacks": callbacks}
    return kind(model(0, 8), model(1, 16), args=args, train_dataset=data, **given)


def batch(rows):
    """Two padded texts are as long as two others; the first half of each is its prompt."""
    ids = torch.tensor([row["input_ids"] for row in rows])
    labels = ids.clone()
    labels[:, :4] = -100
    labels[0, 6:] = -100
    mask = torch.ones_like(ids)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "prompts": ids[:, :4]} | {
        "prompt_attention_mask": mask[:, :4]
    }


def generalises(path, kind, callbacks, **more):
    seed = torch.Generator().manual_seed(0)
    texts = torch.randint(3, len(WORDS), (12, 9), generator=seed).tolist()
    args = gkd.GKDConfig(**common(path), beta=0.3, lmbda=0.0, max_length=16, **more)
    data = datasets.Dataset.from_list([{"input_ids": one} for one in texts])
    given = {"processing_class": tokenizer(), "callbacks": callbacks, "data_collator": batch}
    return kind(model(0, 8), model(1, 16), args=args, train_dataset=data, **given)


CASES = [
    pytest.param(distils, Distils, trl.DistillationTrainer, id="DistillationTrainer"),
    pytest.param(generalises, Generalises, gkd.GKDTrainer, id="GKDTrainer"),
]


@pytest.mark.parametrize(("make", "kind", "plain"), CASES)
@pytest.mark.parametrize("keep", [(), kd.TopK(8)], ids=["logits", "TopK"])
def test_every_token_of_the_loss_is_recorded_and_training_is_as_without(
    make, kind, plain, keep, tmp_path
):
    recording = RecordingCallback(tmp_path / "run", keep=keep, schedule=kd.every(1))
    trainer = make(tmp_path, kind, [recording])
    trainer.train()
    without = make(tmp_path, plain, None)
    without.train()

    run = StoredRun(tmp_path / "run")
    rows = next(run.batches(["step", "target", "sample_id", "residual"]))
    assert sorted(set(rows["step"].tolist())) == [0, 1, 2]
    assert (rows["target"] >= 0).all()
    assert rows["residual"].max() < 1e-5
    assert 3 * 4 <= run.num_rows <= 3 * 4 * 6
    for ours, theirs in zip(trainer.model.parameters(), without.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert any("kd/residual" in entry for entry in trainer.state.log_history)


@pytest.mark.parametrize(("make", "kind"), [case.values[:2] for case in CASES])
def test_the_residual_sees_another_loss(make, kind, tmp_path):
    options = {"schedule": kd.every(1)}
    make(tmp_path, kind, [RecordingCallback(tmp_path / "run", kd.JSD(0.9), **options)]).train()
    rows = next(StoredRun(tmp_path / "run").batches(["residual"]))
    assert rows["residual"].min() > 0.05


def test_the_rows_of_a_batch_are_those_that_count(tmp_path):
    recording = RecordingCallback(tmp_path / "run", schedule=kd.at([0]))
    generalises(tmp_path, Generalises, [recording]).train()
    rows = next(StoredRun(tmp_path / "run").batches(["sample_id"]))
    places = sorted(rows["sample_id"].tolist())
    whole = [row * 2**20 + place for row in range(4) for place in range(4, 9)]
    assert places == [one for one in whole if not 6 <= one < 2**20]


def test_generation_on_policy_is_no_row(tmp_path):
    recording = RecordingCallback(tmp_path / "run", schedule=kd.every(1), max_rows=5)
    distils(tmp_path, Distils, [recording], gradient_accumulation_steps=2).train()
    rows = next(StoredRun(tmp_path / "run").batches(["step", "residual"]))
    assert (rows["step"] < 3).all()
    assert rows["residual"].max() < 1e-5


def test_one_callback_is_needed(tmp_path):
    with pytest.raises(ValueError, match="needs one RecordingCallback in callbacks=, got 0"):
        distils(tmp_path, Distils, None)


def test_a_model_that_changes_its_logits_in_another_way_is_refused(tmp_path):
    recording = RecordingCallback(tmp_path / "run", schedule=kd.every(1))
    trainer = distils(tmp_path, Distils, [recording])
    trainer.teacher_model.config.logits_scaling = 2.0
    with pytest.raises(ValueError, match="changes its logits by logits_scaling"):
        trainer.train()
    assert trainer.recording.recorder is None


class Server:
    """A teacher as vLLM serves it, in place of the client that would ask it."""

    def __init__(self, base_url, connection_timeout):
        self.net = model(1, 16).eval()

    @torch.no_grad()
    def get_sequence_logprobs(self, sequences, prompt_lengths, top_logprobs, temperature):
        said = {"logprobs": [], "logprob_token_ids": [], "actual_logprobs": []}
        for ids, start in zip(sequences, prompt_lengths, strict=True):
            whole = torch.tensor(ids)
            rows = self.net(whole.unsqueeze(0)).logits[0, start - 1 : -1].log_softmax(-1)
            top = rows.topk(top_logprobs)
            said["logprobs"].append(top.values.tolist())
            said["logprob_token_ids"].append(top.indices.tolist())
            said["actual_logprobs"].append(rows.gather(-1, whole[start:, None]).tolist())
        return said


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Makes a trainer whose teacher is on a server."""
    server = pytest.importorskip("trl.experimental.server_distillation", reason=REASON)
    monkeypatch.setattr("trl.generation.vllm_client.VLLMClient", Server)

    def made(kind, callbacks=None):
        options = {"beta": 0.0, "loss_top_k": 4, "max_completion_length": 6}
        url = {"teacher_model_server_url": "http://localhost:8000"}
        args = server.ServerDistillationConfig(**common(tmp_path), **options, **url)
        data = datasets.Dataset.from_list(
            [{"prompt": f"w{i} w{i + 1} w{i + 2}"} for i in range(12)]
        )
        given = {"processing_class": tokenizer(), "callbacks": callbacks}
        return kind(model(0, 8), args=args, train_dataset=data, **given)

    return made


def test_a_teacher_on_a_server_is_refused_before_training(served, tmp_path):
    from trl.experimental.server_distillation import ServerDistillationTrainer

    class Both(RecordsDistillation, ServerDistillationTrainer):
        """What would record nothing."""

    recording = RecordingCallback(tmp_path / "run")
    with pytest.raises(ValueError, match=r"Both has no teacher here: .* with kd.truncation"):
        served(Both, [recording])
    assert not (tmp_path / "run").exists()


def test_what_the_server_says_is_held_against_the_student_as_the_docs_do(served):
    page = Path(__file__).parents[2] / "docs" / "integrations.md"
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    (code,) = [one for one in blocks if "ServerDistillationTrainer" in one]
    world = {}
    exec(compile(code, str(page), "exec"), world)
    trainer = served(world["Trainer"])
    trainer.train()
    logits, teacher = trainer.seen
    assert len(logits) == len(teacher) > 0
    values = kd.Truncated(4, tail="bucket", temperature=1.0)(logits, teacher, logits.argmax(-1))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert float(sum(values.values()).mean()) == pytest.approx(losses[-1], rel=1e-4)
    study = kd.truncation(logits, teacher, ks=(1, 4))
    assert study.tables["truncation"].n.max() == len(logits)
