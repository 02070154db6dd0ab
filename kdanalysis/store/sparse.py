"""load_sparse: the columns of a truncated teacher, from every kind of file that holds one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdanalysis.store.formats.distillkit import COLUMNS as PACKED
from kdanalysis.store.formats.distillkit import captured, read_captured, read_distillkit
from kdanalysis.store.formats.megatron import read_megatron
from kdanalysis.store.formats.parquet import ParquetTable
from kdanalysis.store.formats.served import read_served
from kdanalysis.store.formats.sparse_arrays import holds_arrays, read_arrays
from kdanalysis.store.reading import reading
from kdanalysis.store.sources import OPENERS, open_table
from kdanalysis.store.sparse_rows import Rows, without_fillers

SERVED, ARCHIVE = (".json", ".jsonl"), ".tar"


def holds_sparse(path: str | Path) -> bool:
    """Whether a file or folder holds a truncated teacher, by its kind or by the names in it.

    Raises:
        FileNotFoundError, ValueError: as ``load_logits``, of a kind that both read.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() in (*SERVED, ARCHIVE):
        return True
    if path.is_dir():
        return bool(_packed_parts(path))
    if path.suffix.lower() not in OPENERS:
        return False
    table = open_table(path)
    return holds_arrays(table) or {*PACKED} <= {*table.keys}


def load_sparse(
    path: str | Path,
    *,
    vocabulary: int | None = None,
    temperature: float | int | None = None,
    kind: str = "logprobs",
    keys: Mapping[str, str] | None = None,
    config: str | Path | None = None,
) -> dict[str, Any]:
    """Read the whole of a truncated teacher; the order of its rows is kept.

    The kinds of files, with the names that are known in them:

    - .npz, .pt, .safetensors, .parquet: token_ids, ids, target_token_ids, top_k_indices,
      topk_token_ids, topk_ids, topk_indices, teacher_ids or teacher_topk_... beside logprobs,
      target_logprobs, top_values, topk_logprobs, topk_log_probs, teacher_logprobs or
      teacher_topk_...; log_other, logsumexp_T, counts, target where there.
    - .json, .jsonl: what vLLM (prompt_logprobs) or SGLang (input_top_logprobs; where there are none
      output_top_logprobs, with the temperature) answered; positions that are null are left out.
    - .parquet of DistillKit: compressed_logprobs and bytepacked_indices; or its whole folder.
    - .tar of Megatron-LM: members named ITERATION.pt.zst.

    Args:
        path: the file.
        vocabulary: number of tokens; what the file says of it, or None, if not given.
        temperature: of the log-probabilities; 1 where neither this nor the file says it.
        kind: "logprobs", "logits" or "sampled".
        keys: names in the file for ids, logprobs, log_other, counts and target, where unusual.
        config: DistillKit's compression_config.yaml; the one beside the file if not given.

    Returns:
        ids (n, K) int32, -1 where absent; logprobs (n, K); log_other (n,), counts (n, K), target
        (n,), logsumexp {T: (n,)}, each None where the file has none; temperature, vocabulary, kind;
        fillers, the number of places that hold -1000 or less and count as absent.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file of another kind, without the names, damaged, or that contradicts what is
            given.
    """
    path = Path(path).expanduser()
    rows = _read(path, keys or {}, config, temperature)
    _refuse_contradiction(path, rows.temperature, temperature, kind)
    ids, fillers = without_fillers(rows)
    if ids.max(initial=0) >= 2**31:
        raise ValueError(f"{path} has the token {ids.max()}, which no vocabulary has")
    return {
        "ids": ids.astype("int32"),
        "logprobs": rows.logprobs,
        **{name: rows.more.get(name) for name in ("log_other", "counts", "target")},
        "logsumexp": dict(rows.logsumexp) or None,
        "temperature": rows.temperature or temperature or 1.0,
        "vocabulary": rows.vocabulary if vocabulary is None else vocabulary,
        "kind": kind,
        "fillers": fillers,
    }


def _refuse_contradiction(
    path: Path, stated: float | None, temperature: float | int | None, kind: str
) -> None:
    """Refuse another temperature or kind than a file says of itself."""
    if stated is not None and temperature not in (None, stated):
        raise ValueError(
            f"{path} was made at T = {stated:g}, and temperature={temperature:g} is given: leave "
            "it out, or T would be taken twice"
        )
    if stated is not None and kind == "logits":
        raise ValueError(
            f"{path} says of itself that it holds log-probabilities at T = {stated:g}, and kind "
            f"{kind!r} is given: leave it out"
        )


def _packed_parts(path: Path) -> list[Path]:
    """Return the files of a folder that DistillKit wrote, none of another one's."""
    files = captured(path)
    return files if files and {*PACKED} <= {*open_table(files[0]).keys} else []


def _read(
    path: Path,
    keys: Mapping[str, str],
    config: str | Path | None,
    temperature: float | int | None,
) -> Rows:
    suffix = path.suffix.lower()
    if files := _packed_parts(path):
        if keys:
            raise ValueError(f"{path} has names of its own kind: keys cannot name {[*keys]}")
        with reading(path):
            return read_captured([open_table(file) for file in files], config)
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder without a data_N.parquet of packed numbers, as DistillKit writes "
            f"them: need one of these, or a file"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist or is no file")
    if suffix not in (*SERVED, ARCHIVE, *OPENERS):
        kinds = ", ".join((*OPENERS, *SERVED, ARCHIVE))
        raise ValueError(f"{path} is of a kind we do not read: need one of {kinds}")
    with reading(path):
        table = None if suffix in (*SERVED, ARCHIVE) else open_table(path)
        packed = isinstance(table, ParquetTable) and {*PACKED} <= {*table.keys}
        if config is not None and not packed:
            raise ValueError(
                f"{path} holds no packed numbers of DistillKit's, and needs no settings: leave out "
                f"what is given as config of kd.read_sparse"
            )
        if table is not None and not packed:
            return read_arrays(table, keys)
        if keys:
            raise ValueError(f"{path} has names of its own kind: keys cannot name {[*keys]}")
        if packed:
            return read_distillkit(table, config)
        return read_served(path, temperature) if suffix in SERVED else read_megatron(path)
