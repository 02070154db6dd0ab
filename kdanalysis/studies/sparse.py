"""read_sparse: a truncated teacher from a file, checked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdanalysis.core.arguments import typed
from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.core.streams import check_temperatures
from kdanalysis.store.sources import load_side
from kdanalysis.store.sparse import holds_sparse, load_sparse


@typed
def read_sparse(
    path: str | Path,
    *,
    vocabulary: int | None = None,
    temperature: float | int | None = None,
    kind: str = "logprobs",
    keys: Mapping[str, str] | None = None,
    config: str | Path | None = None,
) -> SparseTeacher:
    """Read a truncated teacher as vLLM, SGLang, DistillKit, Megatron-LM or named arrays keep it.

    Args:
        path: .npz, .pt, .safetensors or .parquet with arrays (n, K), or sequences of them:
            token_ids, ids, target_token_ids, top_k_indices, topk_token_ids, topk_ids,
            topk_indices, teacher_ids or teacher_topk_... beside logprobs, target_logprobs,
            top_values, topk_logprobs, topk_log_probs, teacher_logprobs or teacher_topk_..., and
            where there are such log_other, target, counts, logsumexp_1, logsumexp_2, ... (of all
            raw logits over that T). Or .json and .jsonl as vLLM (prompt_logprobs) and SGLang
            (input_top_logprobs; without these output_top_logprobs, with the temperature that
            sampled them) answer, positions that are null left out; .parquet of DistillKit, or the
            folder that it writes; .tar of Megatron-LM.
        vocabulary: number of tokens, where the file does not say it; of padded vocabularies the
            number of real ones.
        temperature: T of the log-probabilities, where the file does not say it; 1 if not given.
        kind: "logprobs"; "logits"; or "sampled", tokens that were drawn, with their counts.
        keys: names in the file for ids, logprobs, log_other, counts and target, where unusual.
        config: DistillKit's compression_config.yaml; the one beside the file if not given.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or a row cannot be true: a token twice, an id beyond the
            vocabulary, probabilities that sum to more than 1, no token at all. The file and the
            first such row are named.
    """
    options = {"vocabulary": vocabulary, "temperature": temperature, "kind": kind}
    columns = load_sparse(path, **options, keys=keys, config=config)
    return teacher_of(columns, path)


def teacher_of(columns: Mapping[str, Any], path: str | Path) -> SparseTeacher:
    """Return the teacher of columns as ``load_sparse`` gives them.

    Raises:
        ValueError: as ``read_sparse``.
    """
    given = {name: value for name, value in columns.items() if name not in ("target", "fillers")}
    try:
        teacher = SparseTeacher(**given)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    teacher.found["sentinel"] += columns["fillers"]
    return teacher


def is_sparse(given: Any, keys: Mapping[str, str] | None = None) -> bool:
    """Whether what a user names is a file that holds a truncated teacher.

    Args:
        given: a path, or anything else.
        keys: names in the file; those of tokens say that it does.

    Raises:
        FileNotFoundError, ValueError: as ``holds_sparse``.
    """
    named = not {"ids", "logprobs"}.isdisjoint(keys or ())
    return isinstance(given, str | Path) and (named or holds_sparse(given))


def read_known(
    path: str | Path,
    vocabulary: int | None,
    keys: Mapping[str, str] | None = None,
    kind: str = "logprobs",
    config: str | Path | None = None,
) -> tuple[SparseTeacher, Tensor | None]:
    """Read a truncated teacher and its labels (n,), None where there are none; see ``read_sparse``.

    Raises:
        ValueError: as ``read_sparse``, or a file of draws.
    """
    columns = load_sparse(path, vocabulary=vocabulary, keys=keys, kind=kind, config=config)
    if columns["counts"] is not None or kind == "sampled":
        raise ValueError(
            f"{path} holds draws with their counts, of which only an estimate of the teacher can "
            "be made: kd.read_sparse(kind='sampled') reads it, for the losses rs and sample"
        )
    target = columns["target"]
    return teacher_of(columns, path), None if target is None else torch.from_numpy(target)


def read_student(
    path: str | Path, vocabulary: int | None, key: str | None = None, stated: int | None = None
) -> np.ndarray:
    """Read all of a student's logits (n, c) from a file, cut to the vocabulary; see ``load_side``.

    Where none is given they are cut to that which the teacher's file states.

    Raises:
        FileNotFoundError, ValueError: as ``load_side``, or fewer classes than are stated.
    """
    side = load_side(path, "student_logits", vocabulary, key)
    if vocabulary is None and stated is not None:
        if side.shape[1] < stated:
            raise ValueError(
                f"the student's logits in {path} have {side.shape[1]} classes, and the teacher's "
                f"file states a vocabulary of {stated}: need the same; where its last ones are "
                f"padding, vocabulary={side.shape[1]} leaves them out"
            )
        side = load_side(path, "student_logits", stated, key)
    return np.concatenate([batch["teacher_logits"] for batch in side.batches()])


def known_at(
    teacher: SparseTeacher, temperatures: Sequence[float | int], path: str | Path
) -> tuple[list[SparseTeacher], str]:
    """Return the teacher at every T at which its tail is known, and which T were left out, and why.

    The temperature of the file where it is known at none of them.

    Raises:
        ValueError: a T is no number above 0.
    """
    asked = check_temperatures(temperatures)
    known = {teacher.temperature, *(teacher.logsumexp or {})}
    ladder = [teacher.at(t) for t in asked if t in known]
    missing = ", ".join(f"{t:g}" for t in asked if t not in known)
    why = f"T = {missing}: {Path(path).name} has no logsumexp there, so the tail is not known"
    return ladder or [teacher], why if missing else ""
