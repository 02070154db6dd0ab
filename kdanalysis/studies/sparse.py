"""read_sparse: a truncated teacher from a file, checked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdanalysis.core.sparse import SparseTeacher
from kdanalysis.store.sparse import load_sparse


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
        path: .npz, .pt, .safetensors, .parquet, .json, .jsonl or .tar; ``load_sparse`` lists the
            names that are known in each.
        vocabulary: number of tokens, where the file does not say it; of padded vocabularies the
            number of real ones.
        temperature: T of the log-probabilities, where the file does not say it; 1 if not given.
        kind: "logprobs"; "logits"; or "sampled", tokens that were drawn, with their counts.
        keys: names in the file for ids and logprobs, where they are unusual.
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
