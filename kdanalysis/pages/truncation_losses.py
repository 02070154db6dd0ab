"""The losses that a study of truncation holds beside full KD, as they are given."""

import re
from collections.abc import Iterable, Mapping
from inspect import signature

from kdanalysis.analyzers.targets import check_labelled
from kdanalysis.losses import Loss, parse_losses
from kdanalysis.losses.text import split_list
from kdanalysis.studies.source import Source

Losses = str | Iterable[str | Loss] | Mapping[str, Loss] | None
OWN_K = re.compile(r"[:,]\s*k\s*=")  # in the text of a loss


def read_losses(losses: Losses, temperature: float) -> tuple[dict[str, Loss], set[str]]:
    """Return losses by name, and the names of those that state a k of their own; none for None.

    In its text, or as a loss that was made with another k than its class has by itself.

    Args:
        losses: as text, or as they are.
        temperature: of those written without one.
    """
    if losses is None:
        return {}, set()
    if isinstance(losses, Mapping):
        return dict(losses), {name for name, one in losses.items() if _states_k(one)}
    texts = [losses] if isinstance(losses, str) else losses
    written = [one for t in texts for one in (split_list(t) if isinstance(t, str) else [t])]
    found = parse_losses(written, temperature)
    pairs = zip(found, written, strict=True)
    return found, {name for name, one in pairs if _states_k(one)}


def _states_k(given: str | Loss) -> bool:
    if isinstance(given, str):
        return OWN_K.search(given) is not None
    of_class = signature(type(given)).parameters.get("k")
    return of_class is not None and getattr(given, "k", None) != of_class.default


def check_labels(losses: dict[str, Loss], source: Source) -> None:
    """Refuse losses that need labels where a source, which has been read, holds none."""
    labelled = source.has_target and source.unlabelled < source.num_rows
    check_labelled(losses, labelled, source.soft > 0, f"in {source.path}")
