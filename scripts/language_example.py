"""Distil a language model and ask what a truncated teacher would have taught it.

    python scripts/language_example.py --out language
    python scripts/language_example.py --minutes 60 --vocabulary 16000 --out longer

A tokenizer and two small causal transformers, of 4 layers and of 2, learn the source text of
Python's standard library: no network, one CPU core, half an hour as it stands. The student learns
from all of the teacher's logits (KD, T = 1); snapshots of it are then held against teachers of
whom only the K most probable tokens are known. Told beforehand is how long it will take here. The
same command goes on after a kill, with the same weights in the end as without one.

OUT/results holds small tables and the manifest; ``notebooks/14_language.ipynb`` reads them.
"""

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from language.network import Network
from language.results import write
from language.text import END, Document, documents, train_tokenizer
from language.training import Gradient, Plan, batch_at, one_step, train
from tokenizers import Tokenizer
from torch import Tensor

import kdanalysis as kd

TRAINED = "kd:temperature=1"  # what the student learns


def main() -> None:
    """Plan, train both networks, and write the tables."""
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    found = documents()
    tokenizer = read_tokenizer(options, found)
    tokens = encode(options.out / "tokens.npy", tokenizer, found)
    plan = settle(options, tokens)
    teacher, student = train_both(plan, tokens, options.out)
    del student
    write(plan, TRAINED, teacher, tokenizer, found, options.out)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--vocabulary", type=int, default=Plan.vocabulary)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--steps", type=int, help="of either training (700)")
    size.add_argument("--minutes", type=float, help="for both together, instead of steps")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.steps is not None and options.steps < 1:
        parser.error(f"--steps must be at least 1, got {options.steps}")
    if options.minutes is not None and not options.minutes > 0:
        parser.error(f"--minutes must be above 0, got {options.minutes}")
    if options.vocabulary < 512:
        parser.error(f"--vocabulary must be at least 512, got {options.vocabulary}")
    return options


def read_tokenizer(options: argparse.Namespace, found: list[Document]) -> Tokenizer:
    """Return the tokenizer of an earlier start, or learn one from what is not held out."""
    path = options.out / "tokenizer.json"
    if path.exists():
        return Tokenizer.from_file(str(path))
    tokenizer = train_tokenizer([one.text for one in found if not one.held_out], options.vocabulary)
    replace_text(path, tokenizer.to_str())
    return tokenizer


def encode(path: Path, tokenizer: Tokenizer, found: list[Document]) -> np.ndarray:
    """Return the tokens to train on, every document after the token of an end."""
    if not path.exists():
        end = tokenizer.token_to_id(END)
        texts = [one.text for one in found if not one.held_out]
        ids = [[end, *one.ids] for one in tokenizer.encode_batch(texts)]
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.save(file, np.concatenate(ids).astype(np.int32))
        part.replace(path)
    return np.load(path)


def settle(options: argparse.Namespace, tokens: np.ndarray) -> Plan:
    """Return the plan of an earlier start, or make one; say how long it will take."""
    path = options.out / "plan.json"
    plan = Plan(vocabulary=options.vocabulary, seed=options.seed)
    seconds = {name: seconds_of(plan, name, tokens) for name in ("teacher", "student")}
    if options.minutes is not None:
        steps = max(1, round(60 * options.minutes / sum(seconds.values())))
        plan = replace(plan, teacher_steps=steps, student_steps=steps)
    elif options.steps is not None:
        plan = replace(plan, teacher_steps=options.steps, student_steps=options.steps)
    if path.exists():
        held = json.loads(path.read_text())
        asked = json.loads(json.dumps(asdict(plan)))
        if options.minutes is not None:  # a clock never says the same twice
            asked |= {name: held[name] for name in ("teacher_steps", "student_steps")}
        if held != asked:
            differ = [name for name in held if held[name] != asked[name]]
            raise SystemExit(
                f"{options.out} was begun with another {', '.join(differ)}: give what it was begun "
                f"with, or another --out"
            )
        nested = {name: tuple(held[name]) for name in ("teacher", "student")}
        plan = Plan(**(held | nested))
    replace_text(path, json.dumps(asdict(plan), indent=2))
    steps = {"teacher": plan.teacher_steps, "student": plan.student_steps}
    minutes = {name: seconds[name] * steps[name] / 60 for name in steps}
    print(
        f"{len(tokens):,} tokens to train on; about {sum(minutes.values()):.0f} minutes of one "
        f"core here from the beginning: "
        + ", ".join(f"{name} {steps[name]} steps ({minutes[name]:.0f})" for name in steps),
        flush=True,
    )
    return plan


def seconds_of(plan: Plan, name: str, tokens: np.ndarray) -> float:
    """Measure a step, after one that only warms up."""
    network, teacher = plan.network(name), plan.network("teacher")
    gradient = labels_gradient if name == "teacher" else distilled(teacher)
    optimizer = torch.optim.AdamW(network.parameters())
    for _ in range(2):
        start = time.process_time()
        one_step(network, optimizer, batch_at(tokens, plan, name, 0), gradient)
    return time.process_time() - start


def train_both(plan: Plan, tokens: np.ndarray, out: Path) -> tuple[Network, Network]:
    """Train the teacher on the text, then the student on the teacher."""
    teacher = train(plan, "teacher", tokens, labels_gradient, out, plan.teacher_steps)
    student = train(plan, "student", tokens, distilled(teacher), out, plan.student_steps)
    return teacher, student


def labels_gradient(logits: Tensor, seen: Tensor, following: Tensor) -> Tensor:
    """Return the gradient of cross-entropy, a row a token."""
    gradient = logits.softmax(-1)
    gradient[torch.arange(len(following)), following] -= 1
    return gradient


def distilled(teacher: Network) -> Gradient:
    """Return the gradient of the student's loss, a row a token, in closed form."""
    loss = kd.parse_loss(TRAINED)

    def gradient(logits: Tensor, seen: Tensor, following: Tensor) -> Tensor:
        with torch.no_grad():
            given = teacher(seen).flatten(0, 1)
        return sum(loss.gradients(logits, given, following).values())

    return gradient


def replace_text(path: Path, text: str) -> None:
    """Write a file whole: a kill leaves the old one."""
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


if __name__ == "__main__":
    main()
