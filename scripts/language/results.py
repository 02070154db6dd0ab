"""Small tables of what a truncated teacher would have taught each snapshot of the student."""

import json
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tokenizers import Tokenizer
from torch import Tensor

import kdanalysis as kd
from language.network import Network
from language.text import CLASSES, Document, Rows, held_out_rows
from language.training import Plan, logits_of

KS = tuple(2**power for power in range(12))  # those below the vocabulary
DOCUMENTS = 40  # held-out files, a window of each
LOSSES = "kd,trl-server,verl,axolotl,nemo"  # at their own K
FEW = 1024  # rows for what looks at every class many times
NORMAL = 1.96  # standard errors of an interval of 95 percent
EVERY_STEP = ("truncation_direction", "truncation_tail", "truncation_payers")


def write(
    plan: Plan,
    trained: str,
    teacher: Network,
    tokenizer: Tokenizer,
    found: list[Document],
    out: Path,
) -> None:
    """Write OUT/results: tables by step of the student, and the manifest; whole or not at all."""
    held_out = [one for one in found if one.held_out]
    rows = held_out_rows(tokenizer, held_out, plan.length, DOCUMENTS, plan.seed)
    theirs, following = logits_of(teacher, rows.tokens), torch.from_numpy(rows.tokens[:, 1:])
    target = following.flatten().long()
    tables: dict[str, list[pd.DataFrame]] = {}
    for step, student in snapshots(plan, out):
        ours = logits_of(student, rows.tokens)
        print(f"results: step {step}", flush=True)
        of_step = by_step(ours, theirs, target, rows)
        for name, table in of_step.items():
            tables.setdefault(name, []).append(table.assign(step=step))
    joined = {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}
    joined |= at_the_end(ours, theirs, target)
    building = out / "results.part"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    for name, table in joined.items():
        table.to_csv(building / f"{name}.csv", index=False, float_format="%.6g")
    facts = manifest(plan, trained, found, rows, sorted(set(joined["quality"].step)))
    (building / "manifest.json").write_text(json.dumps(facts, indent=2))
    shutil.rmtree(out / "results", ignore_errors=True)
    building.replace(out / "results")
    print(f"wrote {out / 'results'}", flush=True)


def ks_of(logits: Tensor) -> tuple[int, ...]:
    """Return how many tokens are kept, of logits (n, c)."""
    return tuple(k for k in KS if k < logits.shape[-1])


def snapshots(plan: Plan, out: Path) -> Iterator[tuple[int, Network]]:
    """Yield the steps that were kept, in their order, with the student of each."""
    numbers = [int(path.stem.split("-")[1]) for path in out.glob("student-*.pt")]
    for step in sorted(numbers):
        student = plan.network("student").eval()
        student.load_state_dict(torch.load(out / f"student-{step}.pt", weights_only=True))
        yield step, student


def by_step(ours: Tensor, theirs: Tensor, target: Tensor, rows: Rows) -> dict[str, pd.DataFrame]:
    """Return the tables of one snapshot."""
    documents, length = rows.classes.shape
    about = {
        "target": target,
        "position": np.tile(np.arange(length), documents),
        "token_class": np.array(CLASSES)[rows.classes.ravel()],
    }
    study = kd.truncation(ours, theirs, ks_of(theirs), **about)
    tables = {name: study.tables[name] for name in EVERY_STEP}
    lost = study.tables["truncation"]
    of_documents = over_documents(ours, theirs, length)
    tables["truncation"] = lost.rename(columns={"low": "low_tokens", "high": "high_tokens"}).merge(
        of_documents, on=["measure", "convention", "k"]
    )
    tables["quality"] = quality(ours, theirs, target, length)
    return tables


def over_documents(ours: Tensor, theirs: Tensor, length: int) -> pd.DataFrame:
    """Lost shares and their mean sizes with intervals in which documents, not tokens, are draws.

    ``low`` and ``high`` are of the share; ``size`` is the mean lost norm (or value) of a token,
    ``size_low`` and ``size_high`` its interval.
    """
    lost, full, index = [], [], None
    for student, teacher in zip(ours.split(length), theirs.split(length), strict=True):
        analyzer = kd.analyzers["truncation"](theirs.shape[1], ks_of(theirs))
        analyzer.update(student, teacher)
        index = analyzer.table()[["measure", "convention", "k"]]
        lost.append(analyzer.lost[0].flatten())
        full.append(analyzer.full[0].repeat_interleave(analyzer.lost[0, 0].numel()))
    gone, whole = torch.stack(lost).numpy(), torch.stack(full).numpy()
    share = gone.sum(0) / whole.sum(0)
    half = half_width(gone - share * whole) / whole.mean(0)
    size = gone.mean(0) / length
    off = half_width(gone - gone.mean(0)) / length
    found = {"low": share - half, "high": share + half}
    found |= {"size": size, "size_low": size - off, "size_high": size + off}
    return index.assign(documents=len(gone), **found)


def half_width(residuals: np.ndarray) -> np.ndarray:
    """Return half the interval of 95 percent of a mean over rows, from what is left of each."""
    return NORMAL * residuals.std(0, ddof=1) / np.sqrt(len(residuals))


def quality(ours: Tensor, theirs: Tensor, target: Tensor, length: int) -> pd.DataFrame:
    """Cross-entropy, accuracy, KL to the teacher and agreement, with intervals over documents."""
    log_p, log_q = theirs.log_softmax(-1), ours.log_softmax(-1)
    places = torch.arange(len(target))
    values = {
        "teacher's cross-entropy": -log_p[places, target],
        "student's cross-entropy": -log_q[places, target],
        "teacher is right": (theirs.argmax(-1) == target).float(),
        "student is right": (ours.argmax(-1) == target).float(),
        "KL to the teacher": (log_p.exp() * (log_p - log_q)).sum(-1),
        "same first token": (theirs.argmax(-1) == ours.argmax(-1)).float(),
    }
    rows = []
    for name, value in values.items():
        means = value.view(-1, length).mean(-1).numpy()
        half = half_width(means - means.mean())
        rows.append((name, means.mean(), means.mean() - half, means.mean() + half))
    return pd.DataFrame(rows, columns=["quantity", "mean", "low", "high"])


def at_the_end(ours: Tensor, theirs: Tensor, target: Tensor) -> dict[str, pd.DataFrame]:
    """Return tables of the last student alone: sampling, T, the field's losses, the card."""
    study = kd.truncation(ours[:FEW], theirs[:FEW], ks_of(theirs), (1, 2))
    named = {"teacher_logits": theirs[:FEW], "student_logits": ours[:FEW], "target": target[:FEW]}
    card, held = kd.diagnose(named, (1.0, 2.0)), kd.compare(named, losses=LOSSES, temperature=1.0)
    return {
        "bias": study.tables["truncation_bias"],
        "temperature": study.tables["truncation_temperature"],
        "tokens": card.tables["tokens"],
        "direction": held.tables["direction"],
    }


def manifest(
    plan: Plan, trained: str, found: list[Document], rows: Rows, steps: list[int]
) -> dict[str, object]:
    """Return what was done, with what, for readers of the tables."""
    return {
        "text": "source of Python's standard library",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "documents to train on": sum(not one.held_out for one in found),
        "documents looked at": len(rows.names),
        "tokens looked at": int(rows.classes.size),
        "student's loss": trained,
        **asdict(plan),
        "student's steps looked at": steps,
        "K": [k for k in KS if k < plan.vocabulary],
        "documents": rows.names,
    }
