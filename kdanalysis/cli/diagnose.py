"""``kdanalysis diagnose``: the teacher card of saved logits."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdanalysis.cli.groups import Known, Machine, Output, grouped
from kdanalysis.cli.options import Keys, Temperatures, Vocabulary, parse_keys, parse_temperatures
from kdanalysis.core.ranks import RANKS

if TYPE_CHECKING:
    from kdanalysis.pages.study import Study


@grouped
def diagnose(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Logits: .npz, .npy, .pt, .safetensors, .parquet, or a run folder.",
        ),
    ],
    *,
    temperatures: Temperatures = "1,2,4,8",
    keys: Keys = None,
    vocabulary: Vocabulary = None,
    known: Known,
    output: Output,
    machine: Machine,
) -> None:
    """Print the card of a teacher: how sure, how right, how varied it is, and losses to try.

    The teacher's logits are enough; labels in the file add accuracy and calibration. The losses
    are KD, the papers' and a rule's, each held against KD; no student is trained. Of a vocabulary
    it tells how many tokens to keep. Of a file with a few tokens a row (kdanalysis sparsify, vLLM,
    DistillKit, ...) it prints what they say; of a run recorded with TopK what truncation costs too.

    Example: kdanalysis diagnose teacher.npz --out card --temperatures 1,4
    """
    ladder, names = parse_temperatures(temperatures), parse_keys(keys)
    with output.page() as write:
        device = machine.prepare()
        from kdanalysis.analyzers.teacher.card_tiles import wide_card
        from kdanalysis.cli.progress import watching
        from kdanalysis.cli.terminal import heading, open_file, print_frame
        from kdanalysis.pages.known import known_study
        from kdanalysis.pages.teacher import diagnose as study_teacher
        from kdanalysis.studies.compute import without_label
        from kdanalysis.studies.facts import left_out_fact
        from kdanalysis.studies.sparse import is_sparse

        if is_sparse(file, names):
            study = known_study(file, ladder, vocabulary, names, **known.given)
            if RANKS.first:
                print_known(study)
                write(study)
            return
        known.refuse(file)
        source = open_file(file, names, vocabulary, kept=True)
        study = study_teacher(source, ladder, device, watching("Reading"))
        if not RANKS.first:
            return
        if source.kept:
            print_known(study)
            write(study)
            return
        title = heading(source, file, without_label(source))
        print_frame(wide_card(study.tables["teacher"]), title=title)
        print_candidates(study)
        if note := study.facts.get("student"):
            typer.echo(f"The file's student is {note}.")
        if note := left_out_fact(source.info.num_classes):
            typer.echo(f"\nLeft out: {note}.")
        write(study)


def print_known(study: "Study") -> None:
    """Print what a truncated teacher says of itself, and what its file does not say."""
    from kdanalysis.analyzers.teacher.card_tiles import wide_card
    from kdanalysis.cli.terminal import print_facts, print_frame

    facts = study.facts
    rows = f"{facts['rows']} row{'s' * (facts['rows'] != '1')}"
    title = f"{facts['truncated teacher']}: {rows}, tokens a row: {facts['tokens a row']}"
    print_frame(wide_card(study.tables["known"]), title=title)
    typer.echo("\n" + "\n".join(reading.sentence for reading in study.readings.values()))
    told = ("entropy_high", "left out", "of all tokens", "truncation")
    print_facts({name: study.facts[name] for name in told if name in study.facts})


def print_candidates(study: "Study") -> None:
    """Print every candidate with how it lies to KD, or how many tokens of a vocabulary to keep."""
    from kdanalysis.cli.terminal import print_frame

    typer.echo()
    if "tokens" in study.tables:
        print_frame(study.tables["tokens"][["lost", "k", "evidence"]], title="Tokens to keep")
        typer.echo(f"\n{study.readings['tokens'].sentence}")
        return
    table, reading = study.tables["candidates"], study.readings["candidates"]
    columns = ["candidate", "cosine", "cosine_batch", "multiplier"]
    print_frame(table[columns], title=f"Candidates to try. {reading.sentence}")
    if reading.number:
        typer.echo(f"\n{reading.number}")
