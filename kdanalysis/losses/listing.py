"""Several losses written as a list: ``kd,gdkd:k=5,temperature=2,nkd``, each with a label."""

import re
from collections.abc import Iterable

from kdanalysis.losses.base import Loss
from kdanalysis.losses.parse import parse_loss

OPTION = re.compile(r"[^:=]*=|[\d./ ]*$")


def parse_losses(
    texts: str | Iterable[str], temperature: float | int | None = None
) -> dict[str, Loss]:
    """Read lists of losses; the label of each is its name, or all of its text where names repeat.

    A comma separates losses as well as the options of one. A piece that begins with ``key=`` or is
    a bare number belongs to the loss before it, everything else begins another loss.

    >>> list(parse_losses("kd,gdkd:k=5,temperature=2,nkd"))
    ['kd', 'gdkd', 'nkd']
    >>> list(parse_losses(["gdkd:k=3", "gdkd:k=5,temperature=2"]))
    ['gdkd:k=3', 'gdkd:k=5,temperature=2']

    Args:
        texts: one list or several, read as one.
        temperature: of every loss that has one and names none; each loss's own default if None.

    Raises:
        ValueError: as :func:`parse_loss`, an option before any loss, or a loss given twice.
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    written = [loss for text in texts for loss in split_list(text)]
    losses = [parse_loss(text, temperature) for text in written]
    for place, loss in enumerate(losses):
        earlier = [repr(other) for other in losses[:place]]
        if repr(loss) in earlier:
            first = written[earlier.index(repr(loss))]
            raise ValueError(
                f"{first!r} and {written[place]!r} are both {loss}: every loss is needed once"
            )
    return dict(zip(labels(written), losses, strict=True))


def split_list(text: str) -> list[str]:
    """Split at the commas between losses, and leave those between the options of one."""
    losses: list[str] = []
    for piece in (piece.strip() for piece in text.split(",")):
        if not (piece and OPTION.match(piece)):
            losses.append(piece)
        elif losses:
            losses[-1] += f",{piece}"
        else:
            raise ValueError(f"the list of losses {text!r} begins with an option: need a name")
    return losses


def labels(written: Iterable[str]) -> list[str]:
    """Return every loss's name without options, or its whole text where names are shared."""
    whole = ["".join(text.lower().split()) for text in written]
    names = [re.sub(r":[^+]*", "", text) for text in whole]
    return [
        name if names.count(name) == 1 else text for name, text in zip(names, whole, strict=True)
    ]
