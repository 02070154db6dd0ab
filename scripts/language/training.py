"""Training that goes on after a kill: the same steps, batches and weights as without one."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from language.network import Network

WARMUP = 0.05  # part of the steps in which the learning rate rises
KEEP_SECONDS = 60.0  # between two states kept of an unfinished training
Gradient = Callable[[Tensor, Tensor, Tensor], Tensor]  # logits, tokens, next tokens: of the loss


@dataclass(frozen=True)
class Plan:
    """How both networks are trained; with the text, it fixes every weight."""

    vocabulary: int = 8000
    length: int = 128
    batch: int = 16
    teacher: tuple[int, int, int] = (4, 128, 4)  # layers, width, heads
    student: tuple[int, int, int] = (2, 96, 3)
    teacher_steps: int = 700
    student_steps: int = 700
    learning_rate: float = 3e-3
    seed: int = 0

    def network(self, name: str) -> Network:
        """Return the teacher or the student with fresh weights."""
        torch.manual_seed(self.seed + (name == "student"))
        return Network(self.vocabulary, self.length, *getattr(self, name))

    def snapshots(self) -> list[int]:
        """Return the student's steps that are looked at: doubled, from 1/32 of all on."""
        return sorted({max(1, self.student_steps >> halved) for halved in range(6)})


def batch_at(tokens: np.ndarray, plan: Plan, name: str, step: int) -> Tensor:
    """Return the windows of a step (batch, length + 1); none depends on those before it."""
    draw = np.random.default_rng((plan.seed, name == "student", step))
    starts = draw.integers(len(tokens) - plan.length - 1, size=plan.batch)
    windows = starts[:, None] + np.arange(plan.length + 1)
    return torch.from_numpy(tokens[windows].astype(np.int64))


def rate_at(step: int, steps: int) -> float:
    """Return the factor on the learning rate: up to 1, then down to a tenth by half a cosine."""
    rise = max(1.0, WARMUP * steps)
    if step < rise:
        return (step + 1) / rise
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - rise) / max(1.0, steps - rise)))


def train(
    plan: Plan, name: str, tokens: np.ndarray, gradient: Gradient, folder: Path, steps: int
) -> Network:
    """Train a network to its last step from wherever ``folder`` has it.

    Its snapshots, and a state once a minute, are written whole or not at all.
    """
    network = plan.network(name)
    optimizer = torch.optim.AdamW(network.parameters(), betas=(0.9, 0.95), weight_decay=0.1)
    state, begin = folder / f"{name}.pt", 0
    if state.exists():
        held = torch.load(state, weights_only=True)
        network.load_state_dict(held["network"])
        optimizer.load_state_dict(held["optimizer"])
        begin = held["step"]
    looked_at = plan.snapshots() if name == "student" else []
    kept, spent = time.monotonic(), time.process_time()
    for step in range(begin, steps):
        optimizer.param_groups[0]["lr"] = plan.learning_rate * rate_at(step, steps)
        value = one_step(network, optimizer, batch_at(tokens, plan, name, step), gradient)
        done = step + 1
        if done in looked_at:
            save(network.state_dict(), folder / f"student-{done}.pt")
        if done == steps or time.monotonic() - kept > KEEP_SECONDS:
            whole = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
            save(whole | {"step": done}, state)
            each = (time.process_time() - spent) / (done - begin)
            print(
                f"{name}: step {done} of {steps}, last loss {value:.3f} nats, {each:.2f} CPU s a "
                f"step",
                flush=True,
            )
            kept = time.monotonic()
    return network.eval()


def one_step(
    network: Network,
    optimizer: torch.optim.Optimizer,
    windows: Tensor,
    gradient: Gradient,
) -> float:
    """Take a step, and return the cross-entropy with the text before it."""
    seen, following = windows[:, :-1], windows[:, 1:].flatten()
    logits = network(seen).flatten(0, 1)
    optimizer.zero_grad()
    logits.backward(gradient(logits.detach(), seen, following) / len(logits))
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    with torch.no_grad():
        return float(torch.nn.functional.cross_entropy(logits[::16], following[::16]))


def save(state: dict[str, Any], path: Path) -> None:
    """Write a file whole: a kill leaves the old one."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


@torch.no_grad()
def logits_of(network: Network, tokens: np.ndarray, size: int = 8) -> Tensor:
    """Return the logits of all windows, one row a predicted token, float32."""
    windows = torch.from_numpy(tokens[:, :-1].astype(np.int64))
    parts: Iterable[Tensor] = (network(part).flatten(0, 1) for part in windows.split(size))
    return torch.cat(list(parts))
