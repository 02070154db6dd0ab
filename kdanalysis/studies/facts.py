"""Facts about runs and logits, as (label, value) pairs for a page's head or a terminal.

Nothing here loads torch but for a run of kept classes: ``kdanalysis info`` answers at once.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kdanalysis.core.vocabulary import VOCABULARY
from kdanalysis.core.wording import counted, numeral
from kdanalysis.store.grams import gram_index
from kdanalysis.store.inventory import unclosed
from kdanalysis.studies.marks import LOOK, appearances, columns_of, of_a_row
from kdanalysis.studies.sent import arrival_fact, ramp_fact

LABELLED = ["sample_id", "target"]


def source_facts(source: Any) -> dict[str, object]:
    """Return what a ``Source`` is: of a run what its run.json and its parts say."""
    if source.run is not None:
        labels = {"labels": label_fact(source)} if source.unlabelled else {}
        more = {
            "loss in tables": source.trained_fact,
            "cut": cut_fact(source),
            "left out": left_out_fact(source.info.num_classes),
        }
        return run_facts(source.run) | stated(more) | labels
    return stated(
        {
            "logits": source.name,
            "samples": f"{source.num_rows:,}",
            "classes": class_fact(source.info.num_classes, source.info.classes),
            "cut": cut_fact(source),
            "left out": left_out_fact(source.info.num_classes),
            "files": getattr(source.logits, "order", None),
            "labels": label_fact(source) if source.unlabelled else None,
        }
    )


def label_fact(source: Any) -> str:
    """Return whether there are labels, and how many rows have none; when they have been read."""
    if not source.has_target:
        return "none: nothing about accuracy or calibration"
    words = {
        "without one: left out where one is needed": source.unlabelled - source.soft,
        "with a target over several classes instead: cross-entropy takes it, and what needs one "
        "label leaves them out": source.soft,
    }
    of = f"of {counted(source.num_rows, 'sample')}"
    some = "yes" if source.unlabelled < source.num_rows else "none of one class"
    return "; ".join([some, *(f"{n:,} {of} {what}" for what, n in words.items() if n)])


def cut_fact(source: Any) -> str | None:
    """Return how many classes were cut off each side, and the mass they held; None if none were."""
    cut = getattr(source.logits, "cut", {})
    parts = [
        f"{name.partition('_')[0]} of {one.classes:,}, mean mass beyond {numeral(one.mean, 2)}"
        for name, one in cut.items()
    ]
    return f"{source.info.num_classes:,} classes kept: {'; '.join(parts)}" if parts else None


def left_out_fact(classes: int) -> str | None:
    """Return what is not made of a vocabulary unless it is asked for; None for fewer classes."""
    if classes <= VOCABULARY:
        return None
    return (
        f"profile, modality and discrepancy, which have a number for every pair of classes, and "
        f"relation, amplification and candidates to try, which are made for images: more than "
        f"{VOCABULARY:,} classes are a vocabulary"
    )


def run_facts(run: Any) -> dict[str, object]:
    """Return what a run is, from its run.json and what its parts hold.

    Args:
        run: a ``StoredRun``, or what ``open_run`` gives.
    """
    info, steps = run.info, run.steps()
    layers = gram_index(run).layers
    facts = {
        "loss": info.loss,
        "terms": ", ".join(info.terms),
        "weights": ", ".join(f"{name} {weight:g}" for name, weight in info.weights.items()),
        "temperature": info.temperature,
        "classes": class_fact(info.num_classes, info.classes),
        "samples": f"{run.num_rows:,}",
        "repeated samples": repeated_fact(run),
        "captured steps": step_fact(steps),
        "columns": ", ".join(run.columns),
        "layers": ", ".join(layers),
        "regions": region_fact(run),
        **kept_facts(info),
        "targets": soft_fact(run),
        "ranks": info.world_size,
        "seed": info.seed,
        "created": info.created,
        "duplicates": run.duplicates or None,
        "dropped while writing": run.dropped_rows or None,
        "residual": residual_fact(run),
        "sent gradient": arrival_fact(run),
        "warm-up": ramp_fact(run),
        "not closed": unclosed(run.path),
        "skipped parts": skipped_fact(run.skipped),
        **{f"setting {key}": value for key, value in info.settings.items()},
    }
    return stated(facts)


def repeated_fact(run: Any) -> str | None:
    """Return how often samples are there again, as in other epochs; None where none is.

    None too where labels do not tell a sample from a row number: an id has several
    (:func:`~kdanalysis.studies.marks.appearances`), or there is one class alone.
    """
    if not {*LABELLED} <= {*run.columns}:
        return None
    ids, label = columns_of(run.batches(LABELLED, LOOK), LABELLED)
    times = appearances(ids, label)
    if times is None or times.max(initial=0) < 2 or len(np.unique(label[label >= 0])) < 2:
        return None
    mean = of_a_row(times)
    return (
        f"{counted(len(times), 'different one')}, a row's on average {numeral(mean, 2)} times: "
        f"where several epochs stand together, intervals take these as independent, and are up to "
        f"{numeral(mean**0.5, 2)} times too narrow where a sample is alike in all of them; such a "
        f"verdict is not one of 95 %"
    )


def repeated_in(sources: Mapping[str, Any]) -> str | None:
    """Return the same of several sources, those of which the same is said together."""
    said: dict[str, list[str]] = {}
    for name, source in sources.items():
        if source.run is not None and (fact := repeated_fact(source.run)):
            said.setdefault(fact, []).append(name)
    return "; ".join(f"{', '.join(names)}: {fact}" for fact, names in said.items()) or None


def region_fact(run: Any) -> str | None:
    """Return how many samples have region logits, and the scales; None where none have."""
    if not run.columns_of("regions"):
        return None
    rows = counted(run.count("regions"), "sample")
    return f"{rows} at scales {', '.join(map(str, run.info.scales))}"


def kept_facts(info: Any) -> dict[str, object]:
    """Return what is kept in place of all logits, and what that leaves of the tables.

    Nothing where all logits are. Otherwise losses are looked at, and torch is loaded.

    Args:
        info: of a run.
    """
    if not info.kept:
        return {}
    from kdanalysis.studies.setting import compared_fact, of_samples

    temperatures = ", ".join(f"{t:g}" for t in info.kept_temperatures)
    return {
        "kept": f"the teacher's {info.kept} largest classes of every row, one more, and sums over "
        f"the others at T = {temperatures}; nothing can be said of any other class by itself",
        "truncation": f"for K = {', '.join(map(str, info.kept_ks))} at these T as with all logits; "
        f"direction, tail and losses of your own by kdanalysis truncation RUN; other K, T and the "
        f"bias of the mean gradient need all logits",
        "losses compared": compared_fact([info]),
        "loss in tables": of_samples(info),
    }


def soft_fact(run: Any) -> str | None:
    """Return how many targets are over several classes; None where all are labels, or none."""
    if "soft_target" not in run.columns:
        return None
    count = sum(
        int((~np.isnan(batch["soft_target"][:, 0]) & (batch["target"] < 0)).sum())
        for batch in run.batches(["target", "soft_target"], 4096)
    )
    return f"over several classes in {counted(count, 'sample')}, kept as {run.dtype('soft_target')}"


def residual_fact(run: Any) -> str | None:
    """Return median and largest residual: how far autograd's gradient is from the closed forms.

    Samples whose gradient overflowed have an infinite one and are counted beside them.
    """
    if "residual" not in run.columns:
        return None
    parts = [batch["residual"] for batch in run.batches(["residual"], 65536)]
    residual = np.concatenate([part[~np.isnan(part)] for part in parts] or [np.zeros(0)])
    known, lost = residual[np.isfinite(residual)], int(np.isinf(residual).sum())
    words = [f"{counted(lost, 'sample')} whose gradient overflowed"] if lost else []
    if len(known):
        largest = f"{numeral(known.max(), 2)} (largest); 0 is as declared"
        words = [f"{numeral(np.median(known), 2)} (median), {largest}", *words]
    if not words and sum(len(part) for part in parts):
        loss = getattr(run.info, "loss", "")
        why = "no backward pass came by way of the recorded logits" if loss else "no loss was given"
        return f"NaN in every row: {why}"
    return "; ".join(words) or None


def stated(facts: Mapping[str, object]) -> dict[str, object]:
    """Leave out what is not known."""
    return {label: value for label, value in facts.items() if value not in (None, "")}


def class_fact(number: int, names: list[str] | None) -> str:
    """Return the number of classes with the first names."""
    if not names:
        return f"{number:,}"
    return f"{number:,} ({', '.join(names[:4])}{', ...' if number > 4 else ''})"


def step_fact(steps: Any) -> str:
    """Return how many steps were captured, and from where to where."""
    if len(steps) == 0:
        return "none"
    return f"{len(steps):,} ({steps[0]} to {steps[-1]})"


def skipped_fact(skipped: list[tuple[object, str]]) -> str | None:
    """Return the parts that could not be read, with the reason of the first."""
    if not skipped:
        return None
    part, reason = skipped[0]
    return f"{len(skipped)}, such as {part}: {reason}"
