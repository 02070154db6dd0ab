"""The study of losses held against each other on the same logits, of one file or of several."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
import torch

from kdanalysis.analyzers.by_term import kd_parts, with_kd_parts, with_unit_weights
from kdanalysis.analyzers.noun import Picture
from kdanalysis.analyzers.terms.conflict import GradientConflict
from kdanalysis.analyzers.terms.direction import LossDirection
from kdanalysis.analyzers.terms.direction_reading import is_silent
from kdanalysis.analyzers.terms.magnitude import (
    TermMagnitude,
    magnitude_of_terms,
    magnitude_over_training,
)
from kdanalysis.analyzers.terms.matching import (
    at_matched_norm,
    matched_reading,
    matching_sentence,
    summary,
    unequal_temperatures,
)
from kdanalysis.analyzers.terms.share import TermShare
from kdanalysis.core.wording import counted
from kdanalysis.draw.look import Axes, Figure
from kdanalysis.losses import Loss, spelled
from kdanalysis.pages.compare_checks import check_losses, naming
from kdanalysis.pages.compare_runs import BY_RUN, EVERY
from kdanalysis.pages.explorer import explorer_of
from kdanalysis.pages.html import Section
from kdanalysis.pages.lead import lead_of
from kdanalysis.pages.nouns import about, find, noun_section, said_before
from kdanalysis.pages.study import Study
from kdanalysis.studies.compute import Watch, by_noun, compute, joined, unwatched, without_label
from kdanalysis.studies.facts import class_fact, cut_fact, repeated_in, stated
from kdanalysis.studies.kept import bind
from kdanalysis.studies.opening import where
from kdanalysis.studies.pairing import doubt
from kdanalysis.studies.setting import DEFAULTS
from kdanalysis.studies.source import Source

MOST_STEPS = 100  # beyond, steps are put together: the memory of a table grows with them


def losses_study(
    sources: Mapping[str, Source],
    losses: Mapping[str, Loss],
    match: bool = False,
    device: torch.device | str = "cpu",
    watch: Watch = unwatched,
) -> Study:
    """Read the sources once each, and return the study of the losses on them.

    Args:
        sources: by name.
        losses: at least two by label; the others are held against the first.
        match: show the terms at matched norm.
        device: where to compute.
        watch: wraps the batches, for a progress bar.

    Raises:
        ValueError: as :func:`loss_tables`.
    """
    tables = {name: loss_tables(one, losses, device, watch) for name, one in sources.items()}
    overview = {name: summary(of_one, losses, match) for name, of_one in tables.items()}
    if match:
        owners = {part: owner for part, (owner, _) in kd_parts(losses).items()}
        tables = {name: at_matched_norm(of_one, owners) for name, of_one in tables.items()}
    parts = by_noun({name: {"losses": overview[name], **tables[name]} for name in sources})
    first = next(iter(losses)) if match else ""

    def sections() -> list[Section]:
        labelled = {sources[name].label: frame for name, frame in overview.items()}
        rest = [noun for noun in parts if noun != "losses"]
        return [
            overview_section(labelled, match, unequal_temperatures(losses)),
            *(loss_section(n, {sources[s]: t for s, t in parts[n].items()}, first) for n in rest),
        ]

    title = f"Losses on {next(iter(sources))}" if len(sources) == 1 else "Losses on several logits"
    stated = [one.temperature for one in losses.values() if one.temperature is not None]
    ks = [one.k for one in losses.values() if isinstance(getattr(one, "k", None), int)]
    settings = next(iter(stated), DEFAULTS[0]), next(iter(ks), DEFAULTS[1])
    explorer = explorer_of(sources, settings, device, watch, EVERY)
    of_all = {"direction": parts["direction"]}
    return Study(
        title,
        source_facts(sources, losses),
        parts,
        sections,
        None,
        ("csv", "parquet"),
        lead=lambda: lead_of(of_all, explorer, runs=list(sources) if len(sources) > 1 else []),
        explorer=explorer,
    )


def loss_tables(
    source: Source,
    losses: Mapping[str, Loss],
    device: torch.device | str = "cpu",
    watch: Watch = unwatched,
) -> dict[str, pd.DataFrame]:
    """Read the logits once and return the tables of the losses on them: direction first.

    Raises:
        ValueError: a loss needs labels and there are none, works on regions, or does not fit the
            classes.
    """
    check_losses(source, losses)
    whole, steps = with_kd_parts(losses), source.marks()
    split = {owner for owner, _ in kd_parts(losses).values()}
    analyzers = {
        "direction": LossDirection(losses, steps),
        "magnitude": TermMagnitude(whole, steps),
        "share": TermShare(
            with_unit_weights({n: one for n, one in whole.items() if n not in split})
        ),
        "conflict": GradientConflict(losses, steps),
    }
    if source.kept:
        analyzers = {noun: bind(one, source.info) for noun, one in analyzers.items()}
    with naming(losses, source):
        tables = compute(source, analyzers, device, watch)
    if is_silent(tables["direction"]):
        raise ValueError(
            f"no sample of {where(source)} has a gradient of {next(iter(losses))!r} and of another "
            f"loss: a loss of weight 0 has none, nor what distils where the student gives its "
            f"teacher's probabilities"
        )
    for name, loss in losses.items():
        lacking = source.unlabelled - (0 if loss.needs_index else source.soft)
        if loss.needs_target and lacking == source.num_rows:
            raise ValueError(
                f"the loss {name!r} needs a label of every sample, and no target of "
                f"{where(source)} is one class: compare losses without labels, such as kd or gdkd"
            )
    return tables


def loss_section(noun: str, tables: Mapping[Source, pd.DataFrame], matched: str = "") -> Section:
    """Return the section of one noun; of several sources with the direction of all in one picture.

    Args:
        noun: name of the table.
        tables: by source.
        matched: the loss whose norm all losses were brought to, if any.
    """
    told = {} if noun != "magnitude" else {"title": "Gradient norms of the terms"}
    if noun == "magnitude" and matched:
        told["reading"] = matched_reading(matched, said_before)
    pictures = drawn(noun, list(tables), matched)
    if len(tables) == 1:
        return noun_section(noun, {"": next(iter(tables.values()))}, pictures=pictures, **told)
    labelled = {source.label: table for source, table in tables.items()}
    section = noun_section(noun, labelled, pictures=pictures, **told)
    whole = joined({source.name: table for source, table in tables.items()})
    section = replace(section, tables=[(f"Table {noun}{about(find(noun))}", whole)])
    if noun != "direction":
        return section
    together = noun_section(noun, labelled, pictures=(), together=BY_RUN[noun]).figures
    return replace(section, figures=[*together, *section.figures])


def overview_section(
    overview: Mapping[str, pd.DataFrame], match: bool, unequal: str | None
) -> Section:
    """Return the section to read first: what the losses are, and how far each steps."""
    alone = len(overview) == 1
    lines = [
        f"{'' if alone else f'{name}: '}{matching_sentence(frame)}"
        for name, frame in overview.items()
        if match
    ]
    text = (
        "Norms are means over samples of L2 norms of gradients in the student's logits, T² "
        "included; multiplier is a norm over that of the first loss. Cosines are to the first "
        "loss: by sample, and over the batch, where all samples' gradients are laid end to end. "
        "What shared parameters make of the gradients, logits do not tell."
    ) + (f" Temperatures are {unequal}." if unequal else "")
    tables = [
        (f"Losses{'' if alone else f' on {name}'}", frame.drop(columns="definition"))
        for name, frame in overview.items()
    ]
    return Section("losses", "The losses", text, "\n".join(lines), tables=tables)


def drawn(noun: str, sources: Sequence[Source], matched: str = "") -> Sequence[Picture]:
    """Return the pictures of a noun: those over steps where there are any.

    Args:
        noun: name of the table.
        sources: the logits.
        matched: the loss whose norm all losses were brought to, if any.
    """
    pictures, steps = find(noun).pictures, all(source.over_steps for source in sources)
    if noun == "magnitude":
        where = f", with every loss brought to the mean norm of {matched}"
        caption = f"Every term{where if matched else ', as its loss weighs it'}"
        return (Picture(caption, draw_terms, panels=True),)
    if noun != "direction":
        return pictures if steps else pictures[:1]
    first, by_teacher, over_training = pictures
    shown = [first]
    shown += [by_teacher] * all(source.has_target for source in sources)
    return shown + [over_training] * (steps and len(sources) == 1)  # else together


def draw_terms(table: pd.DataFrame) -> Axes | Figure:
    """Draw lines over the steps, or a single step's dots."""
    several = table.step.nunique() > 1
    return (magnitude_over_training if several else magnitude_of_terms)(table)


def source_facts(sources: Mapping[str, Source], losses: Mapping[str, Loss]) -> dict[str, object]:
    """Return what was read, one fact a source, and what the losses are."""
    first = next(iter(sources.values()))
    read = {}
    for one in sources.values():
        rows = counted(one.num_rows, "sample") + without_label(one)
        read[one.label] = ", ".join(filter(None, (rows, cut_fact(one), doubt(one))))
    facts = {
        "classes": class_fact(first.info.num_classes, first.info.classes),
        "repeated samples": repeated_in(sources),
        "without labels": ", ".join(n for n, one in sources.items() if not one.has_target),
        "temperatures": unequal_temperatures(losses),
    }
    return read | stated(facts) | {f"loss {n}": spelled(one) for n, one in losses.items()}
