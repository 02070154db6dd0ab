"""``kdanalysis table``: one table of a run or file, on the terminal or as a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdanalysis.cli.groups import Machine, grouped
from kdanalysis.cli.options import Keys, Overwrite, Run, Vocabulary, parse_keys

if TYPE_CHECKING:
    import pandas as pd


@grouped
def table(
    run: Run,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the table.")],
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="Write FILE.csv, FILE.parquet or FILE.tex instead."
        ),
    ] = None,
    overwrite: Overwrite = False,
    keys: Keys = None,
    vocabulary: Vocabulary = None,
    machine: Machine,
) -> None:
    """Print one table of a run, or of a file of logits, or write it to a file.

    An unknown NAME lists the tables there are.

    Example: kdanalysis table runs/gdkd magnitude --out magnitude.csv
    """
    if out is not None and out.suffix not in (".csv", ".parquet", ".tex"):
        raise ValueError(f"--out {out}: need a name that ends in .csv, .parquet or .tex")
    machine.prepare()
    from kdanalysis.cli.terminal import open_file, print_frame, warn_of_skipped
    from kdanalysis.core.wording import counted
    from kdanalysis.studies.compute import without_label
    from kdanalysis.studies.run import open_run, tables_of
    from kdanalysis.studies.setting import compared_fact
    from kdanalysis.studies.source import Source

    if run.is_file() or keys or vocabulary:
        source = open_file(run, parse_keys(keys), vocabulary)
    else:
        opened = open_run(run)
        warn_of_skipped(opened)
        source = Source(opened.path.name, None, opened)
    frame = tables_of(source, [name])[name]
    lacking = without_label(source)
    said = f"{counted(source.num_rows, 'sample')}{lacking}" if lacking else ""
    if out is None:
        print_frame(frame, title=": ".join(filter(None, (f"{name} of {run}", said))))
        if "loss" in frame and (note := compared_fact([source.info])):
            typer.echo(f"\nLosses compared: {note}.")
    else:
        write(frame, out, overwrite)
        typer.echo("; ".join(filter(None, (f"wrote {out}, {counted(len(frame), 'row')}", said))))


def write(frame: "pd.DataFrame", out: Path, overwrite: bool) -> None:
    """Write the frame in the format the file's name asks for: with every digit, or as LaTeX.

    LaTeX is a tabular with the rules of booktabs and the numbers as the terminal prints them.
    """
    from kdanalysis.pages.publish import output_file

    with output_file(out, overwrite) as file:
        if out.suffix == ".csv":
            frame.to_csv(file, index=False)
        elif out.suffix == ".tex":
            file.write_text(latex(frame), encoding="utf-8")
        else:
            frame.to_parquet(file, index=False)


def latex(frame: "pd.DataFrame") -> str:
    """Return the frame as a tabular; names with underscores are escaped."""
    from kdanalysis.draw.text import format_column, is_numeric

    columns = "".join("r" if is_numeric(frame[name]) else "l" for name in frame)
    texts = frame.apply(lambda column: format_column(column))
    return texts.to_latex(index=False, escape=True, column_format=columns)
