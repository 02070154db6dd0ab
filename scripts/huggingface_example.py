"""Distil a language model with the Trainer, recorded: a small GPT-2 learns from a larger one.

    python scripts/huggingface_example.py --out huggingface-example
    python scripts/huggingface_example.py --text book.txt --steps 2000 --out book-example

Both start from random weights and read the lines of Python's own reference (or of your text), one
byte a token, padded: no network. Half a minute on one CPU core; needs
pip install 'kdanalysis[transformers]'. What is ours are the callback and the Trainer's name.
"""

import argparse
from pathlib import Path
from pydoc_data.topics import topics

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed

import kdanalysis as kd
from kdanalysis.integrations.huggingface import DistillationCallback, DistillationTrainer

LENGTH = 64
LOSS = kd.Sum(kd.CrossEntropy(), kd.GDKD(k=5, weights=(1, 1, 2), temperature=2.0))


def lines(text: str) -> list[dict[str, torch.Tensor]]:
    """Encode lines as bytes, end them with 0 and pad them; padding has the label -100."""
    entries = []
    for number, line in enumerate(line for line in text.split("\n") if len(line) > 20):
        seen = torch.tensor([*line.encode("ascii", "replace")[: LENGTH - 1], 0])
        padding = LENGTH - len(seen)
        labels = torch.nn.functional.pad(seen, (0, padding), value=-100)
        mask = (labels >= 0).long()
        entry = {"input_ids": labels.clamp(min=0), "attention_mask": mask, "labels": labels}
        entries.append(entry | {"sample_id": number})
    return entries


def transformer(layers: int, width: int) -> GPT2LMHeadModel:
    """A GPT-2 over 128 byte values with fresh weights."""
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    shape = {"n_layer": layers, "n_embd": width, "n_head": 4, "n_positions": LENGTH}
    return GPT2LMHeadModel(GPT2Config(vocab_size=128, **shape, **ends))


def main() -> None:
    """Train the teacher, distil the student, and print what the run says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", type=Path)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    set_seed(0)

    text = args.text.read_text() if args.text else "\n".join(topics.values())
    data = lines(text)
    train, valid = data[:-200], data[-200:]
    training = TrainingArguments(
        output_dir=args.out / "trainer",
        max_steps=args.steps,
        per_device_train_batch_size=32,
        learning_rate=3e-3,
        logging_steps=25,
        save_strategy="no",
        report_to=[],  # or "tensorboard", "wandb", ...: the norms go wherever the loss goes
        disable_tqdm=True,
    )

    teacher = transformer(layers=2, width=64)
    learnt = Trainer(teacher, training, train_dataset=train, eval_dataset=valid)
    learnt.train()

    recording = {"schedule": kd.every(5), "max_rows": 256}
    callback = DistillationCallback(args.out / "run", LOSS, teacher=teacher, **recording)
    student = transformer(layers=1, width=32)
    options = {"train_dataset": train, "eval_dataset": valid, "callbacks": [callback]}
    trainer = DistillationTrainer(student, training, **options)
    trainer.train()

    plain = Trainer(student, training, eval_dataset=valid)
    for name, one in (("teacher", learnt), ("student", plain)):
        print(f"{name}: cross-entropy {one.evaluate()['eval_loss']:.3f} nats a byte")
    print(kd.open_run(args.out / "run").table("agreement").tail(3).to_string(index=False))
    print(f"the page: kdanalysis report {args.out / 'run'} -o {args.out / 'report.html'}")


if __name__ == "__main__":
    main()
