"""``kdanalysis sparsify``: the most probable tokens of a dense file of logits."""

from pathlib import Path
from typing import Annotated

import typer

from kdanalysis.cli.options import (
    Keys,
    Overwrite,
    Temperatures,
    Vocabulary,
    parse_keys,
    parse_temperatures,
)


def sparsify(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="DENSE", help="Logits: .npz, .npy, .pt, .safetensors, .parquet; a run."
        ),
    ],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Write FILE.parquet.")],
    k: Annotated[int, typer.Option("-k", help="Most probable tokens to keep of every row.")] = 64,
    temperatures: Temperatures = "1",
    keys: Keys = None,
    vocabulary: Vocabulary = None,
    overwrite: Overwrite = False,
) -> None:
    """Keep the teacher's k most probable tokens of every row, and the mass of all others.

    The log-probabilities are at the first temperature. At the others the file is as exact: it
    holds their logsumexp. A run recorded with TopK serves as well, for the k and T that it keeps.

    Example: kdanalysis sparsify teacher.safetensors -k 64 --temperatures 1,2 --out top64.parquet
    """
    ladder, names = parse_temperatures(temperatures), parse_keys(keys)
    from kdanalysis.cli.progress import watching
    from kdanalysis.cli.terminal import heading, open_file
    from kdanalysis.pages.publish import output_file
    from kdanalysis.studies.sparsify import sparsify as write

    source = open_file(file, names, vocabulary, kept=True)
    with output_file(out, overwrite) as building:
        write(source, building, k, ladder, watching("Reading"))
    typer.echo(f"{heading(source, file)}: {k} tokens a row")
    typer.echo(f"wrote {out}, {out.stat().st_size / max(1, source.num_rows):,.0f} bytes a row")
