"""Where a Hugging Face training would go on in silence, it is told what is wrong."""

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainingArguments,
)

from kdanalysis import KD, every, open_run
from kdanalysis.integrations.huggingface import DistillationCallback, DistillationTrainer


def language_model(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    shape = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 7, "vocab_size": 13}
    return GPT2LMHeadModel(GPT2Config(bos_token_id=0, eos_token_id=0, **shape))


def classifier(*names: str, body=None) -> nn.Module:
    torch.manual_seed(0)
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 13}
    classes = {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}
    model = BertForSequenceClassification(BertConfig(intermediate_size=8, **shape, **classes))
    model.bert = model.bert if body is None else body
    return model


class Rows(Dataset):
    """Eight rows of five tokens; one label a token, or a row."""

    def __init__(self, labels: torch.Tensor) -> None:
        generator = torch.Generator().manual_seed(0)
        self.tokens, self.labels = torch.randint(13, (8, 5), generator=generator), labels

    def __len__(self) -> int:
        return 8

    def __getitem__(self, row: int) -> dict:
        return {"input_ids": self.tokens[row], "labels": self.labels[row]}


def train(tmp_path, student, teacher, labels, kind=DistillationTrainer) -> nn.Module:
    callback = DistillationCallback(tmp_path / "run", KD(), teacher=teacher, schedule=every(1))
    options = {"per_device_train_batch_size": 4, "num_train_epochs": 1, "save_strategy": "no"}
    fixed = {"report_to": [], "use_cpu": True, "disable_tqdm": True, "seed": 3}
    args = TrainingArguments(output_dir=tmp_path / "out", **options, **fixed)
    kind(model=student, args=args, train_dataset=Rows(labels), callbacks=[callback]).train()
    return student


def test_a_training_without_any_label_is_warned_about_with_its_cause(tmp_path):
    labels = torch.full((8, 5), -100)
    said = r"nothing of this training was recorded into .*run: none of its 2 captured batches held"
    with pytest.warns(RuntimeWarning, match=said):
        train(tmp_path, language_model(0), language_model(1), labels)
    assert not (tmp_path / "run").exists()


def test_a_trainer_that_hands_on_no_batch_is_warned_about(tmp_path):
    labels = torch.randint(13, (8, 5), generator=torch.Generator().manual_seed(1))
    with pytest.warns(RuntimeWarning, match="nothing of this training was recorded.*call loss"):
        train(tmp_path, language_model(0), language_model(1), labels, kind=Trainer)


def test_classes_in_another_order_are_refused_before_the_first_step(tmp_path):
    labels = torch.arange(8) % 3
    student, teacher = classifier("cat", "dog", "fox"), classifier("cat", "fox", "dog")
    before = [p.clone() for p in student.parameters()]
    with pytest.raises(ValueError, match="class 1 is 'dog' to the student and 'fox' to the"):
        train(tmp_path, student, teacher, labels)
    assert all(torch.equal(a, b) for a, b in zip(before, student.parameters(), strict=True))


def test_a_body_of_both_drops_for_the_student_and_not_for_the_teacher(tmp_path):
    labels = torch.arange(8) % 3
    student = classifier("a", "b", "c")
    teacher = classifier("a", "b", "c", body=student.bert)
    modes = []
    student.bert.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    train(tmp_path, student, teacher, labels)
    assert modes == [True, False] * 2  # student, teacher, in each of two steps
    assert student.bert.training
    assert open_run(tmp_path / "run").num_rows == 8
