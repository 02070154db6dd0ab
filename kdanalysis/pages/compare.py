"""The page of losses held against each other on the same logits, of one file or of several."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
import torch
from matplotlib.axes import Axes

from kdanalysis.analyzers.terms import direction_figure as direction
from kdanalysis.analyzers.terms import magnitude_figure as magnitude
from kdanalysis.analyzers.terms.conflict import GradientConflict
from kdanalysis.analyzers.terms.direction import LossDirection
from kdanalysis.analyzers.terms.magnitude import TermMagnitude
from kdanalysis.analyzers.terms.share import TermShare
from kdanalysis.core.partition import Target, TopK
from kdanalysis.losses import DKD, GDKD, KD, KDParts, Loss
from kdanalysis.pages.compare_runs import drawn_together
from kdanalysis.pages.facts import class_fact, stated
from kdanalysis.pages.html import Section
from kdanalysis.pages.norms import Tables, at_matched_norm, matching_sentence, summary
from kdanalysis.pages.noun import Noun
from kdanalysis.pages.nouns import NOUNS, joined, noun_section
from kdanalysis.pages.page import Page
from kdanalysis.pages.run import by_file
from kdanalysis.studies.source import Source, Watch, study

MOST_STEPS = 100  # beyond, steps are put together: the memory of a table grows with them


def study_losses(
    source: Source,
    losses: Mapping[str, Loss],
    device: torch.device | str = "cpu",
    watch: Watch = iter,
) -> dict[str, pd.DataFrame]:
    """Read the logits once and return the tables of the losses on them: direction first.

    Args:
        source: the logits.
        losses: at least two by their labels; the others are held against the first.
        device: where to compute.
        watch: wraps the batches, for a progress bar.

    Raises:
        ValueError: a loss needs labels and there are none, works on regions, or does not fit the
            classes.
    """
    check_losses(source, losses)
    whole = with_parts(losses)
    split = {owner for owner, _ in in_parts(losses).values()}
    analyzers = {
        "direction": LossDirection(losses, source.marks),
        "magnitude": TermMagnitude(whole, source.marks),
        "share": TermShare({n: one for n, one in whole.items() if n not in split}),
        "conflict": GradientConflict(losses, source.marks),
    }
    return study(source, analyzers, device, watch)


def check_losses(source: Source, losses: Mapping[str, Loss]) -> None:
    """Refuse a loss that these logits cannot serve.

    Raises:
        ValueError: the loss works on regions, or needs labels that are not there.
    """
    for name, loss in losses.items():
        if loss.scales is not None:
            raise ValueError(
                f"the loss {name!r} works on the logits of regions, and {source.name} holds those "
                f"of whole images: compare its base loss instead"
            )
        if loss.needs_target and not source.has_target:
            raise ValueError(
                f"the loss {name!r} needs labels, and {source.name} holds none: add target (or "
                f"labels) to it, or compare losses without labels, such as kd, gdkd and gdkd3"
            )


def in_parts(losses: Mapping[str, Loss]) -> dict[str, tuple[str, KDParts]]:
    """Return plain KD in parts, with the label of the loss that they belong to.

    It is split as the first GDKD and as the first DKD by the label among the losses, so that the
    terms of those can be held against KD's own; empty where there are none.
    """
    found = {}
    top = next((loss.partition for loss in losses.values() if is_top(loss)), None)
    label = next((loss.partition for loss in losses.values() if is_dkd(loss)), None)
    for name, loss in losses.items():
        if isinstance(loss, KD) and top is not None:
            parts = KDParts(top, loss.temperature, weight=loss.weight)
            found[f"{name} parts"] = name, parts
        if isinstance(loss, KD) and label is not None:
            parts = KDParts(label, loss.temperature, ("tckd", None, "nckd"), loss.weight)
            found[f"{name} parts by target"] = name, parts
    return found


def with_parts(losses: Mapping[str, Loss]) -> dict[str, Loss | KDParts]:
    """Return the losses, after each its parts."""
    parts, found = in_parts(losses), {}
    for name, loss in losses.items():
        found[name] = loss
        found |= {part: one for part, (owner, one) in parts.items() if owner == name}
    return found


def is_top(loss: Loss) -> bool:
    """Whether the loss sets apart the teacher's top k."""
    return isinstance(loss, GDKD) and isinstance(loss.partition, TopK)


def is_dkd(loss: Loss) -> bool:
    """Whether the loss sets apart the label."""
    return isinstance(loss, DKD) and isinstance(loss.partition, Target)


def loss_page(
    sources: Mapping[str, Source],
    tables: Mapping[str, Tables],
    losses: Mapping[str, Loss],
    match: bool = False,
) -> Page:
    """Return the page of the losses.

    Args:
        sources: by name.
        tables: by source and by noun, as :func:`study_losses` returns them.
        losses: by label.
        match: show the terms at matched norm.
    """
    overview = {name: summary(of_one, losses, match) for name, of_one in tables.items()}
    owners = {part: owner for part, (owner, _) in in_parts(losses).items()}
    if match:
        tables = {name: at_matched_norm(of_one, owners) for name, of_one in tables.items()}
    whole = {name: {"losses": overview[name], **of_one} for name, of_one in tables.items()}
    nouns = dict.fromkeys(noun for of_one in tables.values() for noun in of_one)
    first = next(iter(losses)) if match else ""
    sections = [overview_section({sources[n].label: frame for n, frame in overview.items()}, match)]
    for noun in nouns:
        of_noun = {sources[n]: of_one[noun] for n, of_one in tables.items() if noun in of_one}
        sections.append(loss_section(noun, of_noun, first))
    title = f"Losses on {next(iter(sources))}" if len(sources) == 1 else "Losses on several logits"
    return Page(title, source_facts(sources, losses), sections, by_file(whole), ("csv", "parquet"))


def loss_section(noun: str, tables: Mapping[Source, pd.DataFrame], matched: str = "") -> Section:
    """Return the section of one noun; of several sources with the direction of all in one picture.

    Args:
        noun: a key of ``NOUNS``.
        tables: by source.
        matched: the loss whose norm all losses were brought to, if any.
    """
    known = shown(noun, list(tables), matched)
    if len(tables) == 1:
        return noun_section(noun, {"": next(iter(tables.values()))}, known=known)
    labelled = {source.label: table for source, table in tables.items()}
    section = noun_section(noun, labelled, known=known)
    whole = joined({source.name: table for source, table in tables.items()})
    section = replace(section, tables=[(f"Table {noun}", whole)])
    if noun != "direction":
        return section
    return replace(section, figures=[*drawn_together(noun, labelled), *section.figures])


def overview_section(overview: Mapping[str, pd.DataFrame], match: bool) -> Section:
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
    )
    tables = [
        (f"Losses{'' if alone else f' on {name}'}", frame.drop(columns="definition"))
        for name, frame in overview.items()
    ]
    return Section("losses", "The losses", text, "\n".join(lines), tables=tables)


def shown(noun: str, sources: Sequence[Source], matched: str = "") -> Noun:
    """Return what to show of a noun: pictures over steps where there are any.

    Args:
        noun: a key of ``NOUNS``.
        sources: the logits.
        matched: the loss whose norm all losses were brought to, if any.
    """
    known, steps = NOUNS[noun], all(source.over_steps for source in sources)
    if noun == "direction":
        keep = {
            direction.direction_or_step: True,
            direction.direction_by_teacher: all(source.has_target for source in sources),
            direction.direction_over_training: steps and len(sources) == 1,  # else together
        }
        pictures = tuple(picture for picture in known.pictures if keep[picture[1]])
        return replace(known, pictures=pictures)
    if noun == "magnitude":
        return terms_noun(matched)
    return known if steps else replace(known, pictures=known.pictures[:1])


def terms_noun(matched: str) -> Noun:
    """Return what to show of the terms' norms: over steps or at once, matched or not."""
    where = f"with every loss brought to the mean norm of {matched}"
    caption = f"Every term, {where}" if matched else "Every term, as its loss weighs it"

    def draw(table: pd.DataFrame) -> Axes:
        """Draw lines over the steps, or a single step's dots."""
        several = table.step.nunique() > 1
        return (magnitude.magnitude_over_training if several else magnitude.magnitude_of_terms)(
            table
        )

    def sentence(table: pd.DataFrame) -> str:
        """Say where the table's sentence holds."""
        claim = magnitude.magnitude_sentence(table)
        return f"These norms are {where}. {claim}" if matched else claim

    title = "Gradient norms of the terms"
    return replace(NOUNS["magnitude"], title=title, pictures=((caption, draw),), sentence=sentence)


def source_facts(sources: Mapping[str, Source], losses: Mapping[str, Loss]) -> dict[str, object]:
    """Return what was read, one fact a source, and what the losses are."""
    first = next(iter(sources.values()))
    read = {x.label: f"{x.logits.num_rows:,} samples" for x in sources.values()}
    without = [name for name, source in sources.items() if not source.has_target]
    facts = {
        "classes": class_fact(first.info.num_classes, first.logits.classes),
        "without labels": ", ".join(without),
    }
    return read | stated(facts) | {f"loss {name}": repr(loss) for name, loss in losses.items()}
