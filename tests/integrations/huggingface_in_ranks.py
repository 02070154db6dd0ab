"""Distils with the Trainer, recorded: torchrun huggingface_in_ranks.py FOLDER BATCH_SIZE."""

import sys
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel, TrainingArguments

from kdanalysis import (
    KD,
    Layers,
    Store,
    every,
)
from kdanalysis.integrations.huggingface import DistillationCallback, DistillationTrainer


def transformer(seed: int) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    drops = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    shape = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 6}
    return GPT2LMHeadModel(GPT2Config(vocab_size=11, **ends, **drops, **shape))


def sentence(row: int) -> dict:
    tokens = torch.arange(row, row + 6) % 11
    labels = tokens.where(torch.arange(6) < (2 + row % 5 if row % 8 != 1 else 0), -100)
    return {"input_ids": tokens, "labels": labels, "sample_id": row}


if __name__ == "__main__":
    folder, batch = Path(sys.argv[1]), int(sys.argv[2])
    keep = Layers("logits", "transformer.h.0", "lm_head")
    options = {"schedule": every(1), "store": Store("float32"), "keep": keep}
    trainer = DistillationTrainer(
        model=transformer(0),
        args=TrainingArguments(
            output_dir=folder / "out",
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            num_train_epochs=1,
            per_device_train_batch_size=batch,
            disable_tqdm=True,
        ),
        train_dataset=[sentence(row) for row in range(16)],
        callbacks=[DistillationCallback(folder / "run", KD(), teacher=transformer(1), **options)],
    )
    trainer.train()
    if trainer.is_world_process_zero():
        torch.save(trainer.model.state_dict(), folder / "student.pt")
