"""``kdanalysis truncation``: what a teacher of a few known classes loses, from saved logits."""

from pathlib import Path
from typing import Annotated, Any

import typer

from kdanalysis.cli.groups import Known, Machine, Output, grouped
from kdanalysis.cli.options import (
    Keys,
    Temperatures,
    Vocabulary,
    parse_keys,
    parse_ks,
    parse_temperatures,
)
from kdanalysis.core.ranks import RANKS


@grouped
def truncation(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Logits of teacher and student, or a truncated teacher: as read_sparse reads it.",
        ),
    ],
    *,
    student: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The student's logits, where FILE has none."),
    ] = None,
    ks: Annotated[
        str | None,
        typer.Option(
            "--ks", metavar="K,K,...", help="Known classes, such as 8,16-20; 1,8,32,64,128 if none."
        ),
    ] = None,
    temperatures: Temperatures = "1",
    losses: Annotated[
        list[str] | None,
        typer.Option(
            "--losses",
            metavar="LOSS,LOSS,...",
            help="Hold these beside full KD too, at every K or their own: verl,jsd:k=20,tvd.",
        ),
    ] = None,
    keys: Keys = None,
    vocabulary: Vocabulary = None,
    known: Known,
    output: Output,
    machine: Machine,
) -> None:
    """Show what training on the teacher's K most probable classes loses, and which K to take.

    Gradient lost, direction, tail, who pays, bias against sampling and the temperature, for four
    conventions of what becomes of the other classes. Nothing is trained. Rows may have a target,
    a position in their text and a token_class. Of a truncated teacher (kdanalysis sparsify, vLLM,
    DistillKit, ...) it tells what its tokens allow, and how far that may be off.

    Example: kdanalysis truncation logits.npz --ks 8,32,64 --temperatures 1,2 --out truncation
    """
    wanted = None if ks is None else parse_ks(ks, every=False)
    settings, names = (wanted, parse_temperatures(temperatures)), parse_keys(keys)
    with output.page() as write:
        device = machine.prepare()
        from kdanalysis.cli.terminal import print_facts, print_frame
        from kdanalysis.pages.truncation import excerpt

        study, title = _studied(file, student, settings, losses, names, vocabulary, known, device)
        if not RANKS.first:
            return
        shown = excerpt(study.tables["truncation"])
        few = sum(n.startswith("K = ") for n in shown) < study.tables["truncation"].k.nunique()
        print_frame(shown, title=f"{title}{'; an excerpt, --out writes all of it' if few else ''}")
        if "no gradient" not in study.facts:
            print_facts({noun: reading.sentence for noun, reading in study.readings.items()})
        told = ("no gradient", "left out")
        print_facts({label: study.facts[label] for label in told if label in study.facts})
        write(study)


def _studied(
    file: Path,
    student: Path | None,
    settings: tuple,
    losses: list[str] | None,
    names: dict[str, str],
    vocabulary: int | None,
    known: Known,
    device: Any,
) -> tuple[Any, str]:
    """Return the study of a file, whether its teacher is truncated or not, and its title."""
    from kdanalysis.cli.progress import watching
    from kdanalysis.cli.terminal import heading, open_file
    from kdanalysis.core.wording import counted
    from kdanalysis.pages.truncation import truncation_study
    from kdanalysis.pages.truncation_sparse import sparse_file_study
    from kdanalysis.store.sources import load_logits
    from kdanalysis.studies.compute import left_out
    from kdanalysis.studies.sparse import is_sparse

    if is_sparse(file, names):
        if losses:
            raise ValueError(
                f"--losses needs all of the teacher's logits, and {file} holds a few tokens a row"
            )
        study = sparse_file_study(file, student, *settings, vocabulary, names, **known.given)
        facts, table = study.facts, study.tables["truncation"]
        rows = counted(int(table.n.max() + table.non_finite.max()), "row")
        return study, f"{facts['teacher']}: {rows}, {facts['known']}{left_out(table)}"
    known.refuse(file)
    options = {"keys": names, "vocabulary": vocabulary}
    given = file if student is None else load_logits(file, student=student, **options)
    source = open_file(given, names, vocabulary, kept=True)
    study = truncation_study(source, *settings, losses, device, watching("Truncating"))
    return study, heading(source, file, left_out(study.tables["truncation"]))
